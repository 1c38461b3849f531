"""What the panel of `midstream up` says of how much the instance carries."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from actors.settings import Settings
from serve_app.cli.output import Output
from serve_app.cli.welcome import welcome
from serve_app.instance.data_directory import Keys
from serve_app.instance.instance import Ready


def panel(settings: Settings) -> str:
    console = Console(file=io.StringIO(), width=100)
    output = Output(console.file, console.file)
    welcome(Ready("http://127.0.0.1:8000", Keys("demo", "admin"), settings), output)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "capacity"),
    [
        (Settings(), "8,192 streams; 64 alone in their process "),
        (Settings(streams_per_actor=16), "8,192 streams; 1,024 with 16 to a process "),
        (Settings().strict(), "64 streams alone in their process "),
        (Settings(streams_per_actor=16).strict(), "1,024 streams with 16 to a process "),
        (Settings(streams_per_actor=200), "12,800 streams with 200 to a process "),
    ],
)
def test_the_capacity(settings: Settings, capacity: str) -> None:
    assert f"capacity   {capacity}" in panel(settings)
