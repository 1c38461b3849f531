"""Goal: the chat contract, on the running system: records, keys, limits, headers, quiet streams."""

from __future__ import annotations

import asyncio
import fcntl
import json
import re
import socket
import sys
import termios
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.chat_streams import ChatStream, body, credits_of, stream
from tests.support.hooked_simulator import HookedSimulator
from tests.support.instance import DEMO_KEY, Instance, wait_until

pytestmark = pytest.mark.ray

CREATE = "/v1/chat/completions"
REQUEST_ID = re.compile(r"req_[0-9A-HJKMNP-TV-Z]{26}")


def read(client: httpx.Client, completion_id: str) -> dict[str, Any]:
    answer = client.get(f"{CREATE}/{completion_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def balance(client: httpx.Client) -> dict[str, Any]:
    return dict(client.get("/v1/balance").json())


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def limited_team(instance: Instance, team: str, **limits: int) -> str:
    value = {"team": team, "organization": "org_tests", "credits": 10.0, "limits": limits}
    instance.admin("POST", "/admin/v1/teams", json=value)
    return str(instance.admin("POST", f"/admin/v1/teams/{team}/keys", json={})["key"])


# Records.


def test_a_running_completion_is_shown_as_it_is(midstream: Instance) -> None:
    reader = stream(midstream, "sim-long", max_tokens=2_000).wait_for_tokens(5)
    with midstream.client() as client:
        begun = "".join(reader.tokens)
        first, second = read(client, reader.completion_id), read(client, reader.completion_id)
        final = client.post(f"{CREATE}/{reader.completion_id}/cancel").json()
    reader.join()
    texts = [record["choices"][0]["message"]["content"] for record in (first, second, final)]
    assert texts[0].startswith(begun)
    assert texts[1].startswith(texts[0])
    assert texts[2].startswith(texts[1])
    assert first["status"] == second["status"] == "in_progress"
    assert first["choices"][0]["finish_reason"] is None
    assert first["usage"]["completion_tokens"] >= 5
    assert first["usage"]["prompt_tokens"] == final["usage"]["prompt_tokens"]
    assert first["usage"]["credits_charged"] == 0
    assert "error" not in first
    assert final["status"] == "cancelled"


MODELS = ("sim", "sim-multi", "sim-utf8", "sim-no-usage", "sim-reasoning", "sim-refusal")


@pytest.mark.parametrize("model", MODELS)
def test_stream_and_body_agree_and_are_charged_alike(midstream: Instance, model: str) -> None:
    with midstream.client() as client:
        before = balance(client)["credits"]
        collected = client.post(CREATE, json=body(model, max_tokens=12)).json()
        reader = stream(midstream, model, max_tokens=12).join()
        streamed = read(client, reader.completion_id)
        after = balance(client)["credits"]
    assert reader.has_done
    assert collected["choices"] == streamed["choices"]
    assert collected["usage"] == streamed["usage"] == reader.last["usage"]
    seen = midstream.simulated(reader.completion_id)
    assert seen["tokens_sent"] == 12
    charge = credits_of(seen["prompt_tokens"], 12)
    usage = streamed["usage"]
    assert usage["credits_charged"] == charge
    assert before - after == pytest.approx(2 * charge, abs=1e-9)
    message = streamed["choices"][0]["message"]
    if model == "sim-reasoning":
        assert usage["completion_tokens"] == 12, "reasoning is a part of the completion"
        assert usage["completion_tokens_details"] == {"reasoning_tokens": 6}
        assert seen["text_sent"] == message["reasoning_content"] + message["content"]
    else:
        assert (message["content"] or message["refusal"]) == seen["text_sent"]
    basis = "counted" if model == "sim-no-usage" else "provider_usage"
    assert streamed["midstream"]["charge_basis"]["output"] == basis


def test_the_name_that_a_client_gave_is_its_own(midstream: Instance) -> None:
    """One name is one completion of one team; another team may use the same."""
    name = {"Midstream-Completion-Id": "my-own.name_1"}
    other = midstream.new_team("namesakes")
    with midstream.client() as mine, midstream.client(other) as theirs:
        request = body("sim-instant", max_tokens=2)
        first = mine.post(CREATE, json=request, headers=name)
        again = mine.post(CREATE, json=request | {"max_tokens": 4}, headers=name)
        namesake = theirs.post(CREATE, json=request | {"max_tokens": 3}, headers=name)
        assert first.json()["id"] == first.headers["midstream-completion-id"] == "my-own.name_1"
        assert error_of(again) == (409, "completion_id_in_use")
        assert namesake.status_code == 200
        assert read(mine, "my-own.name_1")["usage"]["completion_tokens"] == 2
        assert read(theirs, "my-own.name_1")["usage"]["completion_tokens"] == 3


# Idempotency.


def test_a_repeated_key_is_answered_from_the_record(midstream: Instance) -> None:
    request = body("sim-instant", max_tokens=5)
    reordered = dict(reversed(request.items()))
    key = {"Idempotency-Key": "once"}
    with midstream.client() as client:
        first = client.post(CREATE, json=request, headers=key)
        paid = balance(client)
        again = client.post(CREATE, json=reordered, headers={"Aurous-Idempotency-Key": "once"})
        other = client.post(CREATE, json=request | {"max_tokens": 6}, headers=key)
        assert balance(client) == paid, "no second charge"
    assert first.status_code == again.status_code == 200
    assert again.json() == first.json()
    assert "aurous-idempotent-replayed" not in first.headers
    assert again.headers["aurous-idempotent-replayed"] == "true"
    assert again.headers["midstream-completion-id"] == first.json()["id"]
    assert error_of(other) == (422, "idempotency_key_in_use")
    midstream.simulated(first.json()["id"])  # asserts that the model was asked once


def test_calls_at_once_with_one_key_or_one_id_are_one_completion(midstream: Instance) -> None:
    """From replicas that know nothing of each other; all read the same."""
    request = body("sim-long", max_tokens=60)
    for headers in ({"Idempotency-Key": "twins"}, {"Midstream-Completion-Id": "twins"}):
        with midstream.client() as client, ThreadPoolExecutor(6) as pool:
            before = balance(client)["credits"]
            posts = [
                pool.submit(client.post, CREATE, json=request, headers=headers) for _ in range(6)
            ]
            answers = [post.result(60) for post in posts]
            late = client.post(CREATE, json=request, headers=headers)
            spent = before - balance(client)["credits"]
        assert {answer.status_code for answer in (*answers, late)} == {200}
        bodies = [answer.json() for answer in (*answers, late)]
        assert all(one == bodies[0] for one in bodies)
        assert spent == pytest.approx(bodies[0]["usage"]["credits_charged"])
        midstream.simulated(midstream.row(bodies[0]["id"], "chat")["id"])  # it was asked once


def test_a_key_that_failed_is_free_again(midstream: Instance) -> None:
    key = {"Idempotency-Key": "failed-once"}
    with midstream.client() as client:
        invalid = client.post(CREATE, json=body("no-such-model"), headers=key)
        failed = client.post(CREATE, json=body("sim-error"), headers=key)
        good = client.post(CREATE, json=body("sim-instant", max_tokens=2), headers=key)
    assert error_of(invalid) == (404, "resource_not_found")
    assert error_of(failed) == (502, "chat_provider_unavailable")
    assert good.status_code == 200, good.text
    assert "aurous-idempotent-replayed" not in good.headers


def test_a_key_is_one_teams_alone(midstream: Instance) -> None:
    other = midstream.new_team("other-keys")
    request = body("sim-instant", max_tokens=4)
    with midstream.client() as mine, midstream.client(other) as theirs:
        answers = [
            client.post(CREATE, json=request, headers={"Idempotency-Key": "shared"})
            for client in (mine, theirs)
        ]
    assert len({answer.json()["id"] for answer in answers}) == 2


def test_streams_with_one_key_are_one_completion(midstream: Instance) -> None:
    readers = [
        stream(midstream, "sim-long", max_tokens=30, headers={"Idempotency-Key": "s"})
        for _ in range(2)
    ]
    first, second = (reader.wait_for_tokens(1) for reader in readers)
    for reader in (first.join(), second.join()):
        assert reader.answer_headers["aurous-idempotency-status"] == "honoured"
        assert reader.has_done
    assert first.completion_id == second.completion_id
    assert first.frames == second.frames
    plain = stream(midstream, "sim-instant", max_tokens=2).join()
    assert plain.answer_headers["aurous-idempotency-status"] == "not_set"


# Limits.


def test_a_teams_request_rate_is_shown_and_kept(midstream: Instance) -> None:
    key = limited_team(midstream, "rated", requests_per_minute=3)
    request = body("sim-instant", max_tokens=2)
    with midstream.client(key) as client:
        answers = [client.post(CREATE, json=request) for _ in range(4)]
        left = balance(client)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"3"}
    assert all(int(answer.headers["x-ratelimit-reset"]) > 1_700_000_000 for answer in answers)
    assert error_of(answers[3]) == (429, "too_many_requests")
    assert 1 <= int(answers[3].headers["retry-after"]) <= 20
    assert left["held_credits"] == 0
    with midstream.client() as client:
        free = client.post(CREATE, json=request)
    assert not [name for name in free.headers if name.startswith("x-ratelimit")]


