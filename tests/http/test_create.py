"""Creating completions, whole and streamed: the application as bare ASGI, the provider played by hand."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import AlreadyStarted, Failure, FailureCode, UpstreamError
from actors.core.events import ReasoningDelta, TextDelta
from actors.core.request import Dialect, StartCommand
from actors.core.upstream import UpstreamBatch
from actors.ports.ledger import CompletionKey, LimitsChange
from actors.ports.runtime import CompletionFilter, StartedCompletion
from actors.testing import ScriptedUpstream
from tests.http.rig import Asgi, Rig, chat_body, finish, frames, rig, say, text, until

CREATE = "/v1/chat/completions"


async def answered(run: Rig, **members: Any) -> Asgi:
    """Create a completion of two tokens and let it end."""
    count = len(run.provider.upstreams) + 1
    call = run.create(**members)
    upstream = await run.upstream(count=count)
    upstream.open()
    say(upstream, TextDelta(0, "Lake ", 1), TextDelta(0, "Geneva", 1))
    finish(upstream, 2)
    return await call.done()


def test_a_whole_answer(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = await answered(run)
            assert call.status == 200
            assert call.headers["content-type"] == "application/json"
            assert re.fullmatch(r"req_[0-9A-HJKMNP-TV-Z]{26}", call.headers["aurous-request-id"])
            assert call.headers["aurous-version"] == "2026-05-15"
            assert "aurous-idempotency-status" not in call.headers
            assert "x-ratelimit-limit" not in call.headers
            value = call.json
            assert re.fullmatch(r"cmp_[0-9A-HJKMNP-TV-Z]{26}", value["id"])
            assert call.headers["midstream-completion-id"] == value["id"]
            assert value["choices"][0]["message"]["content"] == "Lake Geneva"
            assert value["usage"]["credits_charged"] == (75 * 8 + 450 * 2) / 1e6
            assert await run.held() == 0
            got = await run.ask("GET", f"{CREATE}/{value['id']}")
            assert got.json == value

    asyncio.run(body())


def test_a_start_that_was_lost_with_its_first_actor_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hold is the dead actor's, and goes with it; the client has named neither key nor id."""

    async def body() -> None:
        async with rig(tmp_path) as run:
            start, ids = run.runtime.start, list[str]()

            async def start_after_a_death(command: StartCommand) -> StartedCompletion:
                ids.append(command.completion_id)
                if len(ids) == 1:
                    raise AlreadyStarted("Another actor had this start before.")
                return await start(command)

            monkeypatch.setattr(run.runtime, "start", start_after_a_death)
            call = await answered(run)
            assert call.status == 200
            assert len(set(ids)) == 2
            assert call.headers["midstream-completion-id"] == call.json["id"] == ids[1]

    asyncio.run(body())


def test_an_exempt_team_is_told_that_it_was_charged_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            await run.ledger.create_team(
                "acme", "org", credits_microcredits=0, billing_mode="exempt"
            )
            before = await run.ledger.balance("acme")
            value = (await answered(run)).json
            assert value["usage"]["completion_tokens"] == 2
            assert value["usage"]["credits_charged"] == 0
            assert value["midstream"]["hold"]["charged_credits"] == 0
            assert (await run.ask("GET", f"{CREATE}/{value['id']}")).json == value
            rows, _ = await run.runtime.list_completions(CompletionFilter(), limit=1, cursor=None)
            assert rows[0].charge_microcredits == 0
            assert await run.ledger.balance("acme") == before
            assert (await run.ledger.audit())["ok"]

    asyncio.run(body())


