"""The suite of every runtime, on a running Midstream's own actors."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from serve_app.instance.data_directory import DataDirectory
from tests.support.instance import Instance
from tests.support.redeploy import gcs_address
from tests.support.runtime_suite import CHECKS

pytestmark = pytest.mark.ray


def test_the_runtime_on_ray(midstream: Instance) -> None:
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(DataDirectory(midstream.data_dir).ray_token_path()),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.runtime_suite", gcs_address(midstream)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    passed = [line for line in done.stdout.splitlines() if line.startswith("ok ")]
    assert passed == [f"ok {check.__name__}" for check in CHECKS], done.stderr[-4_000:]
    assert done.returncode == 0, done.stderr[-4_000:]
