"""Goal: `cluster.yaml`, as it stands, makes two machines one Midstream."""

from __future__ import annotations

import pytest
import yaml

from tests.two_node.cluster import TwoNodes
from tests.two_node.launcher import CLUSTER_FILE

pytestmark = pytest.mark.two_node


def test_its_commands_are_what_was_run(cluster: TwoNodes) -> None:
    file = yaml.safe_load(CLUSTER_FILE.read_text("utf-8"))
    for host, start in (
        (cluster.head, "head_start_ray_commands"),
        (cluster.worker, "worker_start_ray_commands"),
    ):
        run = [r.command for r in cluster.launcher.runs if r.address == host.address]
        assert run == [*file["setup_commands"], *file[start]]
        assert (cluster.launcher.venv(host) / "pyvenv.cfg").exists()


def test_both_hosts_serve_and_have_actors(cluster: TwoNodes) -> None:
    for host in cluster.hosts:
        replicas = cluster.replicas(host)
        assert {cluster.host_of(r.pid) for r in replicas} == set(cluster.hosts)
        assert len({r.node_id for r in replicas}) == 2
        ready = cluster.admin("/readyz", host)
        assert ready["pool"]["nodes"] == sorted(r.node_id for r in replicas)
