"""Goal: a stream that was opened through one host's address is cancelled through the other's.

Each proxy gives a request to any replica of any host, in turns, and an actor is on the host of the
replica that started it. So this is repeated until owner and answering replica are on different hosts,
with a toss before each request, since turns could go on for ever in step. Every round counts.
"""

from __future__ import annotations

import random

import httpx
import pytest

from tests.two_node.checks import assert_cancelled, assert_nothing_is_held
from tests.two_node.cluster import Replica, TwoNodes
from tests.two_node.network import Host

pytestmark = pytest.mark.two_node

ROUNDS_MAX = 40


@pytest.mark.parametrize("opened_at", [0, 1], ids=["head to worker", "worker to head"])
def test_a_cancel_reaches_the_owner_on_the_other_host(cluster: TwoNodes, opened_at: int) -> None:
    here, there = cluster.hosts[opened_at], cluster.hosts[1 - opened_at]
    coin = random.Random(opened_at)
    for _ in range(ROUNDS_MAX):
        _skip_turn(cluster, here, coin)
        reader = cluster.stream(here)
        _skip_turn(cluster, there, coin)
        owner = cluster.row(reader.completion_id)
        answer = cluster.cancel(there, reader.completion_id)
        assert answer.status_code == 200, answer.text
        assert_cancelled(cluster, reader, answer.json())
        replica = Replica.of(answer.headers)
        owner_host, replica_host = map(cluster.host_of, (owner["pid"], replica.pid))
        assert (owner_host is replica_host) == (owner["node_id"] == replica.node_id)
        if (owner_host, replica_host) == (here, there):
            assert_nothing_is_held(cluster)
            return
    pytest.fail(f"no cancel in {ROUNDS_MAX} was answered by the host that does not own the stream")


def _skip_turn(cluster: TwoNodes, host: Host, coin: random.Random) -> None:
    if coin.random() < 0.5:
        httpx.get(f"{cluster.url(host)}/healthz", trust_env=False, timeout=30)
