"""A provider that speaks Anthropic Messages behind each dialect, and Anthropic's SDK before ours.

The provider is the simulator, asked over a real socket in that wire format; its log is the truth.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from tests.http.rig import Asgi, Rig, rig, until

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
ASKED: Any = [{"role": "user", "content": "Name a lake."}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
TOOL: Any = {"name": "weather", "input_schema": PARAMETERS}


def body(model: str, **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": ASKED, "max_tokens": 8, **members}


async def truth(run: Rig, completion_id: str) -> dict[str, Any]:
    """Return what the simulator's log says of a completion once its upstream is closed."""
    async with httpx.AsyncClient(base_url=run.simulator_url or "") as client:
        for _ in range(400):
            answer = await client.get(
                "/_simulator/requests", params={"completion_id": completion_id}
            )
            rows = answer.json()["data"]
            if rows and rows[-1]["closed_by"] is not None:
                row: dict[str, Any] = rows[-1]
                return row
            await asyncio.sleep(0.01)
    raise AssertionError("the upstream stays open")


def end_of(call: Asgi) -> dict[str, Any]:
    data = [json.loads(one) for one in re.findall(rb"^data: (\{.*)$", call.body, re.M)]
    return next(one for one in reversed(data) if "usage" in one)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("wire", ["", "@messages"])
def test_text_and_usage(tmp_path: Path, path: str, wire: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            whole = await run.ask("POST", path, body("sim-instant" + wire))
            assert whole.status == 200, whole.body
            stream = await run.ask("POST", path, body("sim-instant" + wire, stream=True))
            value = whole.json
            assert value["usage"] == end_of(stream)["usage"]
            assert value["midstream"]["charge_basis"] == {
                "prompt": "provider_usage",
                "output": "provider_usage",
            }
            row = await truth(run, value["midstream"]["completion_id"])
            assert row["tokens_sent"] == 8
            assert value["midstream"]["hold"]["charged_credits"] == pytest.approx(
                (75 * row["prompt_tokens"] + 450 * 8) / 1e6
            )

    asyncio.run(run_it())


def test_chat_calls_a_tool_of_an_anthropic_provider_and_sends_its_result(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            asked = body("sim-tools@messages", max_tokens=100, tools=[CHAT_TOOL])
            first = (await run.ask("POST", CHAT, asked)).json
            message = first["choices"][0]["message"]
            assert first["choices"][0]["finish_reason"] == "tool_calls"
            (call,) = message["tool_calls"]
            assert set(json.loads(call["function"]["arguments"])) == {"city"}
            result = {"role": "tool", "tool_call_id": call["id"], "content": "Sunny."}
            again = await run.ask("POST", CHAT, asked | {"messages": [*ASKED, message, result]})
            assert again.json["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]

    asyncio.run(run_it())


def test_messages_calls_a_tool_of_a_chat_provider(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            answer = await run.ask(
                "POST", MESSAGES, body("sim-tools", max_tokens=100, tools=[TOOL])
            )
            (block,) = answer.json["content"]
            assert (block["type"], block["name"], set(block["input"])) == (
                "tool_use",
                "weather",
                {"city"},
            )
            assert answer.json["stop_reason"] == "tool_use"

    asyncio.run(run_it())


def test_thinking_keeps_its_signature_on_the_way_there_and_back(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            first = await run.ask("POST", MESSAGES, body("sim-reasoning@messages"))
            thinking, text = first.json["content"]
            assert thinking["thinking"] and thinking["signature"] and text["text"]
            turn = {"role": "assistant", "content": first.json["content"]}
            again = await run.ask(
                "POST", MESSAGES, body("sim-reasoning@messages", messages=[*ASKED, turn, *ASKED])
            )
            assert again.status == 200
            assert again.json["usage"]["input_tokens"] > first.json["usage"]["input_tokens"]

    asyncio.run(run_it())


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_cancel_closes_the_provider_and_charges_its_own_prompt(tmp_path: Path, path: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            asked = body("sim-long@messages", max_tokens=5_000, stream=True)
            name = {"midstream-completion-id": "job-7"}
            call = run.call("POST", path, asked, headers=name).start()
            await until(lambda: call.body.count(b"data: ") > 4, "some tokens")
            cancel = f"{CHAT}/job-7/cancel" if path == CHAT else f"{MESSAGES}/async/job-7/cancel"
            assert (await run.ask("POST", cancel)).status == 200
            await call.done()
            end = end_of(call)
            row = await truth(run, end["midstream"]["completion_id"])
            assert row["closed_by"] == "client" and row["tokens_sent"] < 100
            assert end["midstream"]["charge_basis"] == {
                "prompt": "provider_usage",
                "output": "counted",
            }
            assert await run.held() == 0

    asyncio.run(run_it())


def test_what_a_provider_cannot_honour_is_refused_or_named(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            refused = await run.ask(
                "POST", CHAT, body("sim@messages", response_format={"type": "json_object"})
            )
            assert (refused.status, refused.json["error"]["param"]) == (400, "response_format")
            named = await run.ask("POST", CHAT, body("sim-instant@messages", seed=7, user="u"))
            assert named.headers["midstream-ignored"] == "user, seed"

    asyncio.run(run_it())


@pytest.mark.sdk
@pytest.mark.parametrize("wire", ["", "@messages"])
def test_anthropics_sdk_is_served(tmp_path: Path, wire: str) -> None:
    async def run_it() -> None:
        async with (
            rig(tmp_path, simulator=True) as run,
            run.serve() as url,
            anthropic.AsyncAnthropic(base_url=url, api_key=run.key) as sdk,
        ):
            asked: Any = {"model": "sim-instant" + wire, "max_tokens": 8, "messages": ASKED}
            whole = await sdk.messages.create(**asked)
            async with sdk.messages.stream(**asked) as stream:
                final = await stream.get_final_message()
            assert final.to_dict()["content"] == whole.to_dict()["content"]
            assert final.usage == whole.usage
            tools: Any = asked | {"model": "sim-tools" + wire, "tools": [TOOL]}
            called = await sdk.messages.create(**tools | {"max_tokens": 100})
            assert called.stop_reason == "tool_use"
            count = await sdk.messages.count_tokens(model="sim" + wire, messages=ASKED)
            assert count.input_tokens == whole.usage.input_tokens
            with pytest.raises(anthropic.NotFoundError):
                await sdk.messages.create(**asked | {"model": "nope"})
            with pytest.raises(anthropic.BadRequestError):
                await sdk.messages.create(**asked | {"messages": []})

    asyncio.run(run_it())
