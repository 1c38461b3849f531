"""Reading and cancelling completions: running ones, ended ones, and ones that are not there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import CompletionRuntimeError, NotCancellable, Overloaded
from actors.core.events import CancelSource, TextDelta
from actors.ports.ledger import CompletionKey
from actors.ports.runtime import CancelAnswer
from serve_app.http.app import create_app
from tests.http.rig import Asgi, Rig, finish, frames, rig, say, text, until

PATH = "/v1/chat/completions"


async def talking(run: Rig, **members: Any) -> tuple[Asgi, Any, str]:
    """Begin a streamed completion that has said one token; return it, its upstream and its path."""
    count = len(run.provider.upstreams) + 1
    call = run.create(stream=True, **members)
    upstream = await run.upstream(count=count)
    upstream.open()
    say(upstream, TextDelta(0, "Lake", 1))
    await until(lambda: text(call) == "Lake", "the first token")
    return call, upstream, f"{PATH}/{upstream.command.wire_id}"


async def other_team(run: Rig) -> str:
    await run.ledger.create_team("other", "org", credits_microcredits=0)
    return (await run.ledger.create_key("other", "")).secret


# Reading.


def test_a_running_completion(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream, path = await talking(run)
            got = await run.ask("GET", path)
            assert got.status == 200
            assert got.json["status"] == "in_progress"
            choice = got.json["choices"][0]
            assert choice["finish_reason"] is None
            assert choice["message"]["content"] == "Lake"
            assert got.json["usage"]["completion_tokens"] == 1
            assert got.json["usage"]["credits_charged"] == 0
            finish(upstream, 1)
            await call.done()
            got = await run.ask("GET", path)
            assert got.json["status"] == "completed"
            assert got.json["usage"] == frames(call)[-1]["usage"]

    asyncio.run(body())


def numbered(call: Asgi) -> dict[int, bytes]:
    return {int(n): data for n, data in re.findall(rb"id: (\d+)\n(data: .*)\n\n", call.body)}


@pytest.mark.parametrize("after", [-1, 0, 1, 2])
def test_a_second_reader_takes_up_a_running_stream(tmp_path: Path, after: int) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream, path = await talking(run)
            query = "stream=true" + (f"&starting_after={after}" if after >= 0 else "")
            second = run.call("GET", f"{path}?{query}").start()
            say(upstream, TextDelta(0, " Gen", 1), TextDelta(0, "eva", 1))
            finish(upstream, 3)
            await call.done()
            await second.done()
            assert second.headers["content-type"].startswith("text/event-stream")
            wanted = {n: data for n, data in numbered(call).items() if n > after}
            assert numbered(second) == wanted
            # The same again, from the record.
            third = await run.ask("GET", f"{path}?{query}")
            assert third.body == second.body

    asyncio.run(body())


def test_a_cursor_at_and_beyond_the_end(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream, path = await talking(run)
            finish(upstream, 1)
            await call.done()
            last = max(numbered(call))
            at_end = await run.ask("GET", f"{path}?stream=true&starting_after={last}")
            assert (at_end.status, at_end.body) == (200, b"")
            beyond = await run.ask("GET", f"{path}?stream=true&starting_after={last + 1}")
            assert (beyond.status, beyond.json["error"]["code"]) == (400, "value_out_of_range")
            assert beyond.json["error"]["param"] == "starting_after"

    asyncio.run(body())


def test_a_cursor_beyond_the_end_of_a_stream_that_still_ran(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, headers_after_s=0.02) as run:
            call, upstream, path = await talking(run)
            second = run.call("GET", f"{path}?stream=true&starting_after=99").start()
            await until(lambda: second.status, "the headers")
            finish(upstream, 1)
            await call.done()
            await second.done()
            assert frames(second)[-1]["error"]["code"] == "value_out_of_range"
            assert b"[DONE]" not in second.body

    asyncio.run(body())


def test_a_failed_completion_is_replayed_as_it_was(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, idle_timeout_s=0.05) as run:
            call, _, path = await talking(run)
            await call.done()
            got = await run.ask("GET", path)
            assert got.json["status"] == "failed"
            assert got.json["error"]["code"] == "chat_provider_unavailable"
            assert got.json["usage"]["credits_charged"] == 0
            assert got.json["midstream"]["failure"] == "upstream_timeout"
            again = await run.ask("GET", f"{path}?stream=true")
            assert again.status == 200
            assert text(again) == "Lake"
            assert frames(again)[-1]["error"]["code"] == "chat_provider_unavailable"

    asyncio.run(body())


# Cancelling.


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_cancel_while_it_runs(tmp_path: Path, stream: bool) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = run.create(stream=stream)
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake", 1), TextDelta(0, " Gen", 1))
            running = run.runtime.carrier.running
            await until(lambda: any(len(d.completion.log) >= 3 for d in running), "two tokens")
            path = f"{PATH}/{upstream.command.wire_id}"
            cancel = await run.ask("POST", f"{path}/cancel")
            await call.done()
            assert upstream.is_closed
            value = cancel.json
            assert (cancel.status, value["status"]) == (200, "cancelled")
            assert value["choices"][0] == {
                "index": 0,
                "message": {"role": "assistant", "content": "Lake Gen"},
                "finish_reason": "cancelled",
            }
            assert value["error"]["code"] == "cancelled_by_request"
            assert value["error"]["type"] == "invalid_request"
            prompt = value["usage"]["prompt_tokens"]
            assert value["usage"]["credits_charged"] == (75 * prompt + 450 * 2) / 1e6
            assert value["midstream"]["source"] == "client_request"
            assert value["midstream"]["receipt"]["upstream_closed_at"] is not None
            assert await run.held() == 0
            if stream:
                last = frames(call)[-1]
                assert last["choices"][0]["finish_reason"] == "cancelled"
                assert last["usage"] == value["usage"]
                assert "error" not in last
                assert call.body.endswith(b"data: [DONE]\n\n")
            else:
                # The caller who waited gets the same record.
                assert (call.status, call.json) == (200, value)
            assert (await run.ask("GET", path)).json == value
            again = await run.ask("POST", f"{path}/cancel")
            assert again.status == 409
            assert again.json["error"]["code"] == "chat_cancel_target_already_terminal"

    asyncio.run(body())


def test_cancels_at_once_get_the_same_answer(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, _, path = await talking(run)
            cancels = [run.call("POST", f"{path}/cancel").start() for _ in range(16)]
            answers = [await cancel.done() for cancel in cancels]
            await call.done()
            accepted = [answer for answer in answers if answer.status == 200]
            assert accepted
            assert len({answer.body for answer in accepted}) == 1
            assert {answer.status for answer in answers} <= {200, 409}

    asyncio.run(body())


def test_a_cancel_is_carried_out_although_its_client_does_not_wait(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream, path = await talking(run)
            cancel = run.call("POST", f"{path}/cancel").start()
            await asyncio.sleep(0)
            await until(
                lambda: upstream.is_closed or len(run.runtime.carrier.running) == 1, "asked"
            )
            assert cancel.task is not None
            cancel.task.cancel()
            await call.done()
            assert frames(call)[-1]["choices"][0]["finish_reason"] == "cancelled"

    asyncio.run(body())


def without_ids(call: Asgi) -> tuple[int | None, bytes, set[str]]:
    body = re.sub(rb"req_[0-9A-Z]{26}", b"req_", call.body)
    return call.status, body, set(call.headers)


@pytest.mark.parametrize(
    ("method", "suffix", "code"),
    [
        ("GET", "", "resource_not_found"),
        ("GET", "?stream=true", "resource_not_found"),
        ("POST", "/cancel", "chat_cancel_target_not_found"),
    ],
)
def test_unknown_and_foreign_ids_look_the_same(
    tmp_path: Path, method: str, suffix: str, code: str
) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream, path = await talking(run)
            stranger = await other_team(run)
            foreign = await run.ask(method, path + suffix, key=stranger)
            assert (foreign.status, foreign.json["error"]["code"]) == (404, code)
            for name in ("cmp_01JB3T9K5N6P7Q8R9S0T1V2W3X", "x", "x" * 5_000, "a\x00b", "%2e", "é"):
                unknown = await run.ask(method, f"{PATH}/{name}{suffix}", key=stranger)
                assert without_ids(unknown) == without_ids(foreign)
            finish(upstream, 1)
            await call.done()
            assert frames(call)[-1]["choices"][0]["finish_reason"] == "stop"

    asyncio.run(body())


def test_a_cancel_before_the_start_is_remembered(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            headers = {"midstream-if-absent": "remember"}
            first = await run.ask("POST", f"{PATH}/job-7/cancel", headers=headers)
            assert first.status == 202
            value = first.json
            assert isinstance(value.pop("expires_at"), int)
            assert value == {
                "id": "job-7",
                "object": "midstream.cancellation",
                "status": "remembered",
            }
            call = await run.create(headers={"midstream-completion-id": "job-7"}).done()
            assert call.json["status"] == "cancelled"
            assert call.json["usage"]["credits_charged"] == 0
            assert call.json["choices"][0]["message"]["content"] == ""
            assert not run.provider.upstreams

    asyncio.run(body())


def test_a_cancel_to_be_remembered_that_finds_its_target(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, _, path = await talking(run)
            headers = {"midstream-if-absent": "remember"}
            cancel = await run.ask("POST", f"{path}/cancel", headers=headers)
            assert (cancel.status, cancel.json["status"]) == (200, "cancelled")
            await call.done()
            again = await run.ask("POST", f"{path}/cancel", headers=headers)
            assert again.status == 409

    asyncio.run(body())


def test_what_cannot_be_remembered(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            remember = {"midstream-if-absent": "remember"}
            impossible = await run.ask("POST", f"{PATH}/a b/cancel", headers=remember)
            assert impossible.status == 404
            unclear = await run.ask(
                "POST", f"{PATH}/job-7/cancel", headers={"midstream-if-absent": "forget"}
            )
            assert (unclear.status, unclear.json["error"]["code"]) == (400, "invalid_format")

    asyncio.run(body())


class _Unreachable:
    """A runtime whose owner of the completion, or the ledger behind it, does not answer a cancel."""

    def __init__(self, run: Rig, error: CompletionRuntimeError) -> None:
        self._runtime = run.runtime
        self._error = error

    async def cancel(self, key: CompletionKey, source: CancelSource) -> CancelAnswer:
        raise self._error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)


def test_an_owner_that_does_not_answer(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            error = NotCancellable("The completion's owner did not answer in time.")
            run.app = create_app(_Unreachable(run, error), run.catalogue, run.settings)  # type: ignore[arg-type]
            cancel = await run.ask("POST", f"{PATH}/x/cancel")
            assert cancel.status == 409
            assert cancel.json["error"]["code"] == "chat_cancel_target_not_cancellable"

    asyncio.run(body())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"{PATH}/x/cancel", 503),
        ("POST", "/v1/responses/resp_x/cancel", 503),
        ("POST", "/v1/messages/async/x/cancel", 529),
        ("DELETE", "/v1/model/response/x?organizationId=org", 503),
    ],
)
def test_a_cancel_that_stopped_it_while_the_ledger_is_away(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            error = Overloaded("The completion was stopped.")
            run.app = create_app(_Unreachable(run, error), run.catalogue, run.settings)  # type: ignore[arg-type]
            cancel = await run.ask(method, path)
            assert (cancel.status, cancel.headers["retry-after"]) == (status, "1")

    asyncio.run(body())
