"""OpenAI Responses, the items of an answer and the members of a response that frames and bodies share.

Owns the shape of an output item. Each block of an answer is an item of its own: a text or a refusal is
a message with one part, a stretch of reasoning and a tool call are items of their kind.

Rules: an item's id is made from its completion's and its block's number alone, so every replica gives
the same; a tool call that was cut is an item whose status is `incomplete`, which is how the format
says that it must not be called.

Source: OpenAI API reference, "The response object", read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
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

__all__ = [
    "DEFAULT_MEMBERS",
    "INCOMPLETE_REASONS",
    "BlockText",
    "call_item",
    "fold_items",
    "item_id",
    "message_item",
    "reasoning_item",
    "refusal_item",
    "status_of",
]

INCOMPLETE_REASONS: Mapping[FinishReason, str] = MappingProxyType(
    {
        FinishReason.LENGTH: "max_output_tokens",
        FinishReason.CONTENT_FILTER: "content_filter",
    }
)
"""Finish reasons of a response that is `incomplete` rather than `completed`."""

DEFAULT_MEMBERS: Mapping[str, Any] = MappingProxyType(
    {
        "background": False,
        "completed_at": None,
        "conversation": None,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": None,
        "store": True,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": None,
        "top_p": None,
        "truncation": "disabled",
        "user": None,
    }
)
"""What a response says of members that nobody set."""

_PREFIXES: Mapping[str, str] = MappingProxyType(
    {"message": "msg", "reasoning": "rs", "function_call": "fc"}
)


def item_id(kind: str, completion_id: str, block: int) -> str:
    """Return the id of the item of that type that a block is."""
    return f"{_PREFIXES[kind]}_{completion_id.rpartition('_')[2]}_{block}"


def message_item(id: str, text: str, status: str) -> dict[str, Any]:
    return _message(id, {"type": "output_text", "text": text, "annotations": []}, status)


def refusal_item(id: str, text: str, status: str) -> dict[str, Any]:
    return _message(id, {"type": "refusal", "refusal": text}, status)


def reasoning_item(id: str, text: str, signature: str | None, status: str) -> dict[str, Any]:
    """Return what was thought; the provider's seal on it is its encrypted content."""
    content = [{"type": "reasoning_text", "text": text}] if text else []
    item = {"id": id, "type": "reasoning", "status": status, "summary": [], "content": content}
    if signature is not None:
        item["encrypted_content"] = signature
    return item


def call_item(id: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    return {
        "id": id,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


class BlockText:
    """One block of an answer in the making, and the item that it is.

    Args:
        opening: the event that opened it.
        completion_id: makes the item's id.
    """

    __slots__ = ("_call", "_kind", "id", "pieces")

    def __init__(self, opening: Event, completion_id: str) -> None:
        self._kind = type(opening)
        self._call = opening if isinstance(opening, ToolCallStarted) else None
        self.id = item_id(_ITEM_TYPES[self._kind], completion_id, getattr(opening, "block"))  # noqa: B009
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def item(self, status: str, signature: str | None = None) -> dict[str, Any]:
        """Return the item as far as it goes."""
        if self._call is not None:
            return call_item(self.id, self._call.call_id, self._call.name, self.text, status)
        if self._kind is ReasoningDelta:
            return reasoning_item(self.id, self.text, signature, status)
        make = refusal_item if self._kind is RefusalDelta else message_item
        return make(self.id, self.text, status)


def fold_items(events: Iterable[Event], completion_id: str) -> list[dict[str, Any]]:
    """Return the output of an answer as far as the events go, in the order in which blocks opened."""
    blocks: dict[int, BlockText] = {}
    items: dict[int, dict[str, Any]] = {}
    for event in events:
        match event:
            case ToolCallStarted():
                blocks[event.block] = BlockText(event, completion_id)
            case TextDelta() | ReasoningDelta() | RefusalDelta():
                if event.block not in blocks:
                    blocks[event.block] = BlockText(event, completion_id)
                blocks[event.block].pieces.append(event.text)
            case ToolCallDelta():
                blocks[event.block].pieces.append(event.arguments)
            case BlockFinished(block, is_complete, signature):
                items[block] = blocks[block].item(status_of(is_complete), signature)
    return [items.get(block) or blocks[block].item("in_progress") for block in blocks]


def status_of(is_complete: bool) -> str:
    """Return the status of an item that has ended."""
    return "completed" if is_complete else "incomplete"


def _message(id: str, part: dict[str, Any], status: str) -> dict[str, Any]:
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }


_ITEM_TYPES: Mapping[type, str] = MappingProxyType(
    {
        TextDelta: "message",
        RefusalDelta: "message",
        ReasoningDelta: "reasoning",
        ToolCallStarted: "function_call",
    }
)
