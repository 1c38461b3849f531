"""A start that is made again, over HTTP: by its key and by its id, streamed and not, in every dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import Failure, FailureCode, UpstreamError
from actors.core.events import TextDelta
from actors.testing import ScriptedUpstream
from tests.http.rig import Asgi, Rig, finish, frames, rig, say, text, until

KEY = {"idempotency-key": "k-1"}
NAMED = {"midstream-completion-id": "lake-1"}
BOTH = [pytest.param(KEY, id="by key"), pytest.param(NAMED, id="by id")]

MESSAGE = {"role": "user", "content": "Name a lake."}
CREATES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"max_tokens": 8, "messages": [MESSAGE]}),
    "messages": ("/v1/messages", {"max_tokens": 8, "messages": [MESSAGE]}),
    "responses": ("/v1/responses", {"max_output_tokens": 8, "input": "Name a lake."}),
    "model_response": (
        "/v1/model/response",
        {
            "organization_id": "org",
            "inputs": [{"role": "user", "texts": [{"text": "Name a lake."}]}],
        },
    ),
}
DIALECTS = pytest.mark.parametrize("dialect", CREATES)
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def create(
    run: Rig, dialect: str, headers: dict[str, str], *, stream: bool = False, **members: Any
) -> Asgi:
    path, body = CREATES[dialect]
    body = {"model": "sim-instant", **body, **members} | ({"stream": True} if stream else {})
    return run.call("POST", path, body, headers=headers).start()


def speak(upstream: ScriptedUpstream, *words: str) -> None:
    say(upstream, *(TextDelta(0, word, 1) for word in words))


async def credits_of(run: Rig) -> int:
    return (await run.ledger.balance("acme")).credits_microcredits


def story(folder: Path, tell: Callable[[Rig], Any], **changes: Any) -> None:
    async def body() -> None:
        async with rig(folder, **changes) as run:
            await tell(run)
            assert (await run.runtime.ledger.audit())["ok"]

    asyncio.run(body())


@DIALECTS
@STREAMED
@pytest.mark.parametrize("headers", BOTH)
def test_two_at_once_are_one_completion_and_one_charge(
    tmp_path: Path, dialect: str, stream: bool, headers: dict[str, str]
) -> None:
    async def tell(run: Rig) -> None:
        calls = [create(run, dialect, headers, stream=stream) for _ in range(3)]
        before = await credits_of(run)
        upstream = await run.upstream()
        upstream.open()
        speak(upstream, "Lake", " Como")
        finish(upstream, 2)
        first, *others = [await call.done() for call in calls]
        assert {call.status for call in (first, *others)} == {200}
        names = {call.headers["midstream-completion-id"] for call in (first, *others)}
        assert len(names) == 1
        assert [call.body for call in others] == [first.body] * 2
        assert len(run.provider.upstreams) == 1
        assert before - await credits_of(run) == 75 * 8 + 450 * 2

    story(tmp_path, tell)


@DIALECTS
@STREAMED
@pytest.mark.parametrize("headers", BOTH)
def test_one_after_the_end_has_the_same_answer_and_costs_nothing(
    tmp_path: Path, dialect: str, stream: bool, headers: dict[str, str]
) -> None:
    async def tell(run: Rig) -> None:
        call = create(run, dialect, headers, stream=stream)
        upstream = await run.upstream()
        upstream.open()
        speak(upstream, "Lake", " Como")
        finish(upstream, 2)
        first = await call.done()
        await run.settled()
        paid = await credits_of(run)
        again = await create(run, dialect, headers, stream=stream).done()
        assert (again.status, again.body) == (200, first.body)
        assert await credits_of(run) == paid
        assert len(run.provider.upstreams) == 1

    story(tmp_path, tell)


def test_one_in_the_middle_reads_from_the_first_frame(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        first = create(run, "chat", KEY, stream=True)
        upstream = await run.upstream()
        upstream.open()
        speak(upstream, "Lake")
        await until(lambda: text(first) == "Lake", "the first word is read")
        again = create(run, "chat", KEY, stream=True)
        await until(lambda: again.sent and text(again) == "Lake", "it has the first word too")
        speak(upstream, " Como")
        finish(upstream, 2)
        one, other = await first.done(), await again.done()
        assert one.body == other.body
        assert other.headers["aurous-idempotent-replayed"] == "true"
        assert other.headers["aurous-idempotency-status"] == "honoured"
        assert frames(other)[0]["choices"][0]["delta"]["role"] == "assistant"

    story(tmp_path, tell)


REFUSED = {
    ("chat", "key"): (422, "idempotency_key_in_use"),
    ("chat", "id"): (409, "completion_id_in_use"),
    ("responses", "key"): (422, "idempotency_key_in_use"),
    ("responses", "id"): (409, "completion_id_in_use"),
    ("model_response", "key"): (422, "idempotency_key_in_use"),
    ("model_response", "id"): (409, "completion_id_in_use"),
    ("messages", "key"): (400, None),
    ("messages", "id"): (400, None),
}


@pytest.mark.parametrize(("dialect", "by"), REFUSED)
def test_another_body_is_refused(tmp_path: Path, dialect: str, by: str) -> None:
    async def tell(run: Rig) -> None:
        headers = KEY if by == "key" else NAMED
        call = create(run, dialect, headers)
        upstream = await run.upstream()
        other = await create(run, dialect, headers, temperature=0.5).done()
        status, code = REFUSED[dialect, by]
        assert (other.status, other.json["error"].get("code")) == (status, code)
        assert other.headers["x-should-retry"] == "false"
        assert "retry-after" not in other.headers
        upstream.open()
        finish(upstream, 0)
        await call.done()

    story(tmp_path, tell)


def test_the_same_members_in_another_order_are_the_same_body(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        path, body = CREATES["chat"]
        body = {"model": "sim-instant", **body}
        turned = dict(reversed(body.items()))
        call = run.call("POST", path, body, headers=NAMED).start()
        upstream = await run.upstream()
        upstream.open()
        finish(upstream, 0)
        first = await call.done()
        again = await run.call("POST", path, turned, headers=NAMED).start().done()
        assert again.body == first.body

    story(tmp_path, tell)


def test_after_a_delete_it_is_refused(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        headers = KEY | NAMED
        call = create(run, "responses", headers)
        upstream = await run.upstream()
        upstream.open()
        finish(upstream, 0)
        name = (await call.done()).json["id"]
        assert (await run.ask("DELETE", f"/v1/responses/{name}")).status == 200
        for again, status in ((KEY, 422), (NAMED, 409), (headers, 422)):
            assert (await create(run, "responses", again).done()).status == status
        assert len(run.provider.upstreams) == 1

    story(tmp_path, tell)


@pytest.mark.parametrize("stream", [False, True])
def test_by_key_one_that_failed_starts_anew_and_by_id_it_has_failed(
    tmp_path: Path, stream: bool
) -> None:
    async def tell(run: Rig) -> None:
        broken = UpstreamError(Failure(FailureCode.UPSTREAM_UNAVAILABLE, "It broke."))
        for count, (headers, asked) in enumerate(((KEY, 2), (NAMED, 3))):
            call = create(run, "chat", headers, stream=stream)
            (await run.upstream(count=count * 2 + 1)).refuse(broken)
            first = await call.done()
            assert (first.status, first.headers["x-should-retry"]) == (502, "false")
            await run.settled()
            again = create(run, "chat", headers, stream=stream)
            if headers is KEY:
                upstream = await run.upstream(count=2)
                upstream.open()
                finish(upstream, 0)
                assert (await again.done()).status == 200
            else:
                done = await again.done()
                assert (done.status, done.headers["x-should-retry"]) == (502, "false")
            assert len(run.provider.upstreams) == asked

    story(tmp_path, tell)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_with_a_key_may_leave_and_come_back(tmp_path: Path, stream: bool) -> None:
    async def tell(run: Rig) -> None:
        first = create(run, "chat", KEY, stream=stream)
        upstream = await run.upstream()
        upstream.open()
        speak(upstream, "Lake")
        await until(
            lambda: run.runtime.carrier.running[0].completion.meter.tokens_output, "it speaks"
        )
        first.hang_up()
        await first.done()
        assert not upstream.is_closed, "it waits for who may come back"
        again = create(run, "chat", KEY, stream=stream)
        speak(upstream, " Como")
        finish(upstream, 2)
        done = await again.done()
        said = text(done) if stream else done.json["choices"][0]["message"]["content"]
        assert said == "Lake Como"
        assert len(run.provider.upstreams) == 1

    story(tmp_path, tell)


def test_who_does_not_come_back_is_gone_after_the_grace(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        call = create(run, "chat", KEY, stream=True)
        upstream = await run.upstream()
        upstream.open()
        speak(upstream, "Lake")
        await until(lambda: call.sent and text(call) == "Lake", "it speaks")
        call.hang_up()
        await call.done()
        await until(lambda: upstream.is_closed, "the grace is over")
        await run.settled()
        again = create(run, "chat", KEY, stream=True)
        second = await run.upstream(count=2)
        second.open()
        finish(second, 0)
        assert (await again.done()).status == 200, "by its key it starts anew"

    story(tmp_path, tell, reader_grace_s=0.05)


def test_without_a_key_who_leaves_is_gone_at_once(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        call = create(run, "chat", NAMED, stream=True)
        upstream = await run.upstream()
        upstream.open()
        speak(upstream, "Lake")
        await until(lambda: call.sent and text(call) == "Lake", "it speaks")
        call.hang_up()
        await call.done()
        await until(lambda: upstream.is_closed, "the upstream is closed")

    story(tmp_path, tell)


@pytest.mark.parametrize("headers", BOTH)
def test_in_the_background_it_is_acknowledged_again(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async def tell(run: Rig) -> None:
        first = await create(run, "responses", headers, background=True).done()
        again = await create(run, "responses", headers, background=True).done()
        assert (first.status, again.status) == (200, 200)
        assert first.json["id"] == again.json["id"]
        upstream = await run.upstream()
        upstream.open()
        finish(upstream, 0)
        await run.settled()
        assert len(run.provider.upstreams) == 1

    story(tmp_path, tell)


def test_an_asynchronous_message_may_be_named_in_its_query(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        path, body = "/v1/messages/async?message_id=job-7", CREATES["messages"][1]
        for members, status in ((body, 200), (body, 200), (body | {"max_tokens": 9}, 400)):
            asked = {"model": "sim-instant", **members}
            assert (await run.ask("POST", path, asked)).status == status
        upstream = await run.upstream()
        upstream.open()
        finish(upstream, 0)
        await run.settled()
        assert len(run.provider.upstreams) == 1

    story(tmp_path, tell)


@pytest.mark.parametrize("key", ["", "x" * 257])
def test_a_key_out_of_bounds_is_refused(tmp_path: Path, key: str) -> None:
    async def tell(run: Rig) -> None:
        refused = await create(run, "chat", {"idempotency-key": key}, stream=True).done()
        assert (refused.status, refused.json["error"]["param"]) == (400, "Idempotency-Key")

    story(tmp_path, tell)


def test_the_teams_do_not_share_keys(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        await run.runtime.ledger.create_team("other", "org2", credits_microcredits=10**9)
        key = (await run.runtime.ledger.create_key("other", "")).secret
        calls = [create(run, "chat", KEY)]
        await run.upstream(count=1)
        path, body = CREATES["chat"]
        body = {"model": "sim-instant", **body}
        calls.append(run.call("POST", path, body, key=key, headers=KEY).start())
        await run.upstream(count=2)
        for upstream in run.provider.upstreams:
            upstream.open()
            finish(upstream, 0)
        names = {(await call.done()).json["id"] for call in calls}
        assert len(names) == 2

    story(tmp_path, tell)


# Under strict contracts.


def test_strictly_a_running_key_is_in_use(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        call = create(run, "chat", KEY)
        upstream = await run.upstream()
        second = await create(run, "chat", KEY).done()
        assert (second.status, second.json["error"]["code"]) == (409, "idempotency_key_in_use")
        upstream.open()
        finish(upstream, 0)
        first = await call.done()
        again = await create(run, "chat", KEY).done()
        assert again.headers["aurous-idempotent-replayed"] == "true"
        assert again.body == first.body
        other = await create(run, "chat", KEY, temperature=1).done()
        assert (other.status, other.json["error"]["code"]) == (409, "idempotency_key_in_use")

    story(tmp_path, tell, strict_contracts=True)


@DIALECTS
def test_strictly_an_id_is_given_once(tmp_path: Path, dialect: str) -> None:
    async def tell(run: Rig) -> None:
        call = create(run, dialect, NAMED)
        upstream = await run.upstream()
        second = await create(run, dialect, NAMED).done()
        assert second.status == (400 if dialect == "messages" else 409)
        upstream.open()
        finish(upstream, 0)
        assert (await call.done()).status == 200

    story(tmp_path, tell, strict_contracts=True)
