"""Goal: a new release of the HTTP layer costs no running completion anything.

Every replica is replaced while completions run. The actors own the streams, so what the old replicas
carried goes on, and the new ones can read, resume and stop it. Replicas are told apart by process.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.support.chat_streams import credits_of, stream
from tests.support.instance import Instance, is_alive, wait_until
from tests.support.redeploy import redeploy

pytestmark = pytest.mark.ray

KEEP = {"Midstream-On-Disconnect": "continue"}


def replica_of(answer: httpx.Response | httpx.Headers) -> int:
    headers = answer if isinstance(answer, httpx.Headers) else answer.headers
    return int(headers["midstream-replica"].split("/")[1])


def replica_pids(instance: Instance) -> set[int]:
    """Ask on many new connections who answers."""
    url = f"{instance.url}/healthz"
    return {replica_of(httpx.get(url, trust_env=False, timeout=30)) for _ in range(30)}


def read_again(instance: Instance, completion_id: str, tokens: int) -> tuple[int, list[str]]:
    """Attach anew, from the first frame; leave after so many tokens. Returns who answered, and them."""
    texts: list[str] = []
    path = f"/v1/chat/completions/{completion_id}?stream=true"
    with instance.client() as client, client.stream("GET", path) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                delta = json.loads(line[6:])["choices"][0]["delta"]
                texts += [delta["content"]] if delta.get("content") else []
            if len(texts) == tokens:
                break
        return replica_of(answer), texts


def record_of(instance: Instance, completion_id: str) -> dict[str, Any]:
    with instance.client() as client:
        return dict(client.get(f"/v1/chat/completions/{completion_id}").json())


def cancel(instance: Instance, completion_id: str) -> httpx.Response:
    with instance.client() as client:
        return client.post(f"/v1/chat/completions/{completion_id}/cancel")


def test_streams_outlive_the_replicas_that_started_them(midstream: Instance) -> None:
    before = replica_pids(midstream)
    reader = stream(midstream, "sim-long", max_tokens=20_000).wait_for_tokens(3)
    keeper = stream(midstream, "sim-long", max_tokens=20_000, headers=KEEP).wait_for_tokens(3)
    keeper.close()
    leaver = stream(midstream, "sim-long", max_tokens=20_000).wait_for_tokens(3)
    assert {replica_of(s.answer_headers) for s in (reader, keeper, leaver)} <= before

    redeploy(midstream)
    after = wait_until(
        lambda: (
            (pids := replica_pids(midstream)).isdisjoint(before)
            and len(pids) == len(before)
            and pids
        ),
        "all are new, and all are up",
        120,
    )

    # What is read through an old replica goes on.
    reader.wait_for_tokens(len(reader.tokens) + 20)

    # A client that leaves an old replica may just have been moved: its completion waits for it.
    leaver.close()
    answered_by, texts = read_again(midstream, leaver.completion_id, len(leaver.tokens) + 20)
    assert answered_by in after
    assert texts[: len(leaver.tokens)] == leaver.tokens, "and a new replica has it all"
    # This time it left a replica that stays.
    error = wait_until(
        lambda: record_of(midstream, leaver.completion_id).get("error"), "its last reader is missed"
    )
    assert error["code"] == "cancelled_client_disconnect"

    # A completion that needs no reader has run on.
    so_far = record_of(midstream, keeper.completion_id)
    assert so_far["status"] == "in_progress"
    assert so_far["usage"]["completion_tokens"] > len(keeper.tokens)
    answered_by, texts = read_again(midstream, keeper.completion_id, len(keeper.tokens) + 50)
    assert answered_by in after
    assert texts[: len(keeper.tokens)] == keeper.tokens

    # New replicas stop what old ones started, and the books are right.
    for name in (reader.completion_id, keeper.completion_id):
        answer = cancel(midstream, name)
        assert answer.status_code == 200, answer.text
        assert replica_of(answer) in after
        seen = midstream.simulated(name)
        usage = answer.json()["usage"]
        assert seen["closed_by"] == "client"
        assert usage["completion_tokens"] <= seen["tokens_sent"]
        assert usage["credits_charged"] == credits_of(
            seen["prompt_tokens"], usage["completion_tokens"]
        )
    reader.join()
    assert reader.has_done
    assert reader.last["usage"]["completion_tokens"] == len(reader.tokens)
    assert midstream.admin("GET", "/admin/v1/ledger/audit")["ok"]

    # Nobody is left of the old ones, now that nothing is carried by them.
    wait_until(lambda: not any(map(is_alive, before)), "the old replicas have ended", 60)
    assert stream(midstream, "sim-instant", max_tokens=3).join().has_done
