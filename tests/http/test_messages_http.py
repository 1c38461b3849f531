"""The messages routes over the in-memory runtime: both APIs, in each state a stream can be in."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import NotCancellable
from actors.core.events import CancelSource, TextDelta
from actors.ports.ledger import CompletionKey, LimitsChange
from actors.ports.runtime import CancelAnswer
from actors.testing import ScriptedUpstream
from tests.http.rig import Asgi, Rig, finish, rig, say, until

MESSAGES = "/v1/messages"
ASYNC = "/v1/messages/async"


def body(**members: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Name a lake."}]
    return {"model": "sim-instant", "max_tokens": 8, "messages": messages, **members}


def events(call: Asgi) -> list[dict[str, Any]]:
    return [json.loads(data) for data in re.findall(rb"^data: (.*)$", call.body, re.M)]


def kinds(call: Asgi) -> list[str]:
    return [event["type"] for event in events(call) if event["type"] != "ping"]


def text(call: Asgi) -> str:
    deltas = [event["delta"] for event in events(call) if event["type"] == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas)


def numbered(call: Asgi) -> dict[int, bytes]:
    found = re.findall(rb"id: (\d+)\n(event: .*\ndata: .*)\n\n", call.body)
    return {int(number): frame for number, frame in found}


async def initiate(run: Rig, message_id: str = "job-7", **members: Any) -> ScriptedUpstream:
    """Start a background completion that has said one token."""
    count = len(run.provider.upstreams) + 1
    answer = await run.ask("POST", f"{ASYNC}?message_id={message_id}", body(**members))
    assert answer.json == {
        "message_id": message_id,
        "status": "pending",
        "message": "Request initiated successfully",
    }
    assert answer.status == 200
    assert answer.headers["midstream-completion-id"] == message_id
    upstream = await run.upstream(count=count)
    upstream.open()
    say(upstream, TextDelta(0, "Lake", 1))
    await until(lambda: _tokens(run) >= 1, "the first token is logged")
    return upstream


def _tokens(run: Rig) -> int:
    return sum(driver.completion.meter.tokens_output for driver in run.runtime.carrier.running)


async def status(run: Rig, message_id: str = "job-7") -> dict[str, Any]:
    answer = await run.ask("GET", f"{ASYNC}/{message_id}/status")
    assert answer.status == 200
    value: dict[str, Any] = answer.json
    return value


async def other_team(run: Rig) -> str:
    await run.ledger.create_team("other", "org", credits_microcredits=0)
    return (await run.ledger.create_key("other", "")).secret


# The synchronous API.


@pytest.mark.parametrize("prefix", ["", "/api/gpt"])
def test_a_message_as_a_whole_and_as_a_stream(tmp_path: Path, prefix: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            whole = await run.ask("POST", prefix + MESSAGES, body())
            stream = await run.ask("POST", prefix + MESSAGES, body(stream=True))
            assert whole.status == stream.status == 200
            assert whole.headers["request-id"].startswith("req_")
            assert re.fullmatch(r"msg_[0-9a-f]{32}", whole.json["id"])
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert whole.json["content"] == [{"type": "text", "text": text(stream)}]
            assert kinds(stream) == [
                "message_start",
                "content_block_start",
                *["content_block_delta"] * 8,
                "content_block_stop",
                "message_delta",
                "message_stop",
            ]
            end = events(stream)[-2]
            assert end["delta"]["stop_reason"] == whole.json["stop_reason"] == "max_tokens"
            assert end["usage"] == whole.json["usage"]
            assert end["midstream"]["hold"] == whole.json["midstream"]["hold"]
            assert list(numbered(stream)) == list(range(len(kinds(stream))))

    asyncio.run(run_it())


def test_a_synchronous_completion_is_reached_by_the_asynchronous_routes(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            call = run.call("POST", f"{MESSAGES}?message_id=job-7", body(stream=True)).start()
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake", 1))
            await until(lambda: call.sent and text(call) == "Lake", "the first token")
            assert (await status(run))["status"] == "processing"
            second = run.call("GET", f"{ASYNC}/job-7/stream").start()
            await run.ask("POST", f"{ASYNC}/job-7/cancel", {})
            await call.done()
            await second.done()
            assert numbered(second) == numbered(call)
            assert kinds(call)[-3:] == ["content_block_stop", "message_delta", "message_stop"]
            assert events(call)[-2]["delta"]["stop_reason"] == "cancelled"
            assert events(call)[-2]["usage"]["output_tokens"] == 1
            assert upstream.is_closed

    asyncio.run(run_it())


def test_a_failure_before_the_headers_is_an_http_error(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, connect_timeout_s=0.05) as run:
            for members in ({}, {"stream": True}):
                answer = await run.ask("POST", MESSAGES, body(**members))
                assert (answer.status, answer.json["error"]["type"]) == (502, "api_error")
                assert answer.json["midstream"] == {"failure": "upstream_timeout"}
            assert await run.held() == 0

    asyncio.run(run_it())


# The asynchronous API: start, watch, look.


def test_a_stream_from_its_start_to_its_end(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            answer = await run.ask("POST", f"{ASYNC}?message_id=job-7", body(stream=True))
            assert answer.json["status"] == "pending"
            before = await status(run)
            assert (before["status"], before["completed_at"]) == ("pending", None)
            assert before["updated_at"] == before["created_at"]
            assert before["stream_type"] == "chat_completion"
            assert before["metadata"]["message_count"] == 1
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake", 1))
            await until(lambda: _tokens(run) >= 1, "the first token is logged")
            during = await status(run)
            assert during["status"] == "processing"
            assert during["updated_at"] > before["updated_at"]
            watchers = [run.call("GET", f"{ASYNC}/job-7/stream").start() for _ in range(3)]
            say(upstream, TextDelta(0, " Geneva", 1))
            finish(upstream, 2)
            for watcher in watchers:
                await watcher.done()
                assert text(watcher) == "Lake Geneva"
                assert watcher.body == watchers[0].body
            after = await status(run)
            assert (after["status"], after["error_message"]) == ("completed", None)
            assert after["completed_at"] == after["updated_at"] > during["updated_at"]
            assert after["metadata"]["tokens_processed"] == 2
            late = await run.ask("GET", f"{ASYNC}/job-7/stream")
            assert late.body == watchers[0].body

    asyncio.run(run_it())


def test_a_failed_stream(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, idle_timeout_s=0.05) as run:
            await initiate(run)
            watcher = await run.ask("GET", f"{ASYNC}/job-7/stream")
            assert kinds(watcher)[-1] == "error"
            assert events(watcher)[-1]["error"]["type"] == "api_error"
            shown = await status(run)
            assert shown["status"] == "error" and shown["error_message"] and shown["completed_at"]
            assert shown["metadata"]["error_code"] == "upstream_timeout"
            assert shown["midstream"]["hold"]["charged_credits"] == 0

    asyncio.run(run_it())


@pytest.mark.parametrize("after", [-1, 0, 2, 4])
@pytest.mark.parametrize("by", ["header", "query"])
def test_a_reader_comes_back_with_its_cursor(tmp_path: Path, after: int, by: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            upstream = await initiate(run)
            first = run.call("GET", f"{ASYNC}/job-7/stream").start()
            query = f"?after={after}" if by == "query" and after >= 0 else ""
            headers = {"last-event-id": str(after)} if by == "header" and after >= 0 else {}
            path = f"{ASYNC}/job-7/stream{query}"
            second = run.call("GET", path, headers=headers).start()
            say(upstream, TextDelta(0, " Gen", 1), TextDelta(0, "eva", 1))
            finish(upstream, 3)
            await first.done()
            await second.done()
            wanted = {number: frame for number, frame in numbered(first).items() if number > after}
            assert numbered(second) == wanted
            # The same again, from the record.
            third = await run.ask("GET", path, headers=headers)
            assert third.body == second.body

    asyncio.run(run_it())


def test_a_cursor_beyond_the_end(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            finish(await initiate(run), 1)
            await run.settled()
            last = max(numbered(await run.ask("GET", f"{ASYNC}/job-7/stream")))
            at_end = await run.ask("GET", f"{ASYNC}/job-7/stream?after={last}")
            assert (at_end.status, at_end.body) == (200, b"")
            beyond = await run.ask("GET", f"{ASYNC}/job-7/stream?after={last + 1}")
            assert beyond.status == 422
            assert beyond.json["detail"][0]["loc"] == ["query", "after"]

    asyncio.run(run_it())


def test_an_observer_that_leaves_ends_nothing(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            upstream = await initiate(run)
            watcher = run.call("GET", f"{ASYNC}/job-7/stream").start()
            await until(lambda: watcher.sent and text(watcher) == "Lake", "the first token")
            watcher.hang_up()
            await watcher.done()
            assert (await status(run))["status"] == "processing"
            finish(upstream, 1)
            await run.settled()
            assert (await status(run))["status"] == "completed"

    asyncio.run(run_it())


# Cancel, in each state.

CANCELLED = {"message": "Stream cancelled successfully", "message_id": "job-7"}


@pytest.mark.parametrize("sent", [None, {}, {"reason": "bored"}])
def test_cancel_while_it_runs(tmp_path: Path, sent: Any) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            upstream = await initiate(run)
            watcher = run.call("GET", f"{ASYNC}/job-7/stream").start()
            answer = await run.ask("POST", f"{ASYNC}/job-7/cancel", sent)
            assert (answer.status, answer.json) == (200, CANCELLED)
            assert "midstream-status" not in answer.headers
            assert upstream.is_closed
            shown = await status(run)
            assert shown["status"] == "cancelled" and shown["completed_at"]
            assert shown["midstream"]["source"] == "client_request"
            assert shown["midstream"]["receipt"]["source"] == "client_request"
            await watcher.done()
            assert kinds(watcher)[-3:] == ["content_block_stop", "message_delta", "message_stop"]
            late = await run.ask("GET", f"{ASYNC}/job-7/stream")
            assert late.body == watcher.body
            assert await run.held() == 0

    asyncio.run(run_it())


def test_a_caller_who_waits_is_given_what_there_was_at_the_cancel(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            call = run.call("POST", f"{MESSAGES}?message_id=job-7", body()).start()
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake", 1))
            await until(lambda: _tokens(run) >= 1, "the first token is logged")
            assert (await run.ask("POST", f"{ASYNC}/job-7/cancel")).json == CANCELLED
            await call.done()
            assert (call.status, call.json["stop_reason"]) == (200, "cancelled")
            assert call.json["content"] == [{"type": "text", "text": "Lake"}]
            assert call.json["midstream"]["receipt"]["source"] == "client_request"

    asyncio.run(run_it())


def test_cancel_before_a_token(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            await run.ask("POST", f"{ASYNC}?message_id=job-7", body())
            await run.upstream()
            assert (await run.ask("POST", f"{ASYNC}/job-7/cancel")).json == CANCELLED
            watcher = await run.ask("GET", f"{ASYNC}/job-7/stream")
            assert kinds(watcher) == ["message_start", "message_delta", "message_stop"]
            assert events(watcher)[1]["delta"]["stop_reason"] == "cancelled"
            assert events(watcher)[1]["usage"]["output_tokens"] == 0

    asyncio.run(run_it())


@pytest.mark.parametrize("ended", ["completed", "cancelled", "error"])
def test_cancel_of_a_stream_that_has_ended(tmp_path: Path, ended: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, idle_timeout_s=0.2 if ended == "error" else 60.0) as run:
            upstream = await initiate(run)
            if ended == "completed":
                finish(upstream, 1)
            if ended == "cancelled":
                await run.ask("POST", f"{ASYNC}/job-7/cancel")
            await run.settled()
            before = await status(run)
            answer = await run.ask("POST", f"{ASYNC}/job-7/cancel", {})
            assert (answer.status, answer.json) == (200, CANCELLED)
            assert answer.headers["midstream-status"] == ended
            assert await status(run) == before
            assert before["status"] == ended

    asyncio.run(run_it())


def test_a_cancel_that_is_not_carried_out_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            await initiate(run)

            async def late(key: CompletionKey, source: CancelSource) -> CancelAnswer:
                raise NotCancellable("It did not settle in time.")

            monkeypatch.setattr(run.runtime, "cancel", late)
            answer = await run.ask("POST", f"{ASYNC}/job-7/cancel", {})
            assert (answer.status, answer.json["error"]["type"]) == (529, "overloaded_error")
            assert answer.headers["retry-after"] == "1"

    asyncio.run(run_it())


@pytest.mark.parametrize("sent", [b"{", b"[]", b'"x"'])
def test_a_cancel_whose_body_is_no_object(tmp_path: Path, sent: bytes) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            await initiate(run)
            answer = await run.ask("POST", f"{ASYNC}/job-7/cancel", sent)
            assert (answer.status, answer.json["detail"][0]["loc"]) == (422, ["body"])
            assert (await status(run))["status"] == "processing"

    asyncio.run(run_it())


def test_a_cancel_that_comes_first_is_remembered(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            remember = {"midstream-if-absent": "remember"}
            answer = await run.ask("POST", f"{ASYNC}/job-7/cancel", {}, headers=remember)
            assert (answer.status, answer.json["status"]) == (202, "remembered")
            await run.ask("POST", f"{ASYNC}?message_id=job-7", body())
            await run.settled()
            assert (await status(run))["status"] == "cancelled"
            assert not run.provider.upstreams

    asyncio.run(run_it())


# Delete.


@pytest.mark.parametrize("runs", [True, False], ids=["running", "ended"])
def test_delete(tmp_path: Path, runs: bool) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            upstream = await initiate(run)
            if not runs:
                finish(upstream, 1)
                await run.settled()
            answer = await run.ask("DELETE", f"{ASYNC}/job-7/delete")
            assert (answer.status, answer.body) == (204, b"")
            assert "content-length" not in answer.headers
            assert upstream.is_closed
            for method, path in GONE:
                gone = await run.ask(method, f"{ASYNC}/job-7/{path}")
                assert (gone.status, gone.json["detail"]) == (404, NOT_FOUND)
            again = await run.ask("POST", f"{ASYNC}?message_id=job-7", body())
            assert again.status == 400
            assert await run.held() == 0

    asyncio.run(run_it())


GONE = [("GET", "stream"), ("GET", "status"), ("POST", "cancel"), ("DELETE", "delete")]
NOT_FOUND = "Stream with message_id job-7 not found"


# Errors.


@pytest.mark.parametrize(("method", "path"), GONE)
def test_an_id_that_is_not_there_or_anothers(tmp_path: Path, method: str, path: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            unknown = await run.ask(method, f"{ASYNC}/job-7/{path}")
            assert (unknown.status, unknown.json["detail"]) == (404, NOT_FOUND)
            assert unknown.json["error"] == {"type": "not_found_error", "message": NOT_FOUND}
            await initiate(run)
            foreign = await run.ask(method, f"{ASYNC}/job-7/{path}", key=await other_team(run))
            theirs, ours = foreign.json, unknown.json
            del theirs["request_id"], ours["request_id"]
            assert (foreign.status, theirs) == (404, ours)
            long = await run.ask(method, f"{ASYNC}/{'x' * 300}/{path}")
            assert long.status == 404
            assert (await status(run))["status"] == "processing"

    asyncio.run(run_it())


def test_an_id_of_another_dialect_is_not_there(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            run.create(headers={"midstream-completion-id": "job-7"})
            await run.upstream()
            assert (await run.ask("GET", f"{ASYNC}/job-7/status")).status == 404

    asyncio.run(run_it())


@pytest.mark.parametrize("path", [MESSAGES, ASYNC])
def test_a_duplicate_id(tmp_path: Path, path: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            await initiate(run)
            held = await run.held()
            # Another body: the same one would be the same start, made again.
            answer = await run.ask("POST", f"{path}?message_id=job-7", body(max_tokens=3))
            assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")
            assert "job-7" in answer.json["detail"]
            assert await run.held() == held

    asyncio.run(run_it())


@pytest.mark.parametrize(
    ("path", "is_strict", "invalid"),
    [(MESSAGES, False, 400), (MESSAGES, True, 422), (ASYNC, False, 422)],
)
def test_bad_requests(tmp_path: Path, path: str, is_strict: bool, invalid: int) -> None:
    """What is not valid is 400 as at Anthropic's, and 422 where the asynchronous API's page stands."""

    async def run_it() -> None:
        changes = {"body_bytes_max": 2_000, "strict_contracts": is_strict}
        async with rig(tmp_path, credits=0, **changes) as run:
            cases: list[tuple[str, Any, dict[str, Any], int, str]] = [
                (path, b"{", {}, invalid, "invalid_request_error"),
                (path, body(messages=[]), {}, invalid, "invalid_request_error"),
                (f"{path}?message_id=a/b", body(), {}, invalid, "invalid_request_error"),
                (path, body(model="nope"), {}, 404, "not_found_error"),
                (path, body(system="x" * 3_000), {}, 413, "request_too_large"),
                (path, body(), {}, 402, "billing_error"),
                (path, body(), {"key": None}, 401, "authentication_error"),
                (path, body(), {"key": "nope"}, 401, "authentication_error"),
            ]
            for where, sent, options, code, kind in cases:
                answer = await run.ask("POST", where, sent, **options)
                assert (answer.status, answer.json["error"]["type"]) == (code, kind)
                assert answer.json["type"] == "error" and answer.json["detail"]
                assert answer.json["request_id"] == answer.headers["request-id"]
            assert not run.provider.upstreams

    asyncio.run(run_it())


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "authorization"])
def test_every_spelling_of_a_key(tmp_path: Path, header: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            answer = await run.ask(
                "POST", f"{MESSAGES}/count_tokens", body(), key=None, headers={header: run.key}
            )
            assert answer.status == 200

    asyncio.run(run_it())


def test_a_wrong_method(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path) as run:
            answer = await run.ask("GET", ASYNC)
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
            assert answer.json["type"] == "error"

    asyncio.run(run_it())


def test_a_teams_rate_is_shown_in_anthropics_headers(tmp_path: Path) -> None:
    async def run_it() -> None:
        limits = LimitsChange(requests_per_minute=1)
        async with rig(tmp_path, simulator=True, limits=limits) as run:
            first = await run.ask("POST", MESSAGES, body())
            second = await run.ask("POST", MESSAGES, body())
            assert (first.status, second.status) == (200, 429)
            assert second.json["error"]["type"] == "rate_limit_error"
            assert int(second.headers["retry-after"]) >= 1
            for answer in (first, second):
                assert answer.headers["anthropic-ratelimit-requests-limit"] == "1"
                assert answer.headers["anthropic-ratelimit-requests-remaining"] == "0"
                assert answer.headers["anthropic-ratelimit-requests-reset"].endswith("Z")

    asyncio.run(run_it())


# Counting and validating.


def test_counted_tokens_are_those_that_are_charged(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            asked = body(system="Be brief.")
            counted = await run.ask("POST", f"{MESSAGES}/count_tokens", asked)
            answer = await run.ask("POST", MESSAGES, asked)
            assert counted.json == {"input_tokens": answer.json["usage"]["input_tokens"]}
            for sent, code in ((body(model="nope"), 404), (body(messages=[]), 400), (b"x", 400)):
                refused = await run.ask("POST", f"{MESSAGES}/count_tokens", sent)
                assert refused.status == code
            assert (
                await run.ask("POST", f"{MESSAGES}/count_tokens", asked, key=None)
            ).status == 401

    asyncio.run(run_it())


def test_a_dry_run(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, strict_contracts=True) as run:
            good = await run.ask("POST", f"{MESSAGES}/validate", body(priority=1, top_k=5))
            assert (good.status, good.json["valid"], good.json["errors"]) == (200, True, [])
            assert "priority is ignored." in good.json["warnings"]
            assert good.json["request_summary"]["model"] == "sim-instant"
            assert good.json["request_summary"]["input_tokens"] > 0
            for sent, place in (
                (b"{", ["body"]),
                (body(messages=[]), ["body", "messages"]),
                (body(model="nope"), ["body", "model"]),
                (body(max_tokens=10**6), ["body", "max_tokens"]),
            ):
                bad = await run.ask("POST", f"{MESSAGES}/validate", sent)
                assert (bad.status, bad.json["valid"]) == (400, False)
                assert bad.json["errors"][0]["loc"] == place
            assert not run.provider.upstreams
            assert await run.held() == 0

    asyncio.run(run_it())
