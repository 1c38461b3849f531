"""Goal: the actor owns the stream. Whoever else dies costs no completion anything.

Processes are killed by ids that Midstream itself names, and only those of the instance under test.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import httpx
import pytest

from tests.support.chat_streams import credits_of, stream
from tests.support.instance import Instance, is_alive, wait_until

pytestmark = pytest.mark.ray


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), f"process {pid} is gone")


def row(instance: Instance, completion_id: str) -> dict[str, Any]:
    rows = instance.admin("GET", "/admin/v1/completions?limit=1000")["data"]
    return next(r for r in rows if r["id"] == completion_id)


def get(instance: Instance, completion_id: str) -> dict[str, Any]:
    with instance.client() as client:
        answer = client.get(f"/v1/chat/completions/{completion_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def replay(instance: Instance, completion_id: str) -> str:
    with instance.client() as client:
        answer = client.get(f"/v1/chat/completions/{completion_id}?stream=true")
        answer.raise_for_status()
        return answer.text


def replica_pids(instance: Instance) -> set[int]:
    """Ask until no new replica answers: each says who it is."""
    pids = set()
    for _ in range(40):
        answer = httpx.get(f"{instance.url}/healthz", trust_env=False)
        pids.add(int(answer.headers["midstream-replica"].split("/")[1]))
    return pids


def test_a_killed_replica_costs_the_completion_nothing(midstream: Instance) -> None:
    before = replica_pids(midstream)
    reader = stream(
        midstream, "sim-long", max_tokens=150, headers={"Midstream-On-Disconnect": "continue"}
    ).wait_for_tokens(3)
    name = reader.completion_id
    kill(int(reader.answer_headers["midstream-replica"].split("/")[1]))
    reader.join()
    record = wait_until(
        lambda: (r := get(midstream, name))["status"] != "in_progress" and r, "it ends by itself"
    )
    seen = midstream.simulated(name)
    assert record["status"] == "completed"
    assert seen["closed_by"] == "server", "the upstream saw nobody leave"
    assert record["usage"]["completion_tokens"] == seen["tokens_sent"] == 150
    frames = replay(midstream, name)
    assert frames.count('"content":" ') == 150, "another replica replays it whole"
    wait_until(lambda: len(replica_pids(midstream)) == len(before), "the replica is replaced", 60)


def test_a_killed_actor_fails_its_completion_and_voids_the_hold(midstream: Instance) -> None:
    reader = stream(midstream, "sim-long", max_tokens=2_000).wait_for_tokens(3)
    name = reader.completion_id
    with midstream.client() as client:
        before = client.get("/v1/balance").json()
    assert before["held_credits"] > 0
    kill(int(row(midstream, name)["pid"]))
    record = wait_until(
        lambda: (r := get(midstream, name))["status"] != "in_progress" and r, "it is lost", 5
    )
    reader.join()
    assert record["status"] == "failed"
    assert "error" in reader.last, "the reader is told by a typed frame"
    assert not reader.has_done
    written = record["choices"][0]["message"]["content"]
    assert "".join(reader.tokens) == written, "what was shown is what is recorded"
    assert record["usage"]["completion_tokens"] == len(reader.tokens) >= 3
    assert replay(midstream, name).count('"content":" ') == len(reader.tokens)
    assert record["usage"]["credits_charged"] == 0
    with midstream.client() as client:
        after = client.get("/v1/balance").json()
    assert after["held_credits"] == 0
    assert after["credits"] == before["credits"]
    admin_record = midstream.admin("GET", f"/admin/v1/completions/{name}")
    assert "completion_lost" in str(admin_record)


def test_a_text_is_kept_where_nobody_mirrors_it(midstream: Instance) -> None:
    """Owner and witness die together: what is missing is what came since the last checkpoint."""
    reader = stream(
        midstream, "sim-long", max_tokens=2_000, headers={"Midstream-On-Disconnect": "continue"}
    ).wait_for_tokens(150)
    name = reader.completion_id
    shown = len(reader.tokens)
    os.kill(int(reader.answer_headers["midstream-replica"].split("/")[1]), signal.SIGKILL)
    kill(int(row(midstream, name)["pid"]))
    record = wait_until(
        lambda: (r := get(midstream, name))["status"] != "in_progress" and r, "it is lost", 15
    )
    reader.join()
    written = record["choices"][0]["message"]["content"]
    assert written.startswith("".join(reader.tokens[: shown - 100])), "two seconds' worth"
    assert record["usage"]["credits_charged"] == 0


def test_an_actor_that_hangs_is_found_and_its_text_is_kept(midstream: Instance) -> None:
    reader = stream(midstream, "sim-long", max_tokens=2_000).wait_for_tokens(3)
    name = reader.completion_id
    pid = int(row(midstream, name)["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        record = wait_until(
            lambda: _ended(midstream, name), "it is found, and what it carries is lost", 25
        )
        reader.join()
        assert record["choices"][0]["message"]["content"] == "".join(reader.tokens)
        wait_until(lambda: not is_alive(pid), "the process is gone", 15)
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGCONT)


def _ended(instance: Instance, completion_id: str) -> dict[str, Any] | None:
    """Return the record of a completion that has ended; None while its owner does not answer."""
    with instance.client() as client:
        answer = client.get(f"/v1/chat/completions/{completion_id}")
    if answer.status_code != 200 or answer.json()["status"] == "in_progress":
        return None
    return dict(answer.json())


def test_a_killed_registry_is_missed_by_nobody(midstream: Instance) -> None:
    reader = stream(midstream, "sim-long", max_tokens=2_000).wait_for_tokens(3)
    pool = midstream.admin("GET", "/readyz")["pool"]
    kill(int(pool["pid"]))
    count = len(reader.tokens)
    reader.wait_for_tokens(count + 20)
    wait_until(lambda: _registry_pid(midstream) not in (None, pool["pid"]), "it is back")
    with midstream.client() as client:
        answer = client.post(f"/v1/chat/completions/{reader.completion_id}/cancel")
    assert answer.status_code == 200, answer.text
    reader.join()
    seen = midstream.simulated(reader.completion_id)
    assert seen["closed_by"] == "client"
    usage = answer.json()["usage"]
    assert usage["credits_charged"] == credits_of(seen["prompt_tokens"], len(reader.tokens))
    after = stream(midstream, "sim-instant", max_tokens=3).join()
    assert after.has_done, "and new completions start"


def _registry_pid(instance: Instance) -> int | None:
    try:
        return int(instance.admin("GET", "/readyz")["pool"]["pid"])
    except (httpx.HTTPError, KeyError):
        return None


def test_a_killed_ledger_comes_back_with_everything(midstream: Instance) -> None:
    reader = stream(midstream, "sim-long", max_tokens=400).wait_for_tokens(3)
    kill(int(midstream.admin("GET", "/readyz")["ledger"]["pid"]))
    reader.join()
    assert reader.has_done
    assert len(reader.tokens) == 400
    record = get(midstream, reader.completion_id)
    assert record["usage"]["completion_tokens"] == 400
    audit = midstream.admin("GET", "/admin/v1/ledger/audit")
    assert audit["ok"], audit
