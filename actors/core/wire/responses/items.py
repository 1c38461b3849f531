"""OpenAI Responses, the items of an answer and the members of a response that frames and bodies share.

Owns the shape of an output item. Each block of an answer is an item of its own: a text or a refusal is
a message with one part, a stretch of reasoning and a tool call are items of their kind. What was thought
is an item's content, which servers of open models fill, and its summary too, which is what SDKs show.
A block that a provider of this format alone understands is the item as it came.

Rules: an item's id is made from its completion's and its block's number alone, so every replica gives
the same; a tool call that was cut is an item whose status is `incomplete`, which is how the format
says that it must not be called.

Source: OpenAI API reference, "The response object", read 2026-11-22.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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

__all__ = [
    "DEFAULT_MEMBERS",
    "INCOMPLETE_REASONS",
    "CALL_TYPES",
    "BlockText",
    "OpaqueBlock",
    "call_item",
    "completion_ulid",
    "decorated",
    "fold_items",
    "item_id",
    "message_item",
    "opaque_item",
    "reasoning_item",
    "refusal_item",
    "status_of",
]

INCOMPLETE_REASONS: Mapping[FinishReason, str] = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
}
"""Finish reasons of a response that is `incomplete` rather than `completed`."""

DEFAULT_MEMBERS: Mapping[str, Any] = {
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
"""What a response says of members that nobody set."""

CALL_TYPES: Mapping[ToolKind, str] = {
    ToolKind.FUNCTION: "function_call",
    ToolKind.CUSTOM: "custom_tool_call",
    ToolKind.TOOL_SEARCH: "tool_search_call",
    ToolKind.LOCAL_SHELL: "local_shell_call",
    # What a provider runs comes as it came; this is for what another format calls so.
    ToolKind.HOSTED: "function_call",
}
"""What a call of a tool of that kind is called as an item."""

_PREFIXES: Mapping[str, str] = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "tool_search_call": "tsc",
    "local_shell_call": "lsh",
}

_OUR_ID = re.compile(rf"(?:{'|'.join(_PREFIXES.values())})_([0-9A-Z]{{26}})_[0-9]{{1,9}}", re.ASCII)

_ENDED = "response.output_item.done"
_ANNOTATED = "response.output_text.annotation.added"


def item_id(kind: str, completion_id: str, block: int) -> str:
    """Return the id of the item of that type that a block is."""
    return f"{_PREFIXES[kind]}_{completion_id.rpartition('_')[2]}_{block}"


def completion_ulid(id: str) -> str | None:
    """Return the ULID of the completion that an item's id was made for, None for an id of others."""
    made = _OUR_ID.fullmatch(id)
    return None if made is None else made[1]


def message_item(id: str, text: str, status: str) -> dict[str, Any]:
    return _message(id, {"type": "output_text", "text": text, "annotations": []}, status)


def refusal_item(id: str, text: str, status: str) -> dict[str, Any]:
    return _message(id, {"type": "refusal", "refusal": text}, status)


def reasoning_item(id: str, text: str, signature: str | None, status: str) -> dict[str, Any]:
    """Return what was thought; the provider's seal on it is its encrypted content."""
    item = {
        "id": id,
        "type": "reasoning",
        "status": status,
        "summary": [{"type": "summary_text", "text": text}] if text else [],
        "content": [{"type": "reasoning_text", "text": text}] if text else [],
    }
    if signature is not None:
        item["encrypted_content"] = signature
    return item


def call_item(
    id: str,
    call_id: str,
    name: str,
    arguments: str,
    status: str,
    kind: ToolKind = ToolKind.FUNCTION,
    namespace: str | None = None,
) -> dict[str, Any]:
    """Return a call; what of its arguments is an object in this format is {} until it is whole."""
    item: dict[str, Any] = {
        "id": id,
        "type": CALL_TYPES[kind],
        "status": status,
        "call_id": call_id,
    }
    match kind:
        case ToolKind.TOOL_SEARCH:
            return {**item, "execution": "client", "arguments": _object(arguments)}
        case ToolKind.LOCAL_SHELL:
            return {**item, "action": _action(arguments)}
        case ToolKind.CUSTOM:
            item |= {"name": name, "input": arguments}
        case _:
            item |= {"name": name, "arguments": arguments}
    return item if namespace is None else {**item, "namespace": namespace}


def opaque_item(payloads: Sequence[Mapping[str, Any]], status: str) -> dict[str, Any] | None:
    """Return the item that a block is, as it was last told; None where nobody told it.

    Args: status: of an item whose end was not told.
    """
    told = [payload for payload in payloads if isinstance(payload.get("item"), Mapping)]
    if not told:
        return None
    item = dict(told[-1]["item"])
    if "status" in item and told[-1].get("type") != _ENDED:
        item["status"] = status
    return item


