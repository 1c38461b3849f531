"""Anthropic Messages, the answer as a server writes it: frames of a stream, or one body.

Owns the members of a message, of its blocks and of the frames. Each method of `MessagesStreamWriter`
returns the bytes of one frame; `b"id: 7\\n" + frame` is the same frame with an id. Usage is whatever
object the caller gives, so a dialect can add its own figures to it.

Rules: nothing of a stream's or a block's fixed part is encoded twice; text leaves as UTF-8; blocks
follow each other and never overlap; a tool call that was cut is never presented as callable.

Source: Anthropic API reference, "Messages" and "Streaming Messages", read 2026-11-22.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from actors.core.events import (
    BlockFinished,
    Event,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.wire.anthropic.redacted import redacted_data

__all__ = [
    "MESSAGE_STOP",
    "PING",
    "MessagesStreamWriter",
    "error_frame",
    "fold_content",
    "message_body",
    "stop_reason",
    "text_block",
    "thinking_block",
    "tool_input",
    "tool_use_block",
]

MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
"""The end of a stream that ended properly; never sent after an error."""

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_STOP_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.CANCELLED: "cancelled",
}


def stop_reason(reason: FinishReason, stop_sequence: str | None = None) -> str | None:
    """Return the format's word, None for an answer that failed.

    `cancelled` is no word of Anthropic's; its clients take any.
    """
    if reason is FinishReason.STOP and stop_sequence is not None:
        return "stop_sequence"
    return _STOP_REASONS.get(reason)


class MessagesStreamWriter:
    """Writes one answer as a stream of events: one block at a time, numbered from 0.

    Args: has_block_ids: whether every frame of a block carries a `block_id` beside its index.
    """

    def __init__(self, message_id: str, model: str, *, has_block_ids: bool = False) -> None:
        self._message_id = message_id
        self._model = model
        self._has_block_ids = has_block_ids
        self._index = -1
        self._place = ""  # The open block's own members.
        self._head = ""  # All of a delta's frame before its text.

    def message_start(self, usage: Mapping[str, Any]) -> bytes:
        """Return the first frame."""
        message = message_body(
            (), message_id=self._message_id, model=self._model, reason=None, usage=usage
        )
        return _frame("message_start", '{"type":"message_start","message":' + _encode(message))

    def text_start(self) -> bytes:
        return self._block_start({"type": "text", "text": ""}, "text_delta", "text")

    def thinking_start(self) -> bytes:
        block = {"type": "thinking", "thinking": "", "signature": ""}
        return self._block_start(block, "thinking_delta", "thinking")

    def redacted_thinking_start(self, data: str) -> bytes:
        """Return the frame of a block that has no deltas."""
        return self._block_start({"type": "redacted_thinking", "data": data}, "", "")

    def tool_use_start(self, call_id: str, name: str) -> bytes:
        block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        return self._block_start(block, "input_json_delta", "partial_json")

    def opaque_start(self, block: Mapping[str, Any]) -> bytes:
        """Return the frame that opens a block as it came."""
        return self._block_start(block, "", "")

    def opaque_delta(self, delta: Mapping[str, Any]) -> bytes:
        """Return a piece of the open block as it came."""
        return _frame("content_block_delta", self._delta_head() + _encode(dict(delta)))

    def delta(self, text: str) -> bytes:
        """Return a piece of the open block: its text, or JSON text of its input."""
        return (self._head + _encode(text) + "}}\n\n").encode("utf-8", "replace")

    def signature(self, signature: str) -> bytes:
        """Return the seal on the open block of thinking."""
        delta = _encode({"type": "signature_delta", "signature": signature})
        return _frame("content_block_delta", self._delta_head() + delta)

    def block_stop(self, **members: Any) -> bytes:
        """Return the frame that closes the open block, with members of the caller's own."""
        tail = "".join(f",{_encode(name)}:{_encode(value)}" for name, value in members.items())
        return _frame("content_block_stop", '{"type":"content_block_stop"' + self._place + tail)

    def message_delta(
        self,
        reason: str | None,
        usage: Mapping[str, Any],
        *,
        stop_sequence: str | None = None,
        **members: Any,
    ) -> bytes:
        """Return the frame with the stop reason and the usage, and members of the caller's own."""
        value = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": stop_sequence},
            "usage": dict(usage),
            **members,
        }
        return _frame("message_delta", _encode(value)[:-1])

    def _block_start(self, block: Mapping[str, Any], delta: str, member: str) -> bytes:
        self._index += 1
        self._place = f',"index":{self._index}'
        if self._has_block_ids:
            self._place += f',"block_id":"block_{self._index}"'
        self._head = (
            "event: content_block_delta\ndata: "
            + self._delta_head()
            + f'{{"type":"{delta}","{member}":'
        )
        head = '{"type":"content_block_start"' + self._place + ',"content_block":'
        return _frame("content_block_start", head + _encode(dict(block)))

    def _delta_head(self) -> str:
        return '{"type":"content_block_delta"' + self._place + ',"delta":'


