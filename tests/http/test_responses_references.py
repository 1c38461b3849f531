"""Items of earlier responses that an input refers to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.core.events import (
    BlockFinished,
    Opaque,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.request import Dialect, ReasoningPart, Role, TextPart, ToolCallPart
from actors.testing import ScriptedUpstream
from tests.http.responses_rig import PATH, answered, body, create
from tests.http.rig import Asgi, Rig, finish, rig, say

Body = Callable[[Rig], Awaitable[None]]


def run_in(folder: Path, test: Body, **options: Any) -> None:
    async def main() -> None:
        async with rig(folder, **options) as made:
            await test(made)

    asyncio.run(main())


async def _thoughtful(run: Rig, **members: Any) -> dict[str, Any]:
    """Create a response that thinks, searches, speaks and calls."""
    call = create(run, **members)
    upstream = await run.upstream(count=len(run.provider.upstreams) + 1)
    upstream.open()
    search = {"type": "web_search_call", "id": "ws_theirs", "status": "completed"}
    say(
        upstream,
        ReasoningDelta(0, "hm", 1),
        BlockFinished(0, True, "seal"),
        Opaque(1, Dialect.RESPONSES, {"type": "response.output_item.done", "item": search}, 0),
        BlockFinished(1, True),
        TextDelta(2, "A lake.", 1),
        BlockFinished(2, True),
        ToolCallStarted(3, "k", "f", 1),
        ToolCallDelta(3, "{}", 1),
        BlockFinished(3, True),
    )
    finish(upstream, 0)
    await call.done()
    assert call.status == 200, call.body
    response: dict[str, Any] = call.json
    return response


def _referring(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    refers = [{"type": "item_reference", "id": item["id"]} for item in items]
    output = {"type": "function_call_output", "call_id": "k", "output": "1"}
    return [{"role": "user", "content": "first"}, *refers, output]


async def _asked(run: Rig, **members: Any) -> tuple[Asgi, ScriptedUpstream]:
    count = len(run.provider.upstreams) + 1
    call = create(run, **members)
    upstream = await run.upstream(count=count)
    upstream.open()
    say(upstream, TextDelta(0, "ok", 1))
    finish(upstream, 1)
    await call.done()
    assert call.status == 200, call.body
    return call, upstream


@pytest.mark.parametrize("headers", [{}, {"midstream-completion-id": "mine"}])
def test_items_of_an_earlier_response_stand_in_their_place(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async def test(run: Rig) -> None:
        count = len(run.provider.upstreams)
        assert count == 0
        first = await _thoughtful(run)
        items = first["output"]
        assert [item["type"] for item in items] == [
            "reasoning",
            "web_search_call",
            "message",
            "function_call",
        ]
        call, upstream = await _asked(run, input=_referring(items), headers=headers)
        request = upstream.command.request
        user, said, result = request.messages
        assert user.parts == (TextPart("first"),)
        assert said.parts == (
            ReasoningPart("hm"),  # The seal of another provider than the one that is asked.
            TextPart("A lake."),
            ToolCallPart("k", "f", "{}"),
        )
        assert result.role is Role.TOOL
        # The second turn's own input has the items themselves, not what only refers to them.
        page = await run.ask("GET", f"{PATH}/{call.json['id']}/input_items?order=asc")
        assert [item["type"] for item in page.json["data"]] == [
            "message",
            "reasoning",
            "web_search_call",
            "message",
            "function_call",
            "function_call_output",
        ]
        third, upstream = await _asked(
            run, input=_referring(call.json["output"]), previous_response_id=first["id"]
        )
        texts = [
            part.text
            for message in upstream.command.request.messages
            for part in message.parts
            if isinstance(part, TextPart)
        ]
        assert texts == ["Name a lake.", "A lake.", "first", "ok"]
        assert third.json["previous_response_id"] == first["id"]

    run_in(tmp_path, test)


def test_references_are_counted_with_the_prompt(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        first = await _thoughtful(run)
        short = await run.ask("POST", f"{PATH}/input_tokens", body(input="x"))
        answer = await run.ask(
            "POST", f"{PATH}/input_tokens", body(input=_referring(first["output"]))
        )
        assert answer.json["input_tokens"] > short.json["input_tokens"]

    run_in(tmp_path, test)


def test_what_is_not_there_is_told_in_the_api_s_own_words(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        await run.ledger.create_team("other", "org", credits_microcredits=1_000_000)
        secret = (await run.ledger.create_key("other", "")).secret
        first = await answered(run)
        unstored = await answered(run, store=False)
        deleted = await answered(run)
        await run.ask("DELETE", f"{PATH}/{deleted['id']}")
        theirs = {"authorization": f"Bearer {secret}"}
        ulid = first["id"].removeprefix("resp_")
        for id, headers in (
            ("msg_none", {}),
            (f"msg_{ulid}_7", {}),
            (f"msg_{'0' * 26}_0", {}),
            (first["output"][0]["id"], theirs),
            (unstored["output"][0]["id"], {}),
            (deleted["output"][0]["id"], {}),
        ):
            asked = body(input=[{"type": "item_reference", "id": id}])
            answer = await run.ask("POST", PATH, asked, headers=headers)
            assert answer.status == 404, id
            assert answer.json["error"] == {
                "message": f"Item with id '{id}' not found.",
                "type": "invalid_request_error",
                "param": "input",
                "code": None,
            }
        assert await run.held() == 0

    run_in(tmp_path, test)


def test_references_to_too_many_responses_are_refused(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        refers = [{"type": "item_reference", "id": f"msg_{n:026d}_0"} for n in range(257)]
        answer = await run.ask("POST", PATH, body(input=refers))
        assert (answer.status, answer.json["error"]["param"]) == (400, "input")

    run_in(tmp_path, test)
