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

from tests.simulation.cover import lacking
from tests.simulation.planted import PLANTED
from tests.simulation.processes import RING_ROLES
from tests.simulation.run import Outcome

QUICKLY_FOUND = ("balance-not-written", "lost-is-not-awaited", "two-ends")


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
        re.findall(r"trace (\w+)", simulate("--steps", "1000", "--seed", "7").stdout)
        for _ in range(2)
    ]
    assert len(traces[0]) == 1
    assert traces[0] == traces[1]


def test_rings_follow_one_another_and_the_one_that_breaks_is_told() -> None:
    whole = ("--steps", "100001", "--seed", "3", "--jobs", "1", "--no-shrink")
    ended = simulate(*whole, "--planted", "two-ends")
    assert ended.returncode == 1
    assert "ring of seed 3: " in ended.stdout
    assert "again: python -m tests.simulation --seed 3 --steps 100000" in ended.stdout


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_planted_bug_is_found(name: str) -> None:
    ended = simulate("--steps", "10000", "--seed", "3", "--planted", name, "--no-shrink")
    assert ended.returncode == 1, f"{name} was not found"
    assert PLANTED[name].is_found_by(_broken(ended.stdout))


def test_a_failure_is_shrunk_to_a_command_that_shows_it() -> None:
    ended = simulate("--steps", "10000", "--seed", "6", "--planted", "slot-returned-twice")
    first = re.search(r"BROKEN at step (\d+)", ended.stdout)
    smallest = re.search(r"smallest: python -m tests.simulation (.+)", ended.stdout)
    assert first is not None and smallest is not None
    again = simulate(*smallest[1].split(), "--no-shrink", "--log")
    steps = re.search(r"BROKEN at step (\d+)", again.stdout)
    assert steps is not None, "the smallest does not break"
    assert int(steps[1]) <= int(first[1])
    assert "--without" in smallest[1] and "--faults" in smallest[1], "nothing was taken away"
    assert len(re.findall(r"^ +\d+ +\d+\.\d{4} ", again.stdout, re.M)) == int(steps[1])


def test_a_bug_whose_patch_does_not_fit_any_more_is_not_found() -> None:
    bug = PLANTED["posted-twice"]
    assert bug.is_found_by("the books of rich say (1, 0), the entries (2, 0)")
    assert not bug.is_found_by("a task failed: TypeError('twice() takes 2 arguments')")
    assert not bug.is_found_by(None)


def test_a_million_steps_that_met_little_are_too_little() -> None:
    seen = Outcome(
        seed=1,
        steps=1_000_000,
        failure=None,
        trace="",
        seconds=1.0,
        completions={"post": 40_000, "void": 10_000},
        deaths={role.value: 1_000 for role in RING_ROLES},
    )
    assert lacking(seen) == []
    seen.completions["void"] -= 1
    seen.deaths["ledger"] -= 1
    seen.transitions_missing.append("pending + HoldPlaced")
    assert lacking(seen) == [
        "49999 completions",
        "999 deaths of a ledger",
        "pending + HoldPlaced never taken",
    ]


def _broken(output: str) -> str | None:
    found = re.search(r"BROKEN at step \d+: (.+)", output)
    return found[1] if found else None