def test_a_teams_concurrency_is_kept_and_its_cancels_are_never_refused(
    midstream: Instance,
) -> None:
    key = limited_team(midstream, "narrow", requests_per_minute=3, completions_concurrent=1)
    reader = stream(midstream, "sim-long", max_tokens=2_000, key=key).wait_for_tokens(2)
    with midstream.client(key) as client:
        second = client.post(CREATE, json=body("sim-instant", max_tokens=2))
        client.post(CREATE, json=body("sim-instant", max_tokens=2))
        third = client.post(CREATE, json=body("sim-instant", max_tokens=2))
        unknown = {client.post(f"{CREATE}/nobody-{n}/cancel").status_code for n in range(20)}
        assert {client.get(f"{CREATE}/{reader.completion_id}").status_code for _ in range(9)} == {
            200
        }
        cancelled = client.post(f"{CREATE}/{reader.completion_id}/cancel")
    reader.join()
    assert error_of(second) == (429, "concurrency_limit_exceeded")
    assert int(second.headers["retry-after"]) >= 1
    assert third.status_code == 429
    assert unknown == {404}
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"


def test_the_place_of_an_ended_completion_is_free(midstream: Instance) -> None:
    key = limited_team(midstream, "one-at-a-time", completions_concurrent=1)
    with midstream.client(key) as client:
        statuses = [
            client.post(CREATE, json=body("sim-instant", max_tokens=2)).status_code
            for _ in range(5)
        ]
    assert statuses == [200] * 5