def test_a_streamed_answer(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = await answered(run, stream=True)
            assert call.status == 200
            assert call.headers["content-type"].startswith("text/event-stream")
            assert call.headers["cache-control"] == "no-cache, no-transform"
            assert call.headers["aurous-idempotency-status"] == "not_set"
            first, *_, last = frames(call)
            assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
            assert last["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
            assert last["usage"]["completion_tokens"] == 2
            assert text(call) == "Lake Geneva"
            assert call.body.endswith(b"data: [DONE]\n\n")

    asyncio.run(body())


def test_tokens_are_sent_as_they_come_and_a_batch_is_one_write(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = run.create(stream=True)
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake ", 1))
            await until(lambda: b"Lake " in call.body, "the first token")
            say(upstream, TextDelta(0, "Gen", 1), TextDelta(0, "e", 1), TextDelta(0, "va", 1))
            await until(lambda: b'"va"' in call.body, "the last token")
            writes = [m["body"] for m in call.sent if m["type"] == "http.response.body"]
            assert writes[-1].count(b"data: ") == 3
            finish(upstream, 4)
            await call.done()

    asyncio.run(body())


def test_a_failure_before_the_first_token_is_an_http_error(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            for index, stream in enumerate((False, True)):
                call = run.create(stream=stream)
                upstream = await run.upstream(count=index + 1)
                failure = Failure(FailureCode.UPSTREAM_RATE_LIMITED, "Busy.", 429, 4.0)
                upstream.refuse(UpstreamError(failure))
                await call.done()
                assert call.status == 429
                assert call.headers["retry-after"] == "4"
                assert call.headers["content-type"] == "application/json"
                assert call.json["error"]["code"] == "too_many_requests"
                assert call.json["error"]["request_id"] == call.headers["aurous-request-id"]
                assert call.headers["midstream-completion-id"].startswith("cmp_")
                await run.settled()
                assert await run.held() == 0

    asyncio.run(body())


def test_a_failure_in_mid_stream_is_a_frame_and_no_done(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = run.create(stream=True)
            upstream = await run.upstream()
            upstream.open()
            failure = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "Dropped.")
            # Both in one segment: what was received first is still sent first.
            upstream.send(UpstreamBatch((TextDelta(0, "Lake", 1),), failure=failure))
            await call.done()
            assert call.status == 200
            assert text(call) == "Lake"
            error = frames(call)[-1]["error"]
            assert error["code"] == "chat_provider_unavailable"
            assert error["request_id"] == call.headers["aurous-request-id"]
            assert b"[DONE]" not in call.body
            assert call.is_whole

    asyncio.run(body())


def test_the_headers_do_not_wait_for_a_quiet_provider(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, headers_after_s=0.05) as run:
            call = run.create(stream=True)
            upstream = await run.upstream()
            await until(lambda: call.status, "the headers")
            (role,) = frames(call)  # There is nothing else to say yet.
            assert role["choices"][0]["delta"]["role"] == "assistant"
            upstream.refuse(UpstreamError(Failure(FailureCode.UPSTREAM_UNAVAILABLE, "Down.", 500)))
            await call.done()
            assert call.status == 200
            assert frames(call)[-1]["error"]["status"] == 500

    asyncio.run(body())


def test_keep_alives_go_out_while_no_frame_does(tmp_path: Path) -> None:
    async def body() -> None:
        # Under strict contracts, where reasoning is read all the time and makes no frame.
        quick = {"headers_after_s": 0.02, "keep_alive_s": 0.02}
        async with rig(tmp_path, strict_contracts=True, **quick) as run:
            call = run.create(stream=True)
            upstream = await run.upstream()
            upstream.open()
            await until(lambda: call.body.count(b": keep-alive\n\n") >= 2, "keep-alives")
            before = call.body.count(b": keep-alive\n\n")

            def thinks() -> bool:
                say(upstream, ReasoningDelta(0, "Hm.", 0))
                return call.body.count(b": keep-alive\n\n") >= before + 2

            await until(thinks, "keep-alives while it reasons")
            assert b"Hm." not in call.body
            finish(upstream, 0)
            await call.done()

    asyncio.run(body())


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"aurous-version": "2026-05-15"}, None, None),
        ({"aurous-version": "2025-01-01"}, 400, "unknown_version"),
        ({"aurous-version": "latest"}, 400, "unknown_version"),
        ({"midstream-tag": "a=b"}, 400, "invalid_format"),
        ({"midstream-completion-id": "a b"}, 400, "invalid_format"),
        ({"midstream-on-disconnect": "never"}, 400, "invalid_format"),
    ],
)
def test_headers_are_checked(
    tmp_path: Path, headers: dict[str, str], status: int | None, code: str | None
) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = run.create(headers=headers)
            if status is None:
                finish(await opened(run), 0)
                assert (await call.done()).status == 200
                return
            await call.done()
            assert (call.status, call.json["error"]["code"]) == (status, code)
            assert call.headers["aurous-version"] == "2026-05-15"
            assert not run.provider.upstreams

    async def opened(run: Rig) -> ScriptedUpstream:
        upstream = await run.upstream()
        upstream.open()
        return upstream

    asyncio.run(body())


BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "invalid_format"),
    (b"{", 400, "invalid_format"),
    (b"\xff", 400, "invalid_format"),
    (b'{"model": NaN}', 400, "invalid_format"),
    (b"[" * 20_000, 400, "invalid_format"),
    (b"{}", 400, "missing_field"),
    (json.dumps(chat_body(n=2)).encode(), 400, "value_out_of_range"),
    (json.dumps(chat_body(model="nope")).encode(), 404, "resource_not_found"),
    (json.dumps(chat_body(seed=1)).encode() + b" " * 400_000, 413, "request_too_large"),
]


@pytest.mark.parametrize(("raw", "status", "code"), BODIES, ids=lambda value: str(value)[:24])
def test_a_bad_body_is_a_typed_error_and_nothing_is_held(
    tmp_path: Path, raw: bytes, status: int, code: str
) -> None:
    async def body() -> None:
        async with rig(tmp_path, body_bytes_max=300_000) as run:
            call = await run.ask("POST", CREATE, raw)
            assert (call.status, call.json["error"]["code"]) == (status, code)
            assert call.headers["midstream-completion-id"].startswith("cmp_")
            assert await run.held() == 0
            assert not run.provider.upstreams

    asyncio.run(body())


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_limit_above_the_models_cap_is_lowered_and_said(tmp_path: Path, is_strict: bool) -> None:
    async def body() -> None:
        async with rig(tmp_path, strict_contracts=is_strict) as run:
            if is_strict:
                call = await run.ask("POST", CREATE, chat_body(max_tokens=10**6))
                assert call.json["error"]["code"] == "max_tokens_exceeds_hard_cap"
                assert await run.held() == 0
            else:
                call = await answered(run, max_tokens=10**6)
                assert call.headers["midstream-adjusted"] == "max_tokens=65536"

    asyncio.run(body())


