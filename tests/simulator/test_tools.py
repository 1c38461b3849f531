"""Agents' loops on the built-in models, through every wire format: a call, its result, an end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.http.rig import rig

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CUSTOM = {"type": "custom", "custom": {"name": "patch"}}
USER = {"role": "user", "content": "Is it raining in Turin?"}

WIRES = ["", "@messages", "@responses"]


def choice_of(folder: Path, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choice of each call's answer."""

    async def whole() -> list[dict[str, Any]]:
        async with rig(folder, simulator=True) as run:
            made = []
            for body in calls:
                call = await run.ask("POST", "/v1/chat/completions", body)
                assert call.status == 200, call.body
                made.append(call.json["choices"][0])
            return made

    return asyncio.run(whole())


@pytest.mark.parametrize("wire", WIRES)
def test_a_loop_ends_when_its_tools_result_is_there(tmp_path: Path, wire: str) -> None:
    body = {"model": "sim-tools" + wire, "tools": [FUNCTION], "messages": [USER]}
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        ],
    }
    result = {"role": "tool", "tool_call_id": "c1", "content": "rain"}
    ended = {**body, "messages": [USER, called, result]}
    first, second, none = choice_of(tmp_path, body, ended, {**body, "tool_choice": "none"})
    assert first["finish_reason"] == "tool_calls"
    assert first["message"]["tool_calls"][0]["function"]["name"] == "weather"
    for choice in (second, none):
        assert choice["finish_reason"] == "stop"
        assert len(choice["message"]["content"].split()) == 64


@pytest.mark.parametrize("wire", WIRES)
def test_any_model_calls_a_tool_that_it_has_to_call(tmp_path: Path, wire: str) -> None:
    named = {"type": "function", "function": {"name": "weather"}}
    body = {"model": "sim-instant" + wire, "tools": [FUNCTION], "messages": [USER]}
    asked = [{**body, "tool_choice": choice} for choice in ("required", named, "auto")]
    required, by_name, free = choice_of(tmp_path, *asked)
    for choice in (required, by_name):
        assert choice["message"]["tool_calls"][0]["function"]["name"] == "weather"
    assert free["finish_reason"] == "stop"


@pytest.mark.parametrize("wire", WIRES)
def test_a_tool_of_free_text_is_called_as_one(tmp_path: Path, wire: str) -> None:
    body = {"model": "sim-tools" + wire, "tools": [CUSTOM], "messages": [USER]}
    (choice,) = choice_of(tmp_path, body)
    (call,) = choice["message"]["tool_calls"]
    assert (call["type"], call["custom"]["name"]) == ("custom", "patch")
    assert call["custom"]["input"]
    assert not call["custom"]["input"].startswith("{")