# Keys, versions, what an account can ask.


def test_a_revoked_key_starts_nothing_and_what_it_started_goes_on(midstream: Instance) -> None:
    midstream.new_team("revoked")
    made = midstream.admin("POST", "/admin/v1/teams/revoked/keys", json={"name": "to revoke"})
    reader = stream(midstream, "sim-long", max_tokens=2_000, key=made["key"]).wait_for_tokens(2)
    with midstream.client(made["key"]) as client:
        midstream.admin("DELETE", f"/admin/v1/keys/{made['key_id']}")
        # Two replicas may each know the key for a moment more.
        wait_until(
            lambda: all(client.get("/v1/balance").status_code == 401 for _ in range(8)),
            "it is refused",
            10,
        )
        refused = client.post(CREATE, json=body("sim-instant"))
    assert error_of(refused) == (401, "revoked_api_key")
    reader.wait_for_tokens(len(reader.tokens) + 10)
    midstream.admin("POST", f"/admin/v1/completions/{reader.completion_id}/cancel")
    reader.join()
    assert reader.has_done
    listed = midstream.admin("GET", "/admin/v1/keys?team=revoked")["data"]
    assert {row["name"]: row["revoked_at"] is not None for row in listed} == {
        "": False,
        "to revoke": True,
    }
    assert made["key"] not in str(listed)


def test_every_answer_says_its_version_and_its_request(midstream: Instance) -> None:
    request = body("sim-instant", max_tokens=2)
    with midstream.client() as client:
        answers = [
            client.post(CREATE, json=request),
            client.post(CREATE, json=request, headers={"Aurous-Version": "2026-05-15"}),
            client.get("/v1/models"),
            client.get(f"{CREATE}/nobody"),
            client.post(f"{CREATE}/nobody/cancel"),
            client.get("/nowhere"),
            client.post(CREATE, content=b"{"),
        ]
        unknown = client.post(CREATE, json=request, headers={"Aurous-Version": "2020-01-01"})
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 404, 404, 400]
    assert error_of(unknown) == (400, "unknown_version")
    answers.append(unknown)
    assert {answer.headers["aurous-version"] for answer in answers} == {"2026-05-15"}
    ids = [answer.headers["aurous-request-id"] for answer in answers]
    assert all(REQUEST_ID.fullmatch(name) for name in ids)
    assert len(set(ids)) == len(ids)
    for answer in answers:
        if answer.status_code >= 400:
            assert answer.json()["error"]["request_id"] == answer.headers["aurous-request-id"]