def error_frame(error: Mapping[str, Any], **members: Any) -> bytes:
    """Return the frame of a failure after the headers; nothing follows it."""
    return _frame("error", _encode({"type": "error", "error": dict(error), **members})[:-1])


def fold_content(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the message's blocks as far as the events go; a call that is not complete is left out."""
    blocks: dict[int, dict[str, Any]] = {}
    pieces: dict[int, list[str]] = {}
    for event in events:
        match event:
            case TextDelta() | RefusalDelta():
                blocks.setdefault(event.block, {"type": "text"})
                pieces.setdefault(event.block, []).append(event.text)
            case ReasoningDelta():
                blocks.setdefault(event.block, {"type": "thinking"})
                pieces.setdefault(event.block, []).append(event.text)
            case ToolCallStarted(block, call_id, name, _):
                blocks[block] = {"type": "tool_use", "id": call_id, "name": name}
                pieces[block] = []
            case ToolCallDelta():
                pieces[event.block].append(event.arguments)
            case BlockFinished(block, is_complete, signature) if block in blocks:
                blocks[block] |= {"is_complete": is_complete, "signature": signature}
    whole = (_block(block, "".join(pieces[number])) for number, block in sorted(blocks.items()))
    return [block for block in whole if block is not None]


def _block(block: dict[str, Any], text: str) -> dict[str, Any] | None:
    match block["type"]:
        case "text":
            return text_block(text)
        case "thinking":
            return thinking_block(text, block.get("signature"))
    if not block.get("is_complete", False):
        return None
    return tool_use_block(block["id"], block["name"], text)


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def thinking_block(text: str, signature: str | None) -> dict[str, Any]:
    """Return a block of thinking, or of thinking that the provider keeps to itself."""
    data = redacted_data(signature)
    if data is not None:
        return {"type": "redacted_thinking", "data": data}
    return {"type": "thinking", "thinking": text, "signature": signature or ""}


def tool_use_block(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": tool_input(arguments)}


def tool_input(arguments: str) -> dict[str, Any]:
    """Return a call's arguments as the object that the format wants.

    A model may have written something else; the reader is shown that rather than nothing.
    """
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return {"arguments": arguments}
    return value if isinstance(value, dict) else {"arguments": value}


def message_body(
    content: Iterable[Mapping[str, Any]],
    *,
    message_id: str,
    model: str,
    reason: str | None,
    usage: Mapping[str, Any],
    stop_sequence: str | None = None,
) -> dict[str, Any]:
    """Return the body of an answer that was not asked for as a stream."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [dict(block) for block in content],
        "stop_reason": reason,
        "stop_sequence": stop_sequence,
        "usage": dict(usage),
    }


def _frame(event: str, data: str) -> bytes:
    # A lone surrogate has no UTF-8; it becomes a question mark rather than an exception.
    return f"event: {event}\ndata: {data}}}\n\n".encode("utf-8", "replace")
