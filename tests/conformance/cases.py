"""The cases: each takes an instance and a dialect's client, and raises where a promise is broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.conformance.calls import (
    Streaming,
    ask,
    cancel,
    create,
    new_name,
    settled,
    state,
)
from tests.support.dialect_clients import DialectClient, frames_of
from tests.support.instance import Instance, wait_until

__all__ = ["CASES", "NotApplicable"]

TOKENS = 60
REMEMBER = {"Midstream-If-Absent": "remember"}


class NotApplicable(Exception):
    """The dialect has no such call; the message says so."""


def seen_by_simulator(instance: Instance, client: DialectClient, name: str) -> dict[str, Any]:
    return instance.simulated(instance.row(name, client.name)["id"])


def admin_record(instance: Instance, client: DialectClient, name: str) -> dict[str, Any]:
    row = instance.row(name, client.name)
    return dict(instance.admin("GET", f"/admin/v1/completions/{row['id']}"))


# Creating.


def creates(instance: Instance, client: DialectClient) -> None:
    name = new_name()
    answer = create(instance, client, name, client.body("sim-instant", TOKENS))
    assert answer.status_code == 200, answer.text
    assert answer.headers["midstream-completion-id"] == name
    text = client.text(answer.json())
    assert text == seen_by_simulator(instance, client, name)["text_sent"]
    assert state(instance, client, name) == "completed"


def streams(instance: Instance, client: DialectClient) -> None:
    """Stream and body of the same prompt agree, and with what the upstream sent."""
    name = new_name()
    with Streaming(instance, client, name, client.body("sim-instant", TOKENS)) as stream:
        stream.join()
    numbers = [number for number, _, _ in stream.frames if number is not None]
    assert numbers == list(range(len(numbers)))
    assert stream.text == seen_by_simulator(instance, client, name)["text_sent"]
    whole = create(instance, client, new_name(), client.body("sim-instant", TOKENS)).json()
    assert client.text(whole) == stream.text


def runs_in_the_background(instance: Instance, client: DialectClient) -> None:
    if client.background is None:
        raise NotApplicable("no background")
    name = new_name()
    body = client.body("sim", TOKENS, **client.background_members)
    answer = ask(instance, ("POST", client.background), json=body, headers=client.named(name))
    assert answer.status_code == 200, answer.text
    assert state(instance, client, name) == "running", "it was answered at once"
    assert settled(instance, client, name) == "completed"
    method, path = client.attach(name, -1)
    text = client.text_of(frames_of(ask(instance, (method, path)).content))
    assert text == seen_by_simulator(instance, client, name)["text_sent"]


def refuses_a_name_twice(instance: Instance, client: DialectClient) -> None:
    name = new_name()
    body = client.body("sim-instant", 10)
    assert create(instance, client, name, body).status_code == 200
    _refuses_the_name(client, create(instance, client, name, client.body("sim-instant", 20)))


def attaches_a_start_that_is_made_again(instance: Instance, client: DialectClient) -> None:
    """The same start under the same name is the same completion; where its page stands, it is refused."""
    name = new_name()
    body = client.body("sim-instant", 10)
    first, again = (create(instance, client, name, body) for _ in range(2))
    assert first.status_code == 200, first.text
    if instance.is_strict:
        _refuses_the_name(client, again)
        return
    assert again.status_code == 200, again.text
    assert client.text(again.json()) == client.text(first.json())


def _refuses_the_name(client: DialectClient, answer: httpx.Response) -> None:
    assert answer.status_code == (400 if client.name == "messages" else 409), answer.text
    _is_error(client, answer)


# What the primary pages refuse, and real clients send.


def refuses_what_its_page_refuses(instance: Instance, client: DialectClient) -> None:
    """Under strict contracts alone: else it is answered."""
    bodies = _REFUSED_BY_PAGES.get(client.name)
    if bodies is None:
        raise NotApplicable("its page refuses no more")
    for what, members in bodies.items():
        body = {**client.body("sim-instant", 10), **members}
        answer = ask(instance, ("POST", client.path), json=body)
        if instance.is_strict:
            refused = 422 if client.name == "messages" else 400
            assert answer.status_code == refused, f"{what}: {answer.text}"
            _is_error(client, answer)
        else:
            assert answer.status_code == 200, f"{what}: {answer.text}"


_USER = {"role": "user", "content": "x"}
_SYSTEM = {"role": "system", "content": "Be brief."}

_REFUSED_BY_PAGES: dict[str, dict[str, dict[str, Any]]] = {
    "chat": {
        "over 200 messages": {"messages": [_USER] * 201},
        "a choice without tools": {"tool_choice": "required"},
        "an effort of later models": {"reasoning_effort": "xhigh"},
        "an empty stop": {"stop": ""},
    },
    "messages": {
        "a system message at the end": {"messages": [_USER, _SYSTEM]},
        "an empty message": {"messages": [_USER, {"role": "assistant", "content": []}]},
        "a temperature above one": {"temperature": 1.5},
    },
    "responses": {"a choice without tools": {"tool_choice": "required"}},
}


def shows_reasoning_where_its_page_lets_it(instance: Instance, client: DialectClient) -> None:
    """Chat's page shows none of it, and counts it beside the completion."""
    if client.name != "chat":
        raise NotApplicable("the same in both modes")
    answer = create(instance, client, new_name(), client.body("sim-reasoning", 12)).json()
    message, usage = answer["choices"][0]["message"], answer["usage"]
    assert bool(message.get("reasoning_content")) is not instance.is_strict
    assert usage["reasoning_tokens"] > 0
    reasoning = 0 if instance.is_strict else usage["reasoning_tokens"]
    assert usage["completion_tokens"] - reasoning + usage["reasoning_tokens"] == 12
    assert ("completion_tokens_details" in usage) is not instance.is_strict