def test_models_and_balance_are_told(midstream: Instance) -> None:
    key = midstream.new_team("accountants", credits=2.5)
    with midstream.client(key) as client:
        rows = {row["id"]: row for row in client.get("/v1/models").json()["data"]}
        whole = balance(client)
        reader = stream(midstream, "sim-long", max_tokens=1_000, key=key).wait_for_tokens(1)
        held = balance(client)
        client.post(f"{CREATE}/{reader.completion_id}/cancel")
        left = balance(client)
    reader.join()
    assert {"sim", "hooked", "gemma", "aurous-grow-2.0-pro"} <= set(rows)
    assert rows["sim"]["chat_pricing"] == {
        "input": {"credits_per_M": 75},
        "output": {"credits_per_M": 450},
    }
    assert rows["sim"]["kind"] == rows["sim"]["aurous_metadata"]["kind"] == "chat"
    assert whole == {
        "credits": 2.5,
        "held_credits": 0.0,
        "available_credits": 2.5,
        "currency": "credit",
        "billing_mode": "metered",
    }
    prompt = reader.last["usage"]["prompt_tokens"]
    assert held["credits"] == 2.5
    assert held["held_credits"] == ((11 * prompt * 75 + 9) // 10 + 1_000 * 450) / 1e6
    assert left["held_credits"] == 0
    charged = reader.last["usage"]["credits_charged"]
    assert left["credits"] == pytest.approx(2.5 - charged, abs=1e-9)


# Quiet streams, and clients that ask Ray Serve for favours.


def test_a_quiet_stream_is_kept_alive(
    midstream: Instance, hooked_simulator: HookedSimulator
) -> None:
    """The provider says nothing until its client has been told twice that it is still there."""
    go_on = threading.Event()

    async def hook(_: str) -> None:
        await asyncio.to_thread(go_on.wait, 30)

    hooked_simulator.hook = hook
    try:
        reader = stream(midstream, "hooked", max_tokens=5)
        wait_until(lambda: reader.raw.count(b": keep-alive\n") >= 2, "two keep-alives")
        assert reader.tokens == []
    finally:
        hooked_simulator.hook = None
        go_on.set()
    reader.join()
    assert reader.has_done
    assert len(reader.tokens) == 5
    numbers = [int(n) for n in re.findall(rb"^id: (\d+)$", reader.raw, re.MULTILINE)]
    assert numbers == list(range(len(numbers))), "a keep-alive has no number"


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_clients_timeout_header_ends_nothing(midstream: Instance, is_stream: bool) -> None:
    """Ray Serve would cancel the handler at that time; the disconnect rule alone may."""
    headers = {"x-request-timeout-seconds": "0.3"}
    if is_stream:
        reader = stream(midstream, "sim", max_tokens=60, headers=headers).join()
        assert reader.has_done
        assert len(reader.tokens) == 60
    else:
        with midstream.client() as client:
            answer = client.post(CREATE, json=body("sim", max_tokens=60), headers=headers)
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] == 60


def test_a_client_cannot_hide_that_it_left(midstream: Instance) -> None:
    headers = {"x-request-disconnect-disabled": "?1"}
    leaver = stream(midstream, "sim-long", max_tokens=5_000, headers=headers).wait_for_tokens(3)
    leaver.close()
    assert ended(midstream, leaver)["error"]["code"] == "cancelled_client_disconnect"


@pytest.mark.parametrize("segments", [1, 2])
def test_a_caller_that_does_not_wait_for_its_body_has_left(
    midstream: Instance, segments: int
) -> None:
    """Streaming or not, the rule is the same; and however the request was sent."""
    name = f"does-not-wait-{segments}"
    content = json.dumps(body("sim-long", max_tokens=20_000)).encode()
    head = (
        f"POST {CREATE} HTTP/1.1\r\nHost: midstream\r\nAuthorization: Bearer {DEMO_KEY}\r\n"
        f"Midstream-Completion-Id: {name}\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode()
    path = f"{CREATE}/{name}"
    with midstream.client() as client:
        with socket.create_connection(("127.0.0.1", midstream.port), timeout=30) as caller:
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for segment in [head + content] if segments == 1 else [head, content]:
                caller.sendall(segment)
                wait_until(lambda: _unacknowledged_bytes(caller) == 0, "the segment has arrived")
            wait_until(lambda: _has_tokens(client, path), "the model answers")
        record = wait_until(
            lambda: (r := read(client, name))["status"] != "in_progress" and r, "it is settled"
        )
    assert record["error"]["code"] == "cancelled_client_disconnect"
    assert midstream.simulated(record["midstream"]["completion_id"])["closed_by"] == "client"


def _unacknowledged_bytes(connection: socket.socket) -> int:
    """How much of what was sent the other side's kernel does not have. Source: tcp(7), SIOCOUTQ."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _has_tokens(client: httpx.Client, path: str) -> bool:
    answer = client.get(path)
    return answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] > 0


def ended(instance: Instance, reader: ChatStream) -> dict[str, Any]:
    with instance.client() as client:
        record: dict[str, Any] = wait_until(
            lambda: (r := read(client, reader.completion_id))["status"] != "in_progress" and r,
            "it is settled",
        )
    return record
