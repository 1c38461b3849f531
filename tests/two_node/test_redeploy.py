"""Goal: a new release in mid-stream costs no stream anything, and its replicas cancel on any host."""

from __future__ import annotations

import pytest

from tests.support.instance import wait_until
from tests.two_node.checks import assert_cancelled, assert_nothing_is_held
from tests.two_node.cluster import REPLICAS_PER_NODE, Replica, TwoNodes

pytestmark = pytest.mark.two_node

REPLACED_TIMEOUT_S = 100.0


def test_streams_are_cancelled_after_the_application_was_redeployed(cluster: TwoNodes) -> None:
    before = {replica.pid for host in cluster.hosts for replica in cluster.replicas(host)}
    assert len(before) == 2 * REPLICAS_PER_NODE
    readers = [cluster.stream(host) for host in cluster.hosts]
    assert all(Replica.of(reader.answer_headers).pid in before for reader in readers)

    cluster.redeploy()
    after = wait_until(
        lambda: _pids_without(cluster, before), "new replicas alone answer", REPLACED_TIMEOUT_S
    )
    assert len(after) == 2 * REPLICAS_PER_NODE
    assert after.isdisjoint(before)

    for reader, there in zip(readers, reversed(cluster.hosts), strict=True):
        reader.wait_for_tokens(len(reader.tokens) + 5)
        answer = cluster.cancel(there, reader.completion_id)
        assert answer.status_code == 200, answer.text
        assert Replica.of(answer.headers).pid in after
        assert_cancelled(cluster, reader, answer.json())
    assert_nothing_is_held(cluster)


def _pids_without(cluster: TwoNodes, before: set[int]) -> set[int] | None:
    found = [{replica.pid for replica in cluster.replicas(host)} for host in cluster.hosts]
    are_new = all(len(pids) == 2 * REPLICAS_PER_NODE and not pids & before for pids in found)
    return found[0] | found[1] if are_new else None