# Cancelling.


def cancels_in_flight(instance: Instance, client: DialectClient) -> None:
    name = new_name()
    with Streaming(instance, client, name, client.body("sim-long", 2_000)) as stream:
        stream.wait_for_text()
        answer = cancel(instance, client, name)
        assert answer.status_code == 200, answer.text
        stream.join()
    assert state(instance, client, name) == "cancelled"
    seen = seen_by_simulator(instance, client, name)
    assert seen["closed_by"] == "client"
    record = admin_record(instance, client, name)
    assert record["source"] == "client_request"
    assert seen["text_sent"].startswith(stream.text)
    tokens = record["tokens_output"]
    assert record["credits"] == (75 * seen["prompt_tokens"] + 450 * tokens) / 1e6
    assert cancel(instance, client, name).status_code == client.again["cancelled"]


def cancels_a_caller_that_waits(instance: Instance, client: DialectClient) -> None:
    """A completion that was not asked for as a stream can be stopped as well."""
    name = new_name()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(create, instance, client, name, client.body("sim-long", 2_000))
        wait_until(lambda: ask(instance, client.read(name)).status_code == 200, "it can be found")
        assert cancel(instance, client, name).status_code == 200
        answer = waiting.result(60)
    assert answer.status_code == 200, answer.text
    assert state(instance, client, name) == "cancelled"


def joins_while_settling(instance: Instance, client: DialectClient) -> None:
    name = new_name()
    with Streaming(instance, client, name, client.body("sim-long", 2_000)) as stream:
        stream.wait_for_text()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: cancel(instance, client, name), range(8)))
    joined = {_without_ids(a.content) for a in answers if a.status_code == 200}
    assert len(joined) == 1, joined
    assert {a.status_code for a in answers} <= {200, client.again["cancelled"]}


def answers_for_a_completed_one(instance: Instance, client: DialectClient) -> None:
    name = new_name()
    create(instance, client, name, client.body("sim-instant", 10))
    before = admin_record(instance, client, name)
    answer = cancel(instance, client, name)
    assert answer.status_code == client.again["completed"], answer.text
    if client.name == "messages":
        assert answer.headers["midstream-status"] == "completed"
    assert admin_record(instance, client, name) == before, "nothing has changed"


