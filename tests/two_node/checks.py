"""What a cancel must have done, held against the upstream and against the bytes the reader got."""

from __future__ import annotations

from typing import Any

from tests.support.chat_streams import ChatStream, credits_of
from tests.two_node.cluster import TwoNodes

__all__ = ["assert_cancelled", "assert_nothing_is_held"]


def assert_cancelled(cluster: TwoNodes, reader: ChatStream, record: dict[str, Any]) -> None:
    """The upstream was closed, the reader has all of it, and the charge is exact on both hosts."""
    assert record["id"] == reader.completion_id
    assert record["status"] == "cancelled"
    assert record["error"]["code"] == "cancelled_by_request"

    reader.join()
    assert reader.error is None
    assert reader.last["choices"][0]["finish_reason"] == "cancelled"
    assert reader.last["usage"] == record["usage"]
    assert reader.has_done

    seen = cluster.simulated(reader.completion_id)
    tokens = len(reader.tokens)
    assert seen["closed_by"] == "client"
    assert tokens <= seen["tokens_sent"]
    assert record["usage"]["completion_tokens"] == tokens, "charged is what was delivered"
    assert record["usage"]["credits_charged"] == credits_of(seen["prompt_tokens"], tokens)
    assert record["choices"][0]["message"]["content"] == "".join(reader.tokens)
    for host in cluster.hosts:
        assert cluster.get(host, reader.completion_id).json() == record


def assert_nothing_is_held(cluster: TwoNodes) -> None:
    """Every hold was resolved, and the accounts balance. For the end of a test."""
    for host in cluster.hosts:
        assert cluster.balance(host)["held_credits"] == 0
        assert cluster.admin("/admin/v1/ledger/audit", host)["ok"]
