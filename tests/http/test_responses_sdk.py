"""OpenAI's own SDK reads what a response streams: its helper goes by order, places and identities."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from actors.core.errors import Failure, FailureCode
from actors.core.events import (
    BlockFinished,
    Event,
    FinishReason,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.request import Dialect, ToolKind
from actors.core.upstream import UpstreamBatch
from actors.testing import ScriptedUpstream
from tests.http.responses_rig import body
from tests.http.rig import Rig, finish, rig, say

pytestmark = pytest.mark.sdk

Script = Callable[[ScriptedUpstream], None]


def opaque(block: int, **payload: Any) -> Opaque:
    return Opaque(block, Dialect.RESPONSES, payload, 0)


SEARCH = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "q"},
}
CITATION = {
    "type": "url_citation",
    "url": "https://x",
    "title": "X",
    "start_index": 0,
    "end_index": 1,
}

EVERYTHING: tuple[Event, ...] = (
    ReasoningDelta(0, "h", 1),
    ReasoningDelta(0, "m", 1),
    BlockFinished(0, True, "seal"),
    opaque(1, type="response.output_item.added", item=SEARCH | {"status": "in_progress"}),
    opaque(1, type="response.web_search_call.searching", item_id="ws_1"),
    opaque(1, type="response.output_item.done", item=SEARCH),
    BlockFinished(1, True),
    TextDelta(2, "A ", 1),
    TextDelta(2, "lake.", 1),
    opaque(
        2,
        type="response.output_text.annotation.added",
        item_id="msg_theirs",
        content_index=0,
        annotation_index=0,
        annotation=CITATION,
    ),
    BlockFinished(2, True),
    ToolCallStarted(3, "k3", "f", 1, namespace="n"),
    ToolCallDelta(3, '{"a"', 1),
    ToolCallDelta(3, ":1}", 1),
    BlockFinished(3, True),
    ToolCallStarted(4, "k4", "c", 1, ToolKind.CUSTOM),
    ToolCallDelta(4, "raw ", 1),
    ToolCallDelta(4, "input", 1),
    BlockFinished(4, True),
    ToolCallStarted(5, "k5", "tool_search", 1, ToolKind.TOOL_SEARCH),
    ToolCallDelta(5, '{"query":"q"}', 1),
    BlockFinished(5, True),
    ToolCallStarted(6, "k6", "local_shell", 1, ToolKind.LOCAL_SHELL),
    ToolCallDelta(6, '{"command":["ls"]}', 1),
    BlockFinished(6, True),
    RefusalDelta(7, "no", 1),
    BlockFinished(7, True),
)


async def _streamed(
    run: Rig, script: Callable[[ScriptedUpstream], Awaitable[None]], **members: Any
) -> tuple[list[Any], Any]:
    """Stream a response through the helper; return its events and the final response."""
    asked = body(max_output_tokens=100, **members)
    async with (
        run.serve() as url,
        httpx.AsyncClient(trust_env=False) as http,
        openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key=run.key, max_retries=0, http_client=http
        ) as sdk,
    ):
        playing = asyncio.ensure_future(script_of(run, script))
        events = []
        async with sdk.responses.stream(**asked) as stream:
            async for event in stream:
                events.append(event)
            final = (
                await stream.get_final_response() if events[-1].type.endswith("completed") else None
            )
        await playing
    return events, final


async def script_of(run: Rig, script: Callable[[ScriptedUpstream], Awaitable[None]]) -> None:
    upstream = await run.upstream()
    await script(upstream)


def _run(
    folder: Path, script: Callable[[ScriptedUpstream], Awaitable[None]], **options: Any
) -> Any:
    async def main() -> Any:
        async with rig(folder, **options) as run:
            return await _streamed(run, script)

    return asyncio.run(main())


def test_every_kind_of_item_is_read(tmp_path: Path) -> None:
    async def script(upstream: ScriptedUpstream) -> None:
        await asyncio.sleep(0.2)  # Long enough for keep-alives, before and after it answers.
        upstream.open()
        await asyncio.sleep(0.1)
        for event in EVERYTHING:
            say(upstream, event)
        finish(upstream, 0)

    events, final = _run(tmp_path, script, headers_after_s=0.02, keep_alive_s=0.02)
    assert events[0].type == "response.created"
    assert sum(event.type == "keepalive" for event in events) >= 2
    kinds = [item.type for item in final.output]
    assert kinds == [
        "reasoning",
        "web_search_call",
        "message",
        "function_call",
        "custom_tool_call",
        "tool_search_call",
        "local_shell_call",
        "message",
    ]
    thought, _, said, called, custom, searched, shell, _ = final.output
    assert [part.text for part in thought.summary] == ["hm"]
    assert thought.encrypted_content == "seal"
    assert said.content[0].text == "A lake." and said.content[0].annotations[0].url == "https://x"
    assert (called.arguments, called.namespace) == ('{"a":1}', "n")
    assert custom.input == "raw input"
    assert searched.arguments == {"query": "q"}
    assert shell.action.command == ["ls"]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (FinishReason.STOP, "response.completed"),
        (FinishReason.LENGTH, "response.incomplete"),
        (FinishReason.CONTENT_FILTER, "response.incomplete"),
    ],
)
def test_ends_of_every_sort_are_read(tmp_path: Path, reason: FinishReason, kind: str) -> None:
    async def script(upstream: ScriptedUpstream) -> None:
        upstream.open()
        say(upstream, TextDelta(0, "x", 1))
        finish(upstream, 1, reason)

    events, _ = _run(tmp_path, script)
    assert events[-1].type == kind
    assert events[-1].response.output[0].content[0].text == "x"


def test_a_failure_is_read(tmp_path: Path) -> None:
    async def script(upstream: ScriptedUpstream) -> None:
        upstream.open()
        say(upstream, TextDelta(0, "x", 1))
        failure = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "Broken.")
        upstream.send(UpstreamBatch(failure=failure))

    events, _ = _run(tmp_path, script)
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "server_error"


class Lake(BaseModel):
    name: str


def test_an_answer_of_a_form_is_parsed(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            rig(tmp_path) as run,
            run.serve() as url,
            httpx.AsyncClient(trust_env=False) as http,
            openai.AsyncOpenAI(
                base_url=f"{url}/v1", api_key=run.key, max_retries=0, http_client=http
            ) as sdk,
        ):
            asking = asyncio.ensure_future(
                sdk.responses.parse(model="sim", input="Name a lake.", text_format=Lake)
            )
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, '{"name":"Geneva"}', 1))
            finish(upstream, 1)
            parsed = (await asking).output_parsed
            assert parsed is not None and parsed.name == "Geneva"

    asyncio.run(main())
