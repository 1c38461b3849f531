"""Replaces every replica of the application, as a new version of it would: run on a host of the cluster.

`python -m tests.two_node.redeploy ADDRESS` deploys what is deployed already as another revision, and
returns when all of its replicas run. The replaced ones go on with the streams they carry.
"""

from __future__ import annotations

import secrets
import sys

from actors.cluster_node import join, leave
from actors.deployed import Deployed
from serve_app.deployment import deploy_application, wait_until_running

_TIMEOUT_S = 100.0


def _main() -> None:
    join(sys.argv[1], is_verbose=False)
    try:
        replicas = deploy_application(Deployed.load().settings, revision=secrets.token_hex(4))
        wait_until_running(replicas, timeout_s=_TIMEOUT_S)
    finally:
        leave()


if __name__ == "__main__":
    _main()
