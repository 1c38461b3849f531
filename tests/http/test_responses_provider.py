"""A provider that speaks Responses behind each dialect, and OpenAI's SDK before ours.

The provider is the simulator, asked over a real socket in that wire format, in the background too; its
log is the truth.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.http.responses_rig import PATH, body, events
from tests.http.rig import rig, until
from tests.http.test_messages_provider import CHAT, CHAT_TOOL, MESSAGES, end_of, truth
from tests.http.test_messages_provider import body as prompt

WIRES = ["", "@responses", "@background", "@messages"]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "weather", "parameters": PARAMETERS}


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("wire", ["@responses", "@background"])
def test_text_and_usage_in_other_dialects(tmp_path: Path, path: str, wire: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            whole = await run.ask("POST", path, prompt("sim-instant" + wire))
            assert whole.status == 200, whole.body
            stream = await run.ask("POST", path, prompt("sim-instant" + wire, stream=True))
            value = whole.json
            assert value["usage"] == end_of(stream)["usage"]
            basis = value["midstream"]["charge_basis"]
            assert basis == {"prompt": "provider_usage", "output": "provider_usage"}
            row = await truth(run, value["midstream"]["completion_id"])
            assert row["tokens_sent"] == 8

    asyncio.run(run_it())


@pytest.mark.parametrize("wire", WIRES)
def test_text_and_usage(tmp_path: Path, wire: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            whole = (await run.ask("POST", PATH, body(model="sim-instant" + wire))).json
            stream = await run.ask("POST", PATH, body(model="sim-instant" + wire, stream=True))
            last = events(stream)[-1]["response"]
            assert whole["usage"] == last["usage"]
            assert whole["status"] == last["status"] == "incomplete"
            row = await truth(run, whole["midstream"]["completion_id"])
            assert row["tokens_sent"] == whole["usage"]["output_tokens"] == 8
            assert row["prompt_tokens"] == whole["usage"]["input_tokens"]

    asyncio.run(run_it())


@pytest.mark.parametrize("wire", WIRES)
def test_a_tool_is_called_and_its_result_sent(tmp_path: Path, wire: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            asked = body(model="sim-tools" + wire, max_output_tokens=100, tools=[TOOL])
            first = (await run.ask("POST", PATH, asked)).json
            (call,) = first["output"]
            assert (call["type"], call["status"]) == ("function_call", "completed")
            assert set(json.loads(call["arguments"])) == {"city"}
            result = {
                "type": "function_call_output",
                "call_id": call["call_id"],
                "output": "Sunny.",
            }
            again = await run.ask(
                "POST", PATH, asked | {"input": [result], "previous_response_id": first["id"]}
            )
            assert again.status == 200, again.body
            assert again.json["usage"]["input_tokens"] > first["usage"]["input_tokens"]

    asyncio.run(run_it())


_NAMESPACE = {"type": "namespace", "name": "n", "description": "d", "tools": [TOOL]}
_KINDS = {
    "namespace": (_NAMESPACE, "function_call"),
    "custom": ({"type": "custom", "name": "c", "description": "d"}, "custom_tool_call"),
    "local_shell": ({"type": "local_shell"}, "local_shell_call"),
    "tool_search": ({"type": "tool_search", "execution": "client"}, "tool_search_call"),
}


# In its own format the simulator calls what is named, and no others.
_CALLED = [(wire, kind) for wire in ("", "@messages") for kind in _KINDS] + [
    (wire, kind) for wire in ("@responses", "@background") for kind in ("namespace", "custom")
]


@pytest.mark.parametrize(("wire", "kind"), _CALLED)
def test_tools_of_every_kind_are_called_by_what_the_client_calls_them(
    tmp_path: Path, wire: str, kind: str
) -> None:
    tool, call_type = _KINDS[kind]

    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            asked = body(model="sim-tools" + wire, max_output_tokens=1_000, tools=[tool])
            first = await run.ask("POST", PATH, asked)
            assert first.status == 200, first.body
            assert "midstream-ignored" not in first.headers
            (call,) = first.json["output"]
            assert (call["type"], call["status"]) == (call_type, "completed")
            match kind:
                case "namespace":
                    assert (call["name"], call["namespace"]) == (TOOL["name"], "n")
                    assert set(json.loads(call["arguments"])) == {"city"}
                case "custom":
                    assert call["name"] == "c" and call["input"]
                    assert not call["input"].startswith("{")
                case "local_shell":
                    assert call["action"]["type"] == "exec"
                case _:
                    assert call["execution"] == "client"
            result = {"type": f"{call_type}_output", "call_id": call["call_id"], "output": "1"}
            if kind == "tool_search":
                result = {**result, "type": "tool_search_output", "tools": [_NAMESPACE]}
            # As Codex does it, which sends all of it again, and as the Vercel AI SDK refers to it.
            for earlier in (call, {"type": "item_reference", "id": call["id"]}):
                history = [{"role": "user", "content": "x"}, earlier, result]
                again = await run.ask("POST", PATH, asked | {"input": history})
                assert again.status == 200, again.body
                assert [item["type"] for item in again.json["output"]] == ["message"]

    asyncio.run(run_it())


def test_chat_calls_a_tool_of_a_responses_provider(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            asked = prompt("sim-tools@responses", max_tokens=100, tools=[CHAT_TOOL])
            answer = (await run.ask("POST", CHAT, asked)).json
            assert answer["choices"][0]["finish_reason"] == "tool_calls"
            (call,) = answer["choices"][0]["message"]["tool_calls"]
            assert set(json.loads(call["function"]["arguments"])) == {"city"}

    asyncio.run(run_it())


@pytest.mark.parametrize(
    ("wire", "closed_by"), [("@responses", "client"), ("@background", "cancel")]
)
@pytest.mark.parametrize("path", [CHAT, PATH])
def test_a_cancel_reaches_the_provider(
    tmp_path: Path, path: str, wire: str, closed_by: str
) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            asked = {
                CHAT: prompt("sim-long" + wire, max_tokens=5_000, stream=True),
                PATH: body(model="sim-long" + wire, max_output_tokens=5_000, stream=True),
            }[path]
            name = {"midstream-completion-id": "job-7"}
            call = run.call("POST", path, asked, headers=name).start()
            await until(lambda: call.body.count(b"data: ") > 6, "some tokens")
            answer = await run.ask("POST", f"{path}/job-7/cancel")
            assert (answer.status, answer.json["status"]) == (200, "cancelled")
            await call.done()
            row = await truth(run, answer.json["midstream"]["completion_id"])
            assert row["closed_by"] == closed_by and row["tokens_sent"] < 100
            assert await run.held() == 0

    asyncio.run(run_it())


@pytest.mark.parametrize("wire", ["@responses", "@background"])
@pytest.mark.parametrize(
    ("model", "kind"), [("sim-reasoning", "reasoning"), ("sim-refusal", "message")]
)
def test_other_kinds_of_blocks(tmp_path: Path, wire: str, model: str, kind: str) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            answer = (await run.ask("POST", PATH, body(model=model + wire))).json
            assert answer["output"][0]["type"] == kind
            again = [*answer["output"], {"role": "user", "content": "And?"}]
            assert (
                await run.ask("POST", PATH, body(model=model + wire, input=again))
            ).status == 200

    asyncio.run(run_it())


def test_a_failure_of_the_provider(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            for wire in ("@responses", "@background"):
                answer = await run.ask("POST", PATH, body(model="sim-error" + wire))
                assert (answer.status, answer.json["error"]["type"]) == (502, "provider_error")
            assert await run.held() == 0

    asyncio.run(run_it())


def test_what_a_responses_provider_cannot_honour_is_refused_or_named(tmp_path: Path) -> None:
    async def run_it() -> None:
        async with rig(tmp_path, simulator=True) as run:
            refused = await run.ask("POST", CHAT, prompt("sim@responses", stop=["a"]))
            assert (refused.status, refused.json["error"]["param"]) == (400, "stop")
            named = await run.ask("POST", CHAT, prompt("sim-instant@responses", seed=7, user="u"))
            assert named.headers["midstream-ignored"] == "user, seed"
            passed = await run.ask("POST", PATH, body(model="sim-instant@responses", user="u"))
            assert "midstream-ignored" not in passed.headers

    asyncio.run(run_it())


@pytest.mark.sdk
@pytest.mark.parametrize("wire", ["", "@responses"])
def test_openais_sdk_is_served(tmp_path: Path, wire: str) -> None:
    async def run_it() -> None:
        async with (
            rig(tmp_path, simulator=True) as run,
            run.serve() as url,
            httpx.AsyncClient(trust_env=False) as http,
            openai.AsyncOpenAI(
                base_url=f"{url}/v1", api_key=run.key, max_retries=0, http_client=http
            ) as sdk,
        ):
            asked: Any = body(model="sim-instant" + wire)
            whole = await sdk.responses.create(**asked)
            assert whole.incomplete_details is not None and whole.usage is not None
            assert (await sdk.responses.retrieve(whole.id)).output_text == whole.output_text
            tools: Any = {
                "model": "sim-tools" + wire,
                "input": "hi",
                "tools": [TOOL | {"strict": True}],
            }
            async with sdk.responses.stream(**tools) as stream:
                final = await stream.get_final_response()
            assert [item.type for item in final.output] == ["function_call"]
            count = await sdk.responses.input_tokens.count(input=asked["input"])
            assert count.input_tokens == whole.usage.input_tokens
            follow = await sdk.responses.create(**asked, previous_response_id=whole.id)
            items = [item async for item in sdk.responses.input_items.list(follow.id)]
            assert [item.type for item in items] == ["message"]
            with pytest.raises(openai.NotFoundError):
                await sdk.responses.create(**asked | {"model": "nope"})
            with pytest.raises(openai.BadRequestError):
                await sdk.responses.create(**asked | {"input": []})

    asyncio.run(run_it())


@pytest.mark.sdk
@pytest.mark.parametrize("wire", ["", "@background"])
def test_openais_sdk_runs_in_the_background(tmp_path: Path, wire: str) -> None:
    async def run_it() -> None:
        async with (
            rig(tmp_path, simulator=True) as run,
            run.serve() as url,
            httpx.AsyncClient(trust_env=False) as http,
            openai.AsyncOpenAI(
                base_url=f"{url}/v1", api_key=run.key, max_retries=0, http_client=http
            ) as sdk,
        ):
            asked: Any = body(model="sim-long" + wire, max_output_tokens=2_000, background=True)
            made = await sdk.responses.create(**asked)
            assert made.status == "queued"
            stream = await sdk.responses.retrieve(made.id, stream=True, starting_after=2)
            numbers = []
            async for event in stream:
                numbers.append(event.sequence_number)
                if len(numbers) == 5:
                    cancelled = await sdk.responses.cancel(made.id)
            assert numbers == list(range(3, 3 + len(numbers)))
            assert cancelled.status == "cancelled" and cancelled.output_text
            assert (await sdk.responses.cancel(made.id)) == cancelled
            await sdk.responses.delete(made.id)
            with pytest.raises(openai.NotFoundError):
                await sdk.responses.retrieve(made.id)

    asyncio.run(run_it())
