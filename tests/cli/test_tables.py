"""Tables on a terminal show names as they are: no brackets are styles, no `:100:` is a picture."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from actors.loadtest.report.live import LiveProgress
from serve_app.cli.tables import print_table

FOREIGN = "a[bold]b[/x] :100:"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_shows_what_others_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    print_table(["TAG", "#TOKENS"], [[FOREIGN, "1"]])
    assert FOREIGN in out.getvalue()


def test_a_load_tests_progress_does_too() -> None:
    console = Console(file=Terminal(), force_terminal=False, width=200)
    LiveProgress(console).say(FOREIGN)
    assert FOREIGN in console.file.getvalue()  # type: ignore[attr-defined]