def answers_for_a_failed_one(instance: Instance, client: DialectClient) -> None:
    name = new_name()
    with Streaming(instance, client, name, client.body("sim-error", TOKENS)) as stream:
        stream.join()
    assert settled(instance, client, name) == "failed"
    assert admin_record(instance, client, name)["credits"] == 0
    answer = cancel(instance, client, name)
    assert answer.status_code == client.again["failed"], answer.text


def answers_for_an_unknown_one(instance: Instance, client: DialectClient) -> None:
    answer = cancel(instance, client, new_name())
    assert answer.status_code == 404, answer.text
    _is_error(client, answer)
    assert ask(instance, client.read(new_name())).status_code == 404


def hides_what_is_foreign(instance: Instance, client: DialectClient) -> None:
    """Another team's id is answered in the very bytes of an unknown one."""
    organization = "org_demo"
    key = instance.new_team(f"stranger-{new_name()}", organization)
    mine, unknown = new_name(), new_name()
    create(instance, client, mine, client.body("sim-instant", 10))
    foreign = cancel(instance, client, mine, key=key)
    absent = cancel(instance, client, unknown, key=key)
    assert foreign.status_code == absent.status_code == 404
    assert _without_ids(foreign.content, mine) == _without_ids(absent.content, unknown)


def forgets_what_is_deleted(instance: Instance, client: DialectClient) -> None:
    if client.delete is None:
        raise NotApplicable("no DELETE of content")
    name = new_name()
    with Streaming(instance, client, name, client.body("sim-long", 2_000)) as stream:
        stream.wait_for_text()
        answer = ask(instance, client.delete(name))
        assert answer.status_code in (200, 204), answer.text
        stream.join()
    assert ask(instance, client.read(name)).status_code == 404
    assert cancel(instance, client, name).status_code == 404
    again = create(instance, client, name, client.body("sim-instant", 10))
    assert again.status_code in (400, 409), "the name is not given out again"


def remembers_a_cancel_before_the_start(instance: Instance, client: DialectClient) -> None:
    name = new_name()
    answer = cancel(instance, client, name, headers=REMEMBER)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "remembered"
    with Streaming(instance, client, name, client.body("sim-long", 2_000)) as stream:
        stream.join()
    assert stream.text == ""
    assert state(instance, client, name) == "cancelled"
    assert admin_record(instance, client, name)["credits"] == 0


# Leaving and coming back.


def follows_the_last_reader(instance: Instance, client: DialectClient) -> None:
    name = new_name()
    with Streaming(instance, client, name, client.body("sim-long", 2_000)) as stream:
        stream.wait_for_text()
    assert settled(instance, client, name) == "cancelled"
    assert admin_record(instance, client, name)["source"] == "client_disconnect"


def misses_a_caller_that_waited(instance: Instance, client: DialectClient) -> None:
    name = new_name()
    headers = client.named(name)
    with instance.client(timeout=httpx.Timeout(60, read=2.0)) as http:
        try:
            http.post(client.path, json=client.body("sim-long", 2_000), headers=headers)
        except httpx.ReadTimeout:
            pass
        else:
            raise AssertionError("2,000 tokens take 40 s")
    assert settled(instance, client, name) == "cancelled"
    assert admin_record(instance, client, name)["source"] == "client_disconnect"


def resumes(instance: Instance, client: DialectClient) -> None:
    """Behind each frame of a settled stream stands exactly the rest."""
    name = new_name()
    with Streaming(instance, client, name, client.body("sim-instant", 10)) as stream:
        stream.join()
    numbered = [frame for frame in stream.frames if frame[0] is not None]
    for cursor in range(-1, len(numbered) - 1):
        answer = ask(instance, client.attach(name, cursor))
        assert answer.status_code == 200, answer.text
        rest = [frame for frame in frames_of(answer.content) if frame[0] is not None]
        assert rest == numbered[cursor + 1 :], f"behind frame {cursor}"
    beyond = ask(instance, client.attach(name, len(numbered) + 5))
    assert 400 <= beyond.status_code < 500, beyond.text


