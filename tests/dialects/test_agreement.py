"""Goal: a stream and the body of the same completion agree, in calls, usage and charge; so do all dialects.

The same recorded events go through all encoders and all bodies; what each tells is read the way a
client reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from actors.core.events import Finished, Status
from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.base import Snapshot
from tests.dialects.recordings import HEADER, RECORDINGS
from tests.dialects.test_conformance import DIALECTS, frames_of

Calls = list[tuple[str, str, Any]]
"""(id, name, arguments as a value), in order."""

ENDED = {
    name: events
    for name, events in RECORDINGS.items()
    if isinstance(events[-1], Finished) and events[-1].status is not Status.FAILED
}


@dataclass
class Told:
    """What a client learns of a completion."""

    calls: Calls
    usage: Any
    hold: Any


def values_of(frames: list[bytes]) -> list[dict[str, Any]]:
    datas = (frame.split(b"data: ", 1)[1] for frame in frames)
    return [json.loads(data) for data in datas if data.startswith(b"{")]


def chat_frames(values: list[dict[str, Any]]) -> Told:
    pieces: dict[int, dict[str, str]] = {}
    for value in values:
        for call in value["choices"][0]["delta"].get("tool_calls", ()):
            known = pieces.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
            known["id"] += call.get("id", "")
            for member, text in call.get("function", {}).items():
                known[member] += text
    calls = [(c["id"], c["name"], json.loads(c["arguments"])) for c in pieces.values()]
    return Told(calls, values[-1]["usage"], values[-1]["midstream"]["hold"])


def message_of_choice(body: dict[str, Any], member: str) -> Told:
    calls = [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in body["choices"][0]["message"].get(member, ())
    ]
    return Told(calls, body["usage"], body["midstream"]["hold"])


def responses_frames(values: list[dict[str, Any]]) -> Told:
    done = [v["item"] for v in values if v["type"] == "response.output_item.done"]
    last = values[-1]["response"]
    return Told(_calls_of_items(done), last["usage"], last["midstream"]["hold"])


def _calls_of_items(items: list[dict[str, Any]]) -> Calls:
    return [
        (item["call_id"], item["name"], json.loads(item["arguments"]))
        for item in items
        if item["type"] == "function_call"
    ]


def messages_frames(values: list[dict[str, Any]]) -> Told:
    blocks: dict[int, tuple[dict[str, Any], list[str]]] = {}
    for value in values:
        if value["type"] == "content_block_start":
            blocks[value["index"]] = (value["content_block"], [])
        elif value["type"] == "content_block_delta":
            blocks[value["index"]][1].append(value["delta"].get("partial_json", ""))
    calls = [
        (block["id"], block["name"], json.loads("".join(pieces) or "{}"))
        for block, pieces in blocks.values()
        if block["type"] == "tool_use"
    ]
    (last,) = (value for value in values if value["type"] == "message_delta")
    return Told(calls, last["usage"], last["midstream"]["hold"])


def messages_body(body: dict[str, Any]) -> Told:
    calls = [(b["id"], b["name"], b["input"]) for b in body["content"] if b["type"] == "tool_use"]
    return Told(calls, body["usage"], body["midstream"]["hold"])


def model_response_frames(values: list[dict[str, Any]]) -> Told:
    items = [v["item"] | {"index": v["index"]} for v in values if "item" in v]
    arguments = {v["index"]: v["arguments"] for v in values if "arguments" in v}
    calls = [
        (item["id"], item["name"], json.loads(arguments[item["index"]]))
        for item in items
        if item["type"] == "function_call"
    ]
    return Told(calls, values[-1]["usage"], values[-1]["midstream"]["hold"])


READ: dict[str, tuple[Callable[[list[dict[str, Any]]], Told], Callable[[dict[str, Any]], Told]]] = {
    "chat": (chat_frames, lambda body: message_of_choice(body, "tool_calls")),
    "responses": (
        responses_frames,
        lambda body: Told(
            _calls_of_items(body["output"]), body["usage"], body["midstream"]["hold"]
        ),
    ),
    "messages": (messages_frames, messages_body),
    "model_response": (model_response_frames, lambda body: message_of_choice(body, "toolCalls")),
}

CUT = {"cancelled_in_tool_call"}
"""A stream has told of the call already; a body must not present it."""

NOT_JSON = {"custom_call"}
"""The input of such a call is text; what is read here are arguments."""


@pytest.mark.parametrize("dialect", READ)
@pytest.mark.parametrize("name", sorted(set(ENDED) - CUT - NOT_JSON))
def test_stream_and_body_tell_the_same(name: str, dialect: str) -> None:
    of_frames, of_body = READ[dialect]
    client = DIALECTS[dialect]
    streamed = of_frames(values_of(frames_of(client, name)))
    body = client.dialect.body(Snapshot(HEADER, FoldedAnswer.of(ENDED[name])))
    assert streamed == of_body(body)


@pytest.mark.parametrize("name", ENDED)
def test_all_dialects_tell_of_the_same_money(name: str) -> None:
    bodies = [
        client.dialect.body(Snapshot(HEADER, FoldedAnswer.of(ENDED[name])))
        for client in DIALECTS.values()
    ]
    assert all(body["midstream"]["hold"] == bodies[0]["midstream"]["hold"] for body in bodies)
