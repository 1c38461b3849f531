"""Goal: whatever is lost, delayed, cut, frozen, killed, what must hold for the ring holds after every step.

Method: the command itself, in a process of its own, since it takes the clocks and the garbage collector of
the process that it runs in. A failure prints the command that shows it again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.simulation.planted import PLANTED

QUICKLY_FOUND = ("balance-not-written", "posted-twice", "two-ends", "slot-returned-twice")


def simulate(*arguments: str, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    print(ended.stdout, ended.stderr)
    return ended


def test_everything_holds_for_twenty_thousand_steps() -> None:
    """The seed is always the same here, so that a run tells of this change and not of luck."""
    ended = simulate("--steps", "20000", "--seed", "43", "--no-shrink")
    assert ended.returncode == 0, ended.stdout[-2000:]


def test_a_seed_replays_exactly() -> None:
    traces = [
        re.findall(r"trace (\w+)", simulate("--steps", "1500", "--seed", "7").stdout)
        for _ in range(2)
    ]
    assert len(traces[0]) == 1
    assert traces[0] == traces[1]


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_planted_bug_is_found(name: str) -> None:
    ended = simulate("--steps", "10000", "--seed", "3", "--planted", name, "--no-shrink")
    assert ended.returncode == 1, f"{name} was not found"
    assert "BROKEN" in ended.stdout


def test_each_quickly_found_bug_is_planted() -> None:
    assert set(QUICKLY_FOUND) <= PLANTED.keys()