def decorated(item: dict[str, Any], payloads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an item with what only this format has of it: citations, and members of its own."""
    if not payloads:
        return item
    told = opaque_item(payloads, "") or {}
    item = {**{name: told[name] for name in told if name not in item}, **item}
    annotations = [payload.get("annotation") for payload in payloads if _is_citation(payload)]
    parts = item.get("content")
    if annotations and isinstance(parts, list) and parts and "annotations" in parts[0]:
        item["content"] = [{**parts[0], "annotations": annotations}, *parts[1:]]
    return item


class BlockText:
    """One block of an answer in the making, and the item that it is.

    Args:
        opening: the event that opened it.
        completion_id: makes the item's id.
    """

    __slots__ = ("_call", "_kind", "id", "payloads", "pieces", "type")

    def __init__(self, opening: Event, completion_id: str) -> None:
        self._kind = type(opening)
        self._call = opening if isinstance(opening, ToolCallStarted) else None
        kind = _ITEM_TYPES[self._kind] if self._call is None else CALL_TYPES[self._call.kind]
        self.type = kind
        self.id = item_id(kind, completion_id, getattr(opening, "block"))  # noqa: B009
        self.pieces: list[str] = []
        self.payloads: list[Mapping[str, Any]] = []  # What only this format has of it.

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def item(self, status: str, signature: str | None = None) -> dict[str, Any]:
        """Return the item as far as it goes."""
        return decorated(self._plain(status, signature), self.payloads)

    def _plain(self, status: str, signature: str | None) -> dict[str, Any]:
        call = self._call
        if call is not None:
            return call_item(
                self.id, call.call_id, call.name, self.text, status, call.kind, call.namespace
            )
        if self._kind is ReasoningDelta:
            return reasoning_item(self.id, self.text, signature, status)
        make = refusal_item if self._kind is RefusalDelta else message_item
        return make(self.id, self.text, status)


class OpaqueBlock:
    """A block that is an item of a provider's own, as it came."""

    __slots__ = ("payloads",)

    def __init__(self) -> None:
        self.payloads: list[Mapping[str, Any]] = []

    @property
    def has_ended(self) -> bool:
        """Whether the item's own end was among what came."""
        return any(payload.get("type") == _ENDED for payload in self.payloads)

    def item(self, status: str, signature: str | None = None) -> dict[str, Any] | None:
        """Return the item as it was told; one that was cut says so."""
        return opaque_item(self.payloads, status)


def fold_items(events: Iterable[Event], completion_id: str) -> list[dict[str, Any]]:
    """Return the output of an answer as far as the events go, in the order in which blocks opened."""
    blocks: dict[int, BlockText | OpaqueBlock] = {}
    items: dict[int, dict[str, Any] | None] = {}
    for event in events:
        match event:
            case ToolCallStarted() | TextDelta() | ReasoningDelta() | RefusalDelta():
                block = blocks.get(event.block)
                if not isinstance(block, BlockText):
                    block = _opened(event, completion_id, block)
                    blocks[event.block] = block
                if not isinstance(event, ToolCallStarted):
                    block.pieces.append(event.text)
            case ToolCallDelta():
                called = blocks[event.block]
                assert isinstance(called, BlockText), "a call is opened by its start"
                called.pieces.append(event.arguments)
            case Opaque():
                if event.format is Dialect.RESPONSES:
                    blocks.setdefault(event.block, OpaqueBlock()).payloads.append(event.payload)
            case BlockFinished(number, is_complete, signature):
                if number in blocks:
                    items[number] = blocks[number].item(status_of(is_complete), signature)
    shown = (items.get(number) or block.item("in_progress") for number, block in blocks.items())
    return [item for item in shown if item is not None]


def _opened(event: Event, completion_id: str, before: OpaqueBlock | None) -> BlockText:
    block = BlockText(event, completion_id)
    if before is not None:
        block.payloads = before.payloads
    return block


def status_of(is_complete: bool) -> str:
    """Return the status of an item that has ended."""
    return "completed" if is_complete else "incomplete"


def _is_citation(payload: Mapping[str, Any]) -> bool:
    return payload.get("type") == _ANNOTATED


def _object(text: str) -> dict[str, Any]:
    """Return the object that the text is, {} where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _action(arguments: str) -> dict[str, Any]:
    """Return what a shell is to do; a command in one piece is one for its own shell to read."""
    action = _object(arguments)
    command = action.get("command")
    if isinstance(command, str):
        command = ["bash", "-lc", command]
    elif not isinstance(command, list):
        command = []
    env = action.get("env")
    plain = {"type": "exec", "command": [str(word) for word in command]}
    return {**action, **plain, "env": env if isinstance(env, dict) else {}}


def _message(id: str, part: dict[str, Any], status: str) -> dict[str, Any]:
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }


_ITEM_TYPES: Mapping[type, str] = {
    TextDelta: "message",
    RefusalDelta: "message",
    ReasoningDelta: "reasoning",
}
