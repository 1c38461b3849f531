"""How a client of each dialect reads a stream and a body: text, reasoning, calls, the finish."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from actors.core.events import FinishReason
from actors.core.record import CompletionRecord
from actors.core.request import Dialect
from serve_app.dialects.base import DialectRules, Snapshot
from serve_app.dialects.chat import CHAT
from serve_app.dialects.messages import MESSAGES
from serve_app.dialects.model_response import MODEL_RESPONSE
from serve_app.dialects.responses import RESPONSES

__all__ = ["CLIENTS", "SHOWN_FINISH", "Client", "Told"]


@dataclass
class Told:
    """What a client learns; `reasoning` is None where the dialect shows none, or showed none here."""

    dialect: Dialect
    text: str = ""
    reasoning: str | None = None
    calls: list[list[Any]] = field(default_factory=list)
    finish: str | None = None
    is_failed: bool = False


_R = FinishReason
SHOWN_FINISH: Mapping[Dialect, Mapping[FinishReason, tuple[str, ...]]] = MappingProxyType(
    {
        Dialect.CHAT: {
            _R.STOP: ("stop",),
            _R.LENGTH: ("length",),
            _R.TOOL_CALLS: ("tool_calls",),
            _R.CONTENT_FILTER: ("content_filter",),
        },
        Dialect.MESSAGES: {
            _R.STOP: ("end_turn", "stop_sequence", "refusal", "pause_turn"),
            _R.LENGTH: ("max_tokens", "model_context_window_exceeded"),
            _R.TOOL_CALLS: ("tool_use",),
            _R.CONTENT_FILTER: ("refusal",),
        },
        Dialect.RESPONSES: {
            _R.STOP: ("completed",),
            _R.LENGTH: ("max_output_tokens",),
            _R.TOOL_CALLS: ("completed",),
            _R.CONTENT_FILTER: ("content_filter",),
        },
        Dialect.MODEL_RESPONSE: {
            _R.STOP: ("stop",),
            _R.LENGTH: ("length",),
            _R.TOOL_CALLS: ("toolCalls",),
            _R.CONTENT_FILTER: ("content_filter",),
        },
    }
)


@dataclass(frozen=True)
class Client:
    """A dialect, and how a client of it reads."""

    dialect: DialectRules
    read_frames: Callable[[list[dict[str, Any]]], Told]
    read_body: Callable[[dict[str, Any]], Told]

    def streamed(self, record: CompletionRecord) -> Told:
        encoder = self.dialect.encoder(record.header, request_id="req_1")
        frames = [frame for event in record.events for frame in encoder.encode(event)]
        datas = (frame.split(b"data: ", 1)[1] for frame in frames)
        return self.read_frames([json.loads(data) for data in datas if data.startswith(b"{")])

    def body(self, record: CompletionRecord) -> Told:
        return self.read_body(self.dialect.body(Snapshot.of(record)))


def _chat_frames(values: list[dict[str, Any]]) -> Told:
    told = Told(Dialect.CHAT)
    calls: dict[int, list[Any]] = {}
    for value in values:
        if "error" in value and not value.get("choices"):
            told.is_failed = True
            continue
        for choice in value["choices"]:
            delta = choice["delta"]
            told.text += (delta.get("content") or "") + (delta.get("refusal") or "")
            if delta.get("reasoning_content"):
                told.reasoning = (told.reasoning or "") + delta["reasoning_content"]
            for piece in delta.get("tool_calls") or ():
                call = calls.setdefault(piece["index"], ["", "", ""])
                call[0] += piece.get("id") or ""
                called = piece.get("function") or piece.get("custom") or {}
                call[1] += called.get("name") or ""
                call[2] += called.get("arguments") or called.get("input") or ""
            told.finish = choice.get("finish_reason") or told.finish
    assert list(calls) == list(range(len(calls))), "indices are dense, in order"
    told.calls = list(calls.values())
    return told


def _called(call: dict[str, Any]) -> list[Any]:
    called = call.get("function") or call["custom"]
    return [call["id"], called["name"], called.get("arguments", called.get("input"))]


def _choice_body(dialect: Dialect, finish: str, tool_calls: str, body: dict[str, Any]) -> Told:
    choice = body["choices"][0]
    message = choice["message"]
    return Told(
        dialect,
        (message.get("content") or "") + (message.get("refusal") or ""),
        message.get("reasoning_content"),
        [_called(call) for call in message.get(tool_calls) or ()],
        choice[finish],
        body["status"] == "failed",
    )


def _messages_frames(values: list[dict[str, Any]]) -> Told:
    told = Told(Dialect.MESSAGES)
    open_at = None
    index = -1
    for value in values:
        match value["type"]:
            case "content_block_start":
                assert open_at is None, "blocks never overlap"
                index = open_at = index + 1
                assert value["index"] == index
                block = value["content_block"]
                if block["type"] == "tool_use":
                    told.calls.append([block["id"], block["name"], ""])
            case "content_block_delta":
                assert value["index"] == open_at, "a delta of the open block"
                _messages_delta(value["delta"], told)
            case "content_block_stop":
                assert value["index"] == open_at, "the open block stops"
                open_at = None
            case "message_delta":
                told.finish = value["delta"]["stop_reason"]
            case "error":
                told.is_failed = True
    assert told.is_failed or open_at is None, "every block stops"
    for call in told.calls:
        call[2] = call[2] or "{}"
    return told


def _messages_delta(delta: dict[str, Any], told: Told) -> None:
    match delta["type"]:
        case "text_delta":
            told.text += delta["text"]
        case "thinking_delta":
            told.reasoning = (told.reasoning or "") + delta["thinking"]
        case "input_json_delta":
            told.calls[-1][2] += delta["partial_json"]


def _messages_body(body: dict[str, Any]) -> Told:
    told = Told(Dialect.MESSAGES, finish=body["stop_reason"], is_failed="error" in body)
    for block in body["content"]:
        match block["type"]:
            case "text":
                told.text += block["text"]
            case "thinking":
                told.reasoning = (told.reasoning or "") + block["thinking"]
            case "tool_use":
                told.calls.append([block["id"], block["name"], block["input"]])
    return told


def _responses_frames(values: list[dict[str, Any]]) -> Told:
    """Read deltas, and hold the ends of items and the last response to them."""
    items: dict[int, dict[str, Any]] = {}
    streamed = Told(Dialect.RESPONSES)
    for value in values:
        kind = value["type"]
        if kind == "response.output_item.added":
            assert value["output_index"] == len(items), "indices are dense, in order"
            items[value["output_index"]] = value["item"]
        elif kind in ("response.output_text.delta", "response.refusal.delta"):
            streamed.text += value["delta"]
        elif kind == "response.output_item.done":
            assert items[value["output_index"]]["id"] == value["item"]["id"]
            items[value["output_index"]] = value["item"]
    told = _responses_body(values[-1]["response"])
    if not told.is_failed:
        assert values[-1]["response"]["output"] == list(items.values()), "the end has what was said"
    assert told.is_failed or len(streamed.text) == len(told.text), "deltas are what the items say"
    return told


def _responses_body(body: dict[str, Any]) -> Told:
    told = Told(Dialect.RESPONSES, is_failed=body["status"] == "failed")
    incomplete = body.get("incomplete_details") or {}
    told.finish = incomplete.get("reason") or body["status"]
    for item in body["output"]:
        match item["type"]:
            case "message":
                told.text += "".join(p.get("text") or p.get("refusal", "") for p in item["content"])
            case "reasoning":
                parts = item.get("content") or item.get("summary") or ()
                told.reasoning = (told.reasoning or "") + "".join(part["text"] for part in parts)
            case "function_call" if item["status"] == "completed":
                told.calls.append([item["call_id"], item["name"], item["arguments"]])
            case "custom_tool_call" if item.get("status", "completed") == "completed":
                told.calls.append([item["call_id"], item["name"], item["input"]])
    return told


def _model_response_frames(values: list[dict[str, Any]]) -> Told:
    told = Told(Dialect.MODEL_RESPONSE)
    calls: dict[int, list[Any]] = {}
    for value in values:
        if "item" in value and value["item"]["type"] == "function_call":
            calls[value["index"]] = [value["item"]["id"], value["item"]["name"], None]
        elif "arguments" in value:
            calls[value["index"]][2] = value["arguments"]
        elif "delta" in value and value["index"] not in calls:
            told.text += value["delta"]
    told.calls = [call for _, call in sorted(calls.items()) if call[2] is not None]
    told.finish = values[-1].get("finishReason")
    told.is_failed = values[-1].get("status") == "failed"
    return told


CLIENTS: Mapping[Dialect, Client] = MappingProxyType(
    {
        Dialect.CHAT: Client(
            CHAT,
            _chat_frames,
            lambda body: _choice_body(Dialect.CHAT, "finish_reason", "tool_calls", body),
        ),
        Dialect.MESSAGES: Client(MESSAGES, _messages_frames, _messages_body),
        Dialect.RESPONSES: Client(RESPONSES, _responses_frames, _responses_body),
        Dialect.MODEL_RESPONSE: Client(
            MODEL_RESPONSE,
            _model_response_frames,
            lambda body: _choice_body(Dialect.MODEL_RESPONSE, "finishReason", "toolCalls", body),
        ),
    }
)
