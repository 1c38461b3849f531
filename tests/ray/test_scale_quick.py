"""Goal: the scale benchmark runs, prints its tables, and finds nothing lost. No figure is judged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 280.0

TABLES = (
    "dense: CPU per token",
    "dense: CPU per start and settlement",
    "dense: memory, summed PSS",
    "dense: 20 live sim-slow streams",
    "relay lag, while 20 were live",
)
ZERO = (
    "errors",
    "lost tokens",
    "streams with wrong words",
    "orphans upstream",
    "wrong charges",
    "account less charges, micro-credits",
)


def test_live_streams_and_their_readers_lose_nothing() -> None:
    arguments = ["--quick", "--only", "live,two_thousand", "--modes", "dense"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scale", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for title in TABLES:
        assert title in done.stdout, done.stdout
    figures = dict(_rows(done.stdout))
    assert {name: figures[name] for name in ZERO} == dict.fromkeys(ZERO, "0")
    assert figures["ledger audit"] == "ok"
    completed, cancelled = map(int, figures["completed, cancelled"].split(", "))
    assert completed + cancelled >= 20


def _rows(text: str) -> list[tuple[str, str]]:
    """Return the rows of the tables of two columns."""
    lines = [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")]
    return [(line[0].strip(), line[1].strip()) for line in lines if len(line) == 2]
