"""Goal: the benchmarks run: they print their tables, and no request fails.

Nothing here is about time, which is theirs to show and no test's to judge.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parent.parent.parent
PARTIES = ("direct", "uvicorn", "dense")
TIMEOUT_S = 240


def test_peers_quick(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.benchmarks.peers", "--quick"]
    command += ["--parties", ",".join(PARTIES), "--json", str(figures)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    for title in ("instant upstream", "paced upstream", "1 client", "CPU ms per request"):
        assert title in done.stdout
    assert "Midstream dense" in done.stdout
    parties = json.loads(figures.read_text())["parties"]
    assert set(parties) == set(PARTIES)
    for name, found in parties.items():
        assert found["failures"] == {"0": 0}, name
        assert found["rate/4"]["0"] > 0, name
    # The processes of every kind were found: a group without CPU would be a group that is not seen.
    cpu = parties["dense"]
    assert cpu["cpu_request_ms/replicas"]["0"] > 0
    assert cpu["cpu_request_ms/carriers"]["0"] > 0
