"""Creating and reading responses: as one body, as a stream, in the background, and again later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import Failure, FailureCode, UpstreamError
from actors.core.events import FinishReason, TextDelta, ToolCallDelta, ToolCallStarted
from actors.core.request import Message, Role, TextPart
from actors.core.upstream import UpstreamBatch
from tests.http.responses_rig import PATH, answered, body, create, events, numbered, said, talking
from tests.http.rig import Rig, finish, rig, say, until

Body = Callable[[Rig], Awaitable[None]]


def run_in(folder: Path, test: Body, **options: Any) -> None:
    async def main() -> None:
        async with rig(folder, **options) as made:
            await test(made)

    asyncio.run(main())


def test_a_body(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        response = await answered(run, metadata={"a": "b"}, instructions="Be brief.", store=True)
        assert response["id"].startswith("resp_") and response["object"] == "response"
        assert (response["status"], response["provider"]) == ("completed", "simulator")
        assert response["error"] is None and response["incomplete_details"] is None
        assert (response["metadata"], response["instructions"]) == ({"a": "b"}, "Be brief.")
        (item,) = response["output"]
        assert item["content"] == [{"type": "output_text", "text": "Lake", "annotations": []}]
        usage = response["usage"]
        assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (8, 1, 9)
        assert response["completed_at"] >= response["created_at"] > 0
        assert "input" not in response
        got = await run.ask("GET", f"{PATH}/{response['id']}")
        assert got.json == response
        assert got.headers["x-request-id"].startswith("req_")

    run_in(tmp_path, test)


def test_a_stream_says_what_its_body_says(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call, upstream, path = await talking(run)
        say(upstream, TextDelta(0, " Geneva", 1))
        finish(upstream, 2, FinishReason.LENGTH)
        await call.done()
        assert call.headers["content-type"].startswith("text/event-stream")
        kinds = [event["type"].removeprefix("response.") for event in events(call)]
        assert kinds == [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "incomplete",
        ]
        numbers = [event["sequence_number"] for event in events(call)]
        assert numbers == list(range(len(kinds)))
        assert call.body.endswith(b"data: [DONE]\n\n")
        last = events(call)[-1]["response"]
        assert last["incomplete_details"] == {"reason": "max_output_tokens"}
        assert (await run.ask("GET", path)).json == last

    run_in(tmp_path, test)


@pytest.mark.parametrize("after", [-1, 0, 4, 5])
def test_a_stream_can_be_taken_up_while_it_lives_and_replayed_afterwards(
    tmp_path: Path, after: int
) -> None:
    async def test(run: Rig) -> None:
        call, upstream, path = await talking(run)
        query = "stream=true" + (f"&starting_after={after}" if after >= 0 else "")
        second = run.call("GET", f"{path}?{query}").start()
        say(upstream, TextDelta(0, " Gen", 1), TextDelta(0, "eva", 1))
        finish(upstream, 3)
        await call.done()
        await second.done()
        wanted = {n: frame for n, frame in numbered(call).items() if n > after}
        assert numbered(second) == wanted
        assert numbered(await run.ask("GET", f"{path}?{query}")) == wanted

    run_in(tmp_path, test)


def test_a_quiet_stream_begins_with_its_response_and_says_that_it_lives(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call = create(run, stream=True)
        upstream = await run.upstream()
        await until(lambda: call.body.count(b"event: keepalive\n") >= 2, "keep-alives")
        first, second, *alive = events(call)
        assert call.body.startswith(b"id: 0\nevent: response.created\n")
        assert (first["type"], second["type"]) == ("response.created", "response.in_progress")
        assert alive == [{"type": "keepalive", "sequence_number": 1}] * len(alive)
        assert b"\n:" not in call.body
        upstream.open()
        say(upstream, TextDelta(0, "Lake", 1))
        await until(lambda: said(call) == "Lake", "the first token")
        number = max(numbered(call))
        count = call.body.count(b"event: keepalive\n")
        await until(lambda: call.body.count(b"event: keepalive\n") > count, "another one")
        assert events(call)[-1] == {"type": "keepalive", "sequence_number": number}
        finish(upstream, 1)
        await call.done()
        numbers = [e["sequence_number"] for e in events(call) if e["type"] != "keepalive"]
        assert [*numbers, len(numbers)] == sorted(numbered(call))

    run_in(tmp_path, test, headers_after_s=0.02, keep_alive_s=0.02)


def test_a_running_response_shows_what_there_is(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call, upstream, path = await talking(run)
        got = (await run.ask("GET", path)).json
        assert got["status"] == "in_progress" and got["completed_at"] is None
        assert got["output"][0]["content"][0]["text"] == "Lake"
        assert got["output"][0]["status"] == "in_progress"
        assert got["usage"]["output_tokens"] == 1
        finish(upstream, 1)
        await call.done()

    run_in(tmp_path, test)


def test_a_background_response_is_accepted_and_goes_on_alone(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call = await create(run, background=True).done()
        accepted = call.json
        assert (accepted["status"], accepted["background"]) == ("queued", True)
        assert accepted["output"] == [] and accepted["usage"] is None
        path = f"{PATH}/{accepted['id']}"
        upstream = await run.upstream()
        assert (await run.ask("GET", path)).json["status"] in ("queued", "in_progress")
        upstream.open()
        reader = run.call("GET", f"{path}?stream=true").start()
        say(upstream, TextDelta(0, "Lake", 1))
        await until(lambda: len(events(reader)) > 4, "the first token")
        finish(upstream, 1)
        await reader.done()
        kinds = [event["type"] for event in events(reader)][:3]
        assert kinds == ["response.created", "response.queued", "response.in_progress"]
        got = (await run.ask("GET", path)).json
        assert got["status"] == "completed" and got["background"] is True
        assert events(reader)[-1]["response"] == got

    run_in(tmp_path, test)


def test_a_background_stream_outlives_its_caller(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call, upstream, path = await talking(run, background=True)
        call.hang_up()
        await call.done()
        say(upstream, TextDelta(0, " Geneva", 1))
        finish(upstream, 2)
        await run.settled()
        got = (await run.ask("GET", path)).json
        assert got["status"] == "completed"
        assert got["output"][0]["content"][0]["text"] == "Lake Geneva"

    run_in(tmp_path, test)


def test_a_tool_call(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
        call = create(run, tools=[tool], tool_choice="auto")
        upstream = await run.upstream()
        upstream.open()
        say(upstream, ToolCallStarted(0, "c", "f", 1), ToolCallDelta(0, "{}", 1))
        finish(upstream, 2, FinishReason.TOOL_CALLS)
        response = (await call.done()).json
        (item,) = response["output"]
        assert (item["type"], item["call_id"], item["arguments"]) == ("function_call", "c", "{}")
        assert response["status"] == item["status"] == "completed"
        assert response["tools"] == [tool]

    run_in(tmp_path, test)


def test_a_failure_before_the_first_token_is_an_http_error_and_recorded(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call = create(run)
        upstream = await run.upstream()
        upstream.refuse(UpstreamError(Failure(FailureCode.UPSTREAM_UNAVAILABLE, "Away.")))
        await call.done()
        assert call.status == 502
        assert call.json["error"]["type"] == "provider_error"
        got = (await run.ask("GET", f"{PATH}/{upstream.command.wire_id}")).json
        assert (got["status"], got["error"]["code"]) == ("failed", "server_error")

    run_in(tmp_path, test)


def test_a_failure_in_the_stream_is_its_last_event(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call, upstream, _ = await talking(run)
        failure = Failure(FailureCode.UPSTREAM_RATE_LIMITED, "Busy.")
        upstream.send(UpstreamBatch(failure=failure))
        await call.done()
        last = events(call)[-1]
        assert last["type"] == "response.failed" and b"[DONE]" not in call.body
        assert last["response"]["error"]["code"] == "rate_limit_exceeded"

    run_in(tmp_path, test)


# What is kept, and what follows what.


def test_a_response_that_is_not_stored_keeps_no_content(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        response = await answered(run, store=False, metadata={"a": "b"})
        assert response["output"] and response["metadata"] == {"a": "b"}
        got = (await run.ask("GET", f"{PATH}/{response['id']}")).json
        assert got["output"] == [] and got["metadata"] == {}
        assert got["usage"] == response["usage"]
        items = await run.ask("GET", f"{PATH}/{response['id']}/input_items")
        assert items.json["data"] == []
        follow = await run.ask("POST", PATH, body(previous_response_id=response["id"]))
        assert follow.status == 400
        assert follow.json["error"]["param"] == "previous_response_id"

    run_in(tmp_path, test)


def test_a_response_goes_on_with_the_conversation_before_it(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        first = await answered(run, "Geneva", instructions="Be brief.")
        second = await answered(run, "Yes", input="Is it deep?", previous_response_id=first["id"])
        assert second["previous_response_id"] == first["id"]
        await answered(
            run,
            "No",
            input=[{"role": "user", "content": "Salty?"}],
            previous_response_id=second["id"],
            instructions="Be long.",
        )

        def asked(text: str) -> Message:
            return Message(Role.USER, (TextPart(text),))

        def told(text: str) -> Message:
            return Message(Role.ASSISTANT, (TextPart(text),))

        assert run.provider.upstreams[-1].command.request.messages == (
            Message(Role.SYSTEM, (TextPart("Be long."),)),
            asked("Name a lake."),
            told("Geneva"),
            asked("Is it deep?"),
            told("Yes"),
            asked("Salty?"),
        )

    run_in(tmp_path, test)


def test_what_cannot_be_followed(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        async def follow(wire_id: str, **options: Any) -> tuple[int | None, Any]:
            answer = await run.ask("POST", PATH, body(previous_response_id=wire_id), **options)
            return answer.status, answer.json["error"]

        status, error = await follow("resp_none")
        assert (status, error["code"]) == (404, "previous_response_not_found")
        assert error["param"] == "previous_response_id"
        call, upstream, path = await talking(run)
        assert (await follow(path.rpartition("/")[2]))[0] == 400
        finish(upstream, 1)
        await call.done()
        first = await answered(run)
        await run.ledger.create_team("other", "org", credits_microcredits=0)
        other = (await run.ledger.create_key("other", "")).secret
        assert (await follow(first["id"], key=other))[0] == 404
        second = await answered(run, previous_response_id=first["id"])
        assert (await run.ask("DELETE", f"{PATH}/{first['id']}")).status == 200
        assert (await follow(second["id"]))[0] == 404
        assert await run.held() == 0

    run_in(tmp_path, test)


def test_input_items(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        texts = [f"{n}" for n in range(25)]
        items = [{"role": "user", "content": text} for text in texts]
        response = await answered(run, input=[*items, {"id": "mine", **items[0]}])
        path = f"{PATH}/{response['id']}/input_items"

        async def page(query: str) -> Any:
            got = await run.ask("GET", f"{path}?{query}")
            assert got.status == 200
            return got.json

        first = await page("")
        assert (first["object"], len(first["data"]), first["has_more"]) == ("list", 20, True)
        assert (first["first_id"], first["last_id"]) == ("mine", first["data"][-1]["id"])
        rest = await page(f"after={first['last_id']}")
        assert [item["content"][0]["text"] for item in rest["data"]] == texts[5::-1]
        assert not rest["has_more"]
        ascending = await page("order=asc&limit=1000")
        assert ascending["data"] == [*first["data"], *rest["data"]][::-1]
        assert len((await page("limit=-3"))["data"]) == 1
        empty = {"data": [], "first_id": None, "last_id": None, "has_more": False}
        assert await page("after=none") == {"object": "list"} | empty
        for query, param in (("limit=x", "limit"), ("order=up", "order")):
            answer = await run.ask("GET", f"{path}?{query}")
            assert (answer.status, answer.json["error"]["param"]) == (400, param)

    run_in(tmp_path, test)


def test_input_tokens(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        counted = await run.ask("POST", f"{PATH}/input_tokens", body())
        response = await answered(run)
        estimate = run.provider.upstreams[-1].command.prompt_tokens_estimated
        assert counted.json == {"object": "response.input_tokens", "input_tokens": estimate}
        asked = {"input": "Deep?", "previous_response_id": response["id"]}
        following = await run.ask("POST", f"{PATH}/input_tokens", asked)
        assert following.json["input_tokens"] > estimate
        unknown = await run.ask("POST", f"{PATH}/input_tokens", body(model="none"))
        assert (unknown.status, unknown.json["error"]["code"]) == (404, "model_not_found")

    run_in(tmp_path, test)


@pytest.mark.parametrize(
    ("members", "status", "param"),
    [
        ({"model": "none"}, 404, "model"),
        ({"input": []}, 400, "input"),
        ({"conversation": "c"}, 400, "conversation"),
        ({"tools": [{"name": "f"}]}, 400, "tools[0].type"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_held(
    tmp_path: Path, members: dict[str, Any], status: int, param: str
) -> None:
    async def test(run: Rig) -> None:
        answer = await run.ask("POST", PATH, body(**members))
        assert (answer.status, answer.json["error"]["param"]) == (status, param)
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}
        assert await run.held() == 0

    run_in(tmp_path, test)
