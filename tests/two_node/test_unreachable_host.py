"""Goal: nobody waits without end for a host whose cable is pulled, and nothing is lost by it.

A stream is owned by the host that is cut off, and is read and cancelled through the other one: by the
client that opened it, which a replica beside the owner answers, and by one that attached later, which
a replica on the other host answers. The cut is shorter than what Ray takes for the death of a node (a
minute): the owner lives, and is out of reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.support.chat_streams import ChatStream
from tests.support.instance import wait_until
from tests.two_node.checks import assert_cancelled, assert_nothing_is_held
from tests.two_node.cluster import Replica, TwoNodes
from tests.two_node.follower import Follower
from tests.two_node.network import Host

pytestmark = [pytest.mark.two_node, pytest.mark.slow]

ROUNDS_MAX = 20
NOTICED_TIMEOUT_S = 30.0
MENDED_TIMEOUT_S = 60.0

CANNOT = (409, "chat_cancel_target_not_cancellable")
AWAY = (503, "overloaded")


@pytest.mark.parametrize(
    ("cut", "refusals"),
    [
        ("worker", {CANNOT}),
        # Who may cancel what is known on the head alone.
        ("head", {CANNOT, AWAY}),
    ],
)
def test_a_cancel_of_what_is_cut_off_is_refused_in_time(
    cluster: TwoNodes, cut: str, refusals: set[tuple[int, str]]
) -> None:
    lost = cluster.worker if cut == "worker" else cluster.head
    there = cluster.head if cut == "worker" else cluster.worker
    reader = _stream_owned_by(cluster, lost, opened_at=there)
    name = reader.completion_id
    follower = _follower_at(cluster, there, name)

    with _cut(cluster, lost), ThreadPoolExecutor() as pool:
        wait_until(
            lambda: {cluster.host_of(r.pid) for r in cluster.replicas(there)} == {there},
            "the proxy has noticed it",
            NOTICED_TIMEOUT_S,
        )
        cancelling, getting = (
            pool.submit(ask, there, name) for ask in (cluster.cancel, cluster.get)
        )
        assert _error(cancelling.result()) in refusals
        assert _error(getting.result()) == AWAY

    record = wait_until(
        lambda: _settled(cluster, there, name), "it is cancelled after all", MENDED_TIMEOUT_S
    )
    cluster.wait_until_ready()
    assert_cancelled(cluster, reader, record)
    follower.join()
    assert follower.error is None
    assert follower.has_done
    assert follower.texts == reader.tokens
    _assert_all_works(cluster)


def _stream_owned_by(cluster: TwoNodes, owner: Host, *, opened_at: Host) -> ChatStream:
    for _ in range(ROUNDS_MAX):
        reader = cluster.stream(opened_at)
        if cluster.host_of(cluster.row(reader.completion_id)["pid"]) is owner:
            return reader
        cluster.cancel(opened_at, reader.completion_id)
        reader.join()
    raise AssertionError(f"none of {ROUNDS_MAX} streams is owned by {owner}")


def _follower_at(cluster: TwoNodes, host: Host, name: str) -> Follower:
    """Attach through the host's address until one of its own replicas answers; the others stay."""
    for _ in range(ROUNDS_MAX):
        follower = Follower(f"{cluster.url(host)}/v1/chat/completions/{name}")
        if cluster.host_of(Replica.of(follower.headers).pid) is host:
            return follower
    raise AssertionError(f"no replica on {host} answered {ROUNDS_MAX} times")


@contextmanager
def _cut(cluster: TwoNodes, host: Host) -> Iterator[None]:
    cluster.network.cut(host)
    try:
        yield
    finally:
        cluster.network.mend(host)


def _error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def _settled(cluster: TwoNodes, host: Host, name: str) -> dict[str, Any] | None:
    """Cancel, as a client that was told to try again; return the record that both hosts agree on."""
    try:
        answer = cluster.cancel(host, name)
        if answer.status_code == 200:
            return dict(answer.json())
        if _error(answer) == (409, "chat_cancel_target_already_terminal"):
            return dict(cluster.get(host, name).raise_for_status().json())
    except httpx.TransportError:
        pass
    return None


def _assert_all_works(cluster: TwoNodes) -> None:
    """Streams are cancelled across, as if nothing had been."""
    for here, there in (cluster.hosts, reversed(cluster.hosts)):
        reader = cluster.stream(here)
        answer = cluster.cancel(there, reader.completion_id)
        assert answer.status_code == 200, answer.text
        assert_cancelled(cluster, reader, answer.json())
    assert_nothing_is_held(cluster)
