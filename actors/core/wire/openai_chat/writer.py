"""OpenAI chat completions, the answer as a server writes it: frames of a stream, or one body.

Owns the members of a chunk and of a completion. Each method of `ChatStreamWriter` returns the bytes
of one frame; `b"id: 7\\n" + frame` is the same frame with an id. Usage is whatever object the caller
gives, so a dialect can add its own figures to it.

Rules: nothing of a stream's fixed part is encoded twice; text leaves as UTF-8; a tool call that was
cut is never presented as callable.

Source: OpenAI API reference, "Chat completion chunk" and "Chat completion", read 2026-11-22.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from actors.core.events import (
    BlockFinished,
    Delta,
    Event,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.request import ToolKind

__all__ = [
    "DONE",
    "ChatStreamWriter",
    "completion_body",
    "error_frame",
    "fold_message",
    "members_of_call",
    "tool_call",
]

DONE = b"data: [DONE]\n\n"
"""The end of a stream that ended properly; never sent after an error."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ChatStreamWriter:
    """Writes one answer as a stream of chunks.

    Every method takes `usage`, for a server that reports it with each frame.
    """

    def __init__(self, completion_id: str, model: str, created: int) -> None:
        head = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._head = "data: " + _encode(head)[:-1] + ',"choices":['
        self._delta_head = self._head + '{"index":0,"delta":{'
        self._calls: dict[int, int] = {}  # Index of a tool call by its block.
        self._lengths: dict[str, int] = {}  # Of lists among vendors' members, by name.
        self._customs: set[int] = set()  # Indices of the calls whose input is text.

    def role(self, usage: Mapping[str, Any] | None = None) -> bytes:
        """Return the first frame."""
        return self._chunk('"role":"assistant","content":""', usage)

    def text(self, text: str, usage: Mapping[str, Any] | None = None) -> bytes:
        return self._chunk('"content":' + _encode(text), usage)

    def reasoning(self, text: str, usage: Mapping[str, Any] | None = None) -> bytes:
        return self._chunk('"reasoning_content":' + _encode(text), usage)

    def refusal(self, text: str, usage: Mapping[str, Any] | None = None) -> bytes:
        return self._chunk('"refusal":' + _encode(text), usage)

    def tool_call(
        self,
        index: int,
        call_id: str,
        name: str,
        usage: Mapping[str, Any] | None = None,
        *,
        kind: ToolKind = ToolKind.FUNCTION,
    ) -> bytes:
        """Return the frame that opens a tool call."""
        call = {"index": index, **tool_call(call_id, name, "", kind)}
        return self._chunk('"tool_calls":' + _encode([call]), usage)

    def tool_arguments(
        self, index: int, text: str, usage: Mapping[str, Any] | None = None
    ) -> bytes:
        """Return a frame with a piece of a tool call's arguments, or of its input."""
        member = '"custom":{"input":' if index in self._customs else '"function":{"arguments":'
        call = f'[{{"index":{index},{member}{_encode(text)}}}}}]'
        return self._chunk('"tool_calls":' + call, usage)

    def function_call(self, event: ToolCallStarted | ToolCallDelta) -> bytes:
        """Return the frame of a call in the format's older words, which have but one."""
        if isinstance(event, ToolCallStarted):
            call = _encode({"name": event.name, "arguments": ""})
        else:
            call = f'{{"arguments":{_encode(event.arguments)}}}'
        return self._chunk('"function_call":' + call, None)

    def members(self, event: Opaque, usage: Mapping[str, Any] | None = None) -> bytes:
        """Return a frame with a vendor's members: of the call that the block is, else of the delta."""
        if event.block in self._calls:
            index = self._calls[event.block]
            # OpenAI's client asks every piece of a call for its function.
            is_custom = index in self._customs
            own = {"custom": {"input": ""}} if is_custom else {"function": {"arguments": ""}}
            call = {"index": index, **own, **members_of_call(event.payload)}
            return self._chunk('"tool_calls":' + _encode([call]), usage)
        members = {name: self._numbered(name, part) for name, part in event.payload.items()}
        return self._chunk(_encode(members)[1:-1], usage)

    def _numbered(self, name: str, member: Any) -> Any:
        """Return a list with the places of its elements: OpenAI's client adds up lists by them."""
        if not isinstance(member, list) or not all(isinstance(part, dict) for part in member):
            return member
        first = self._lengths.get(name, 0)
        self._lengths[name] = first + len(member)
        return [{"index": first + at, **part} for at, part in enumerate(member)]

    def delta(self, event: Delta, usage: Mapping[str, Any] | None = None) -> bytes:
        """Return the frame of a delta; tool calls get their indices in the order they open."""
        match event:
            case TextDelta():
                return self.text(event.text, usage)
            case ReasoningDelta():
                return self.reasoning(event.text, usage)
            case RefusalDelta():
                return self.refusal(event.text, usage)
            case ToolCallStarted():
                index = self._calls.setdefault(event.block, len(self._calls))
                if event.kind is ToolKind.CUSTOM:
                    self._customs.add(index)
                return self.tool_call(index, event.call_id, event.name, usage, kind=event.kind)
            case ToolCallDelta():
                return self.tool_arguments(self._calls[event.block], event.arguments, usage)

    def finish(self, reason: str, usage: Mapping[str, Any] | None = None) -> bytes:
        """Return the frame with the finish reason."""
        tail = f'}},"finish_reason":{_encode(reason)}}}]'
        return _frame(self._delta_head + tail, usage)

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        """Return the frame with no choice that `include_usage` asks for."""
        return _frame(self._head + "]", usage)

    def _chunk(self, members: str, usage: Mapping[str, Any] | None) -> bytes:
        return _frame(self._delta_head + members + '},"finish_reason":null}]', usage)