# Errors.


def refuses_bad_input(instance: Instance, client: DialectClient) -> None:
    """Each is one typed error in the dialect's own envelope, and nothing is held."""
    body = client.body("sim-instant", 10)
    bad: dict[str, Any] = {
        "no JSON": {"content": b"{"},
        "not UTF-8": {"content": b'{"model": "\xff"}'},
        "NaN": {"content": b'{"model": NaN}'},
        "too deep": {"content": b'{"a":' * 20_000 + b"1" + b"}" * 20_000},
        "no object": {"content": b"[]"},
        "empty": {"content": b""},
        "unknown model": {"json": {**body, "model": "no-such-model"}},
        "a limit that is no number": {"json": {**body, client.limit: {}}},
        "a limit that is text": {"json": {**body, client.limit: "ten"}},
        "too large": {"content": b" " * (10 * 1024 * 1024 + 1)},
    }
    for what, options in bad.items():
        answer = ask(instance, ("POST", client.path), **options)
        assert 400 <= answer.status_code < 500, f"{what}: {answer.status_code} {answer.text}"
        _is_error(client, answer)
    with instance.client() as http:
        assert http.get("/v1/balance").json()["held_credits"] == 0


def refuses_strangers(instance: Instance, client: DialectClient) -> None:
    for key in ("nobody", "al_live_" + "0" * 64):
        answer = ask(instance, ("POST", client.path), key=key, json=client.body("sim-instant", 10))
        assert answer.status_code == 401, answer.text
        _is_error(client, answer)


def tells_of_a_failed_provider(instance: Instance, client: DialectClient) -> None:
    name = new_name()
    answer = create(instance, client, name, client.body("sim-error", TOKENS))
    assert answer.status_code == 502, answer.text
    _is_error(client, answer)
    assert admin_record(instance, client, name)["credits"] == 0


def _is_error(client: DialectClient, answer: httpx.Response) -> None:
    value = answer.json()
    error = value["error"]
    assert isinstance(error["message"], str) and error["message"], value
    assert "Traceback" not in answer.text
    if client.name == "messages":
        assert value["type"] == "error"
        assert "detail" in value
    else:
        assert error["type"], value
        assert "code" in error, value


def _without_ids(body: bytes, *names: str) -> bytes:
    for name in names:
        body = body.replace(name.encode(), b"ID")
    return re.sub(rb"req_[0-9A-Za-z]+", b"req_", body)


Case = Callable[[Instance, DialectClient], None]

CASES: dict[str, Case] = {
    "create": creates,
    "stream": streams,
    "background": runs_in_the_background,
    "name twice": refuses_a_name_twice,
    "start again": attaches_a_start_that_is_made_again,
    "page's refusals": refuses_what_its_page_refuses,
    "reasoning": shows_reasoning_where_its_page_lets_it,
    "cancel: in flight": cancels_in_flight,
    "cancel: caller waits": cancels_a_caller_that_waits,
    "cancel: settling": joins_while_settling,
    "cancel: completed": answers_for_a_completed_one,
    "cancel: failed": answers_for_a_failed_one,
    "cancel: unknown": answers_for_an_unknown_one,
    "cancel: foreign": hides_what_is_foreign,
    "cancel: deleted": forgets_what_is_deleted,
    "cancel: before start": remembers_a_cancel_before_the_start,
    "last reader leaves": follows_the_last_reader,
    "waiting caller leaves": misses_a_caller_that_waited,
    "resume": resumes,
    "bad input": refuses_bad_input,
    "bad key": refuses_strangers,
    "failed provider": tells_of_a_failed_provider,
}
