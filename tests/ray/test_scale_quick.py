"""Goal: the scale benchmark runs, prints its tables, and finds nothing lost. No figure is judged."""

from __future__ import annotations

import pytest

from tests.ray.benchmark_run import run_benchmark

pytestmark = pytest.mark.ray

TIMEOUT_S = 280.0

TABLES = (
    "dense: CPU per token",
    "dense: CPU per start and settlement",
    "dense: memory, summed PSS",
    "dense: 20 live sim-long-slow streams",
    "relay lag, while 20 were live",
    "dense: cancel latency",
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
    arguments = ["--quick", "--only", "live,two_thousand,cancel", "--modes", "dense"]
    printed = run_benchmark("tests.benchmarks.scale", *arguments, timeout_s=TIMEOUT_S)
    for title in TABLES:
        assert title in printed, printed
    figures = dict(_rows(printed))
    assert {name: figures[name] for name in ZERO} == dict.fromkeys(ZERO, "0")
    assert figures["ledger audit"] == "ok"
    completed, cancelled = map(int, figures["completed, cancelled"].split(", "))
    assert completed + cancelled >= 20


@pytest.mark.slow
def test_the_pool_is_taken_and_refilled() -> None:
    arguments = ["--quick", "--only", "pool"]
    printed = run_benchmark("tests.benchmarks.scale", *arguments, timeout_s=TIMEOUT_S)
    for title in ("strict: 5 starts, one at a time", "strict: all free actors taken at once"):
        assert title in printed, printed


def _rows(text: str) -> list[tuple[str, str]]:
    """Return the rows of the tables of two columns."""
    lines = [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")]
    return [(line[0].strip(), line[1].strip()) for line in lines if len(line) == 2]
