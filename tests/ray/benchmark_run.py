"""Run a benchmark as its users do, and have it stop what it started where it takes too long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["run_benchmark"]

_ROOT = Path(__file__).parent.parent.parent
_STOPPED_TIMEOUT_S = 90.0


def run_benchmark(module: str, *arguments: str, timeout_s: float) -> str:
    """Return what it printed. Raises: AssertionError: it failed, or did not end in time."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        # A kill would leave its instances, which have sessions of their own.
        process.terminate()
        out, err = process.communicate(timeout=_STOPPED_TIMEOUT_S)
        raise AssertionError(f"not within {timeout_s} s: {module}\n{out}{err}") from None
    finally:
        process.kill()
        process.wait(_STOPPED_TIMEOUT_S)
    assert process.returncode == 0, out + err
    return out