def error_frame(error: Mapping[str, Any]) -> bytes:
    """Return the frame of a failure after the headers; nothing follows it."""
    return ('data: {"error":' + _encode(dict(error)) + "}\n\n").encode("utf-8", "replace")


def fold_message(events: Iterable[Event]) -> dict[str, Any]:
    """Return the assistant's message as far as the events go.

    `content` is null where there are only tool calls or a refusal; a call that is not complete is
    left out.
    """
    texts: dict[type, list[str]] = {TextDelta: [], ReasoningDelta: [], RefusalDelta: []}
    started: dict[int, ToolCallStarted] = {}
    arguments: dict[int, list[str]] = {}
    calls: list[dict[str, Any]] = []
    for event in events:
        match event:
            case TextDelta() | ReasoningDelta() | RefusalDelta():
                texts[type(event)].append(event.text)
            case ToolCallStarted():
                started[event.block] = event
                arguments[event.block] = []
            case ToolCallDelta():
                arguments[event.block].append(event.arguments)
            case BlockFinished(block, True) if block in started:
                call, text = started[block], "".join(arguments[block])
                calls.append(tool_call(call.call_id, call.name, text, call.kind))
    return _message({kind: "".join(pieces) for kind, pieces in texts.items()}, calls)


def completion_body(
    events: Iterable[Event],
    *,
    completion_id: str,
    model: str,
    created: int,
    finish_reason: str | None,
    usage: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the body of an answer that was not asked for as a stream: a fold over its events."""
    choice = {"index": 0, "message": fold_message(events), "finish_reason": finish_reason}
    return {
        "id": completion_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": dict(usage),
    }


def _message(texts: Mapping[type, str], calls: list[dict[str, Any]]) -> dict[str, Any]:
    content, refusal = texts[TextDelta], texts[RefusalDelta]
    is_null = not content and bool(calls or refusal)
    message: dict[str, Any] = {"role": "assistant", "content": None if is_null else content}
    if texts[ReasoningDelta]:
        message["reasoning_content"] = texts[ReasoningDelta]
    if refusal:
        message["refusal"] = refusal
    if calls:
        message["tool_calls"] = calls
    return message


def tool_call(
    call_id: str, name: str, arguments: str, kind: ToolKind = ToolKind.FUNCTION
) -> dict[str, Any]:
    """Return a call as a message has it; what is no custom tool is a function in this format."""
    if kind is ToolKind.CUSTOM:
        return {"id": call_id, "type": "custom", "custom": {"name": name, "input": arguments}}
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def members_of_call(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a call out of a delta that has them: it names no other call's."""
    calls = payload.get("tool_calls")
    if isinstance(calls, list) and calls and isinstance(calls[0], Mapping):
        return {name: member for name, member in calls[0].items() if name != "index"}
    return dict(payload)


def _frame(chunk: str, usage: Mapping[str, Any] | None) -> bytes:
    if usage is not None:
        chunk += ',"usage":' + _encode(dict(usage))
    # A lone surrogate has no UTF-8; it becomes a question mark rather than an exception.
    return (chunk + "}\n\n").encode("utf-8", "replace")