def test_a_body_that_is_declared_too_large_is_not_read(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            headers = {
                "authorization": f"Bearer {run.key}",
                "content-length": str(10 * 1024 * 1024 + 1),
            }
            call = Asgi(run.app, run.call("POST", CREATE, key=None, headers=headers).scope)
            await call.start().done()
            assert (call.status, call.json["error"]["code"]) == (413, "request_too_large")

    asyncio.run(body())


def test_a_body_is_not_read_beyond_its_limit(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, body_bytes_max=1_000) as run:
            call = run.call("POST", CREATE)
            call = Asgi(run.app, call.scope)
            for _ in range(5):
                call.feed(b" " * 400, more_body=True)
            await call.start().done()
            assert call.status == 413

    asyncio.run(body())


def test_a_body_in_pieces_is_put_together(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            raw = json.dumps(chat_body()).encode()
            call = Asgi(run.app, run.call("POST", CREATE).scope)
            for index in range(len(raw)):
                call.feed(raw[index : index + 1], more_body=True)
            call.feed(b"").start()
            upstream = await run.upstream()
            upstream.open()
            finish(upstream, 0)
            assert (await call.done()).status == 200

    asyncio.run(body())


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, body_timeout_s=0.05) as run:
            call = Asgi(run.app, run.call("POST", CREATE).scope).feed(b"{", more_body=True)
            await call.start().done()
            assert (call.status, call.json["error"]["code"]) == (408, "request_timeout")

    asyncio.run(body())


def test_a_client_that_leaves_before_its_body_is_whole_gets_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = Asgi(run.app, run.call("POST", CREATE).scope).feed(b"{", more_body=True)
            call.hang_up()
            await call.start().done()
            assert call.sent == []

    asyncio.run(body())


def test_a_large_body_is_parsed_and_counted_too(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            content = [{"type": "text", "text": "lake "}] * 12_000
            call = run.create(messages=[{"role": "user", "content": content}])
            upstream = await run.upstream()
            assert upstream.command.prompt_tokens_estimated > 12_000
            upstream.open()
            finish(upstream, 0)
            assert (await call.done()).status == 200

    asyncio.run(body())


def test_a_named_completion(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            headers = {"midstream-completion-id": "job-7"}
            call = await answered(run, headers=headers)
            assert call.json["id"] == "job-7"
            assert call.headers["midstream-completion-id"] == "job-7"
            assert call.json["midstream"]["completion_id"].startswith("cmp_")
            other = await run.create(headers=headers, temperature=1).done()
            assert (other.status, other.json["error"]["code"]) == (409, "completion_id_in_use")
            assert other.headers["midstream-completion-id"] == "job-7"
            assert (await run.ask("GET", f"{CREATE}/job-7")).status == 200

    asyncio.run(body())


def test_no_credit(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, credits=100) as run:
            call = await run.create(stream=True).done()
            assert (call.status, call.json["error"]["code"]) == (402, "balance_too_low")
            assert not run.provider.upstreams

    asyncio.run(body())


def test_limits_of_a_team_are_shown_and_kept(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, limits=LimitsChange(requests_per_minute=2)) as run:
            first, second = await answered(run), await answered(run, stream=True)
            assert first.headers["x-ratelimit-limit"] == "2"
            assert first.headers["x-ratelimit-remaining"] == "1"
            assert second.headers["x-ratelimit-remaining"] == "0"
            assert int(second.headers["x-ratelimit-reset"]) > 1_700_000_000
            refused = await run.create().done()
            assert (refused.status, refused.json["error"]["code"]) == (429, "too_many_requests")
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["x-ratelimit-limit"] == "2"
            assert refused.headers["x-ratelimit-remaining"] == "0"
            # The bucket is as full as before, but for the time that passed: it lacks nearly all.
            resets = [int(c.headers["x-ratelimit-reset"]) for c in (second, refused)]
            assert abs(resets[0] - resets[1]) <= 1

    asyncio.run(body())


def test_too_many_at_once(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, limits=LimitsChange(completions_concurrent=1)) as run:
            call = run.create(stream=True)
            upstream = await run.upstream()
            refused = await run.create().done()
            assert refused.status == 429
            assert refused.json["error"]["code"] == "concurrency_limit_exceeded"
            upstream.open()
            finish(upstream, 0)
            await call.done()

    asyncio.run(body())


def test_strictly_a_stream_is_not_idempotent_and_says_so_first(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, strict_contracts=True) as run:
            call = await answered(run, stream=True, headers={"idempotency-key": "k-1"})
            assert call.headers["aurous-idempotency-status"] == "ignored_streaming"
            warning, first, *_ = frames(call)
            assert warning["object"] == "chat.completion.warning"
            assert warning["warning"]["code"] == "idempotency_ignored_streaming"
            assert first["choices"][0]["delta"]["role"] == "assistant"
            # The warning takes no number, so a cursor means the same with and without it.
            assert call.body.split(b"\n\n")[1].startswith(b"id: 0\n")

    asyncio.run(body())


def test_ignored_members_are_named(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            message = {"role": "user", "content": "x", "wéight\r\n": 1, "audio": {}}
            # A provider of another wire format: one of this would see them.
            call = await answered(run, model="sim-instant@messages", messages=[message])
            assert call.headers["midstream-ignored"] == (
                "messages[].w\\xe9ight\\r\\n, messages[].audio"
            )

    asyncio.run(body())


def test_the_runtime_is_given_what_was_asked_for(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            await answered(run, max_completion_tokens=8, user="u-1", seed=4)
            command = run.provider.upstreams[0].command
            assert command.dialect is Dialect.CHAT
            assert command.wire_id == command.completion_id
            assert command.max_output_tokens == 8
            assert command.request.body is not None and command.request.body["user"] == "u-1"
            assert command.request.sampling.seed == 4
            key = CompletionKey("acme", Dialect.CHAT, command.wire_id)
            assert (await run.runtime.get(key)).header.team == "acme"

    asyncio.run(body())
