"""Redeploy the application of a running instance, as an operator's new release would: `redeploy`.

It is done by a process of its own that joins the instance's Ray, since one process can be connected
to one Ray only, and the tests' own to none.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

from actors.settings import Settings
from serve_app.instance.data_directory import DataDirectory
from serve_app.instance.environment import serve_environment
from tests.support.instance import Instance

__all__ = ["gcs_address", "redeploy"]


def gcs_address(instance: Instance) -> str:
    """Return the address of the instance's own Ray, from the command line of one of its processes."""
    note = DataDirectory(instance.data_dir).read_note()
    assert note is not None, "the instance runs"
    for pid, _ in note.noted:
        for argument in Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"):
            name, _, address = argument.partition("=")
            if name == "--gcs-address":
                return address
    raise AssertionError(f"no process of {note.noted} tells Ray's address")


def redeploy(instance: Instance) -> None:
    """Replace every replica by new ones; returns when Serve has taken the order."""
    settings = Settings.from_environment(instance.environment)
    environment = {
        **instance.environment,
        **serve_environment(settings),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(DataDirectory(instance.data_dir).ray_token_path()),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.redeploy", gcs_address(instance)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:]


def _main(address: str) -> None:
    from actors.cluster import node as cluster_node
    from actors.cluster.deployed import Deployed
    from serve_app.deployment import deploy_application

    cluster_node.join(address, is_verbose=False)
    deploy_application(Deployed.load().settings, revision=secrets.token_hex(4))
    # Ray's threads print at an orderly end; what was asked for is in the controller's hands.
    os._exit(0)


if __name__ == "__main__":
    _main(sys.argv[1])
