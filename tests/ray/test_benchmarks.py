"""Goal: the benchmarks run: they print their tables, and no request fails.

Nothing here is about time, which is theirs to show and no test's to judge.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ray.benchmark_run import run_benchmark

pytestmark = pytest.mark.ray

PARTIES = ("direct", "uvicorn", "dense")
TIMEOUT_S = 240.0


def test_peers_quick(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    arguments = ["--quick", "--parties", ",".join(PARTIES), "--json", str(figures)]
    printed = run_benchmark("tests.benchmarks.peers", *arguments, timeout_s=TIMEOUT_S)
    for title in (
        "instant upstream",
        "paced upstream",
        "1 client",
        "4 streams at once",
        "CPU ms per request",
    ):
        assert title in printed
    assert "Midstream dense" in printed
    parties = json.loads(figures.read_text())["parties"]
    assert set(parties) == set(PARTIES)
    for name, found in parties.items():
        assert found["failures"] == {"0": 0}, name
        assert found["rate/4"]["0"] > 0, name
        assert found["burst_failed"] == found["burst_failed/new"] == {"0": 0}, name
    # The processes of every kind were found: a group without CPU would be a group that is not seen.
    cpu = parties["dense"]
    assert cpu["cpu_request_ms/replicas"]["0"] > 0
    assert cpu["cpu_request_ms/carriers"]["0"] > 0
