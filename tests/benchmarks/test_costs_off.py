"""The costs that a benchmark switches off: what they replace is there, under its name.

Method: each hook in a process of its own, since what it replaces stays replaced.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.benchmarks import costs_off


@pytest.mark.parametrize("cost", ["ledger", "records", "registry"])
def test_what_a_cost_replaces_is_there(cost: str) -> None:
    (hook,) = costs_off.setup_hook(cost).values()
    module, _, function = hook.rpartition(".")
    program = f"import {module} as hooks; hooks.{function}()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
