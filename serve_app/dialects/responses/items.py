"""The items of a conversation: what came in as it is kept and shown again, and as neutral messages.

An item is kept in one normal form, JSON as this API shows it: a text is a message with one part, parts
have this API's names, a member that is null is not there; all else of it stays as it came. It is what a
later response that names this one is built from. What an assistant thought, said and called in a row is
one neutral message.

Rules: an item keeps the id that its client gave it; any other's is made from the response's id and the
item's place, so that every replica makes the same. What has no neutral form (a hosted tool's call, a
part of a type that is not known here) is in no message: `body_only` says what becomes of it.

Source: contract of the Responses dialect, section 3 ("Input-item normalising"); OpenAI API reference,
"Create a model response", `input`, read 2026-11-25.
"""

from __future__ import annotations

import json
import mimetypes
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from actors.core.request import (
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolKind,
    ToolResultPart,
)

__all__ = [
    "BRINGING",
    "CALL_NAMES",
    "PART_TYPES",
    "WITH_PARTS",
    "Item",
    "identified",
    "messages_of",
    "normal_items",
    "tools_in",
]

Item = Mapping[str, Any]

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}

PART_TYPES = ("input_text", "output_text", "input_image", "input_file", "refusal")
"""Parts that have a neutral form."""

WITH_PARTS = ("function_call_output", "custom_tool_call_output")
"""Items whose output is a text or parts."""

BRINGING = ("additional_tools", "tool_search_output")
"""Items that bring tools along."""

CALL_NAMES = {"tool_search_call": "tool_search", "local_shell_call": "local_shell"}
"""What the tools are called whose calls do not say it."""

_OUTPUT_KINDS = {
    "function_call_output": ToolKind.FUNCTION,
    "custom_tool_call_output": ToolKind.CUSTOM,
    "tool_search_output": ToolKind.TOOL_SEARCH,
    "local_shell_call_output": ToolKind.LOCAL_SHELL,
}

_ID_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}

_NAMED_BY_CALL = ("function_call", "function_call_output")


# What came in.


def normal_items(value: str | Sequence[Item]) -> list[dict[str, Any]]:
    """Return what came in, once it is known to be sound, in the form in which it is kept."""
    if isinstance(value, str):
        content = [{"type": "input_text", "text": value}]
        return [{"type": "message", "role": "user", "content": content}]
    return [_normal(item) for item in value]


def identified(items: Sequence[Item], wire_id: str) -> list[dict[str, Any]]:
    """Return the items of a response, in their order, each with its id."""
    return [{"id": _item_id(item, index, wire_id), **item} for index, item in enumerate(items)]


def tools_in(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Return the definitions of tools that items bring along, in their order."""
    return [tool for item in items if item["type"] in BRINGING for tool in item["tools"]]


def _normal(item: Item) -> dict[str, Any]:
    kept = {name: member for name, member in item.items() if member is not None}
    kind = kept.get("type")
    if kind is None:
        kind = "message" if "role" in kept else "item_reference"
    named = {"id": kept.pop("id")} if "id" in kept else {}
    kept = {**named, "type": kind, **{name: kept[name] for name in kept if name != "type"}}
    if kind == "message":
        text = "output_text" if kept["role"] == "assistant" else "input_text"
        kept["content"] = _parts(kept["content"], text)
    elif kind in WITH_PARTS and isinstance(kept["output"], list):
        kept["output"] = _parts(kept["output"], "input_text")
    return kept


def _parts(content: str | Sequence[Item], text: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": text, "text": content}]
    return [_normal_part(part, text) for part in content]


def _normal_part(part: Item, text: str) -> dict[str, Any]:
    kept = {name: member for name, member in part.items() if member is not None}
    match kept["type"]:
        case "input_text" | "output_text" | "text":
            return {**kept, "type": text}
        case "input_image" | "image_url":
            location = kept["image_url"]
            if isinstance(location, Mapping):
                detail = kept.get("detail") or location.get("detail")
                kept["image_url"] = location["url"]
                if detail is not None:
                    kept["detail"] = detail
            return {**kept, "type": "input_image"}
        case _:
            return kept


def _item_id(item: Item, index: int, wire_id: str) -> str:
    kind = item["type"]
    prefix = _ID_PREFIXES.get(kind, "item")
    if kind in _NAMED_BY_CALL:
        return f"{prefix}_{item['call_id']}"
    digest = uuid.uuid5(uuid.NAMESPACE_OID, f"{wire_id}|{kind}|{index}").hex
    return f"{prefix}_{digest}"


# As messages.


def messages_of(items: Sequence[Item]) -> tuple[Message, ...]:
    """Return items, in their normal form, as neutral messages."""
    messages = [message for item in items if (message := _message(item)) is not None]
    turns = groupby(enumerate(messages), key=lambda pair: _turn(*pair))
    return tuple(_joined([message for _, message in turn]) for _, turn in turns)


def _turn(index: int, message: Message) -> int:
    """Return what neighbours of one turn share."""
    return -1 if message.role is Role.ASSISTANT else index


def _joined(messages: list[Message]) -> Message:
    if len(messages) == 1:
        return messages[0]
    return Message(messages[0].role, tuple(part for message in messages for part in message.parts))


def _message(item: Item) -> Message | None:
    kind = item["type"]
    if kind == "message":
        parts = tuple(_neutral(item["content"]))
        return Message(_ROLES[item["role"]], parts) if parts else None
    if kind == "reasoning":
        thought = _thought(item)
        return None if thought is None else Message(Role.ASSISTANT, (thought,))
    if kind in _OUTPUT_KINDS:
        result = _result(item)
        return None if result is None else Message(Role.TOOL, (result,))
    call = _call(item)
    return None if call is None else Message(Role.ASSISTANT, (call,))


def _call(item: Item) -> ToolCallPart | None:
    call_id, namespace = item.get("call_id"), item.get("namespace") or None
    if call_id is None:
        return None  # The provider's own, or of no type that is known here.
    match item["type"]:
        case "function_call":
            return ToolCallPart(call_id, item["name"], item["arguments"], namespace=namespace)
        case "custom_tool_call":
            return ToolCallPart(call_id, item["name"], item["input"], ToolKind.CUSTOM, namespace)
        case "tool_search_call":
            arguments = item.get("arguments", {})
            text = arguments if isinstance(arguments, str) else _encode(arguments)
            return ToolCallPart(call_id, "tool_search", text, ToolKind.TOOL_SEARCH)
        case "local_shell_call":
            text = _encode(item["action"])
            return ToolCallPart(call_id, "local_shell", text, ToolKind.LOCAL_SHELL)
        case _:
            return None


def _result(item: Item) -> ToolResultPart | None:
    kind = _OUTPUT_KINDS[item["type"]]
    call_id = item.get("call_id")
    if kind is ToolKind.LOCAL_SHELL:
        call_id = call_id or item.get("id")  # The reference has the call's id there.
    if call_id is None:
        return None
    if kind is ToolKind.TOOL_SEARCH:
        return ToolResultPart(call_id, _found(item["tools"]), kind=kind)
    output = item["output"]
    if isinstance(output, str):
        return ToolResultPart(call_id, output, kind=kind)
    parts = list(_neutral(output))
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    media = tuple(part for part in parts if isinstance(part, ImagePart | FilePart))
    return ToolResultPart(call_id, text, media=media, kind=kind)


def _found(tools: Sequence[Item]) -> str:
    """Return what a model is told of tools that were found; it is given them as its tools, too."""
    found = [
        {name: tool[name] for name in ("namespace", "name", "description") if tool.get(name)}
        for tool in tools
    ]
    return _encode({"tools": found})


def _thought(item: Item) -> ReasoningPart | None:
    pieces = item.get("content") or item.get("summary") or ()
    text = "\n\n".join(piece["text"] for piece in pieces)
    seal = item.get("encrypted_content") or None
    return ReasoningPart(text, seal) if text or seal else None


def _neutral(parts: Iterable[Item]) -> Iterator[Part]:
    for part in parts:
        match part["type"]:
            case "input_text" | "output_text":
                if part["text"]:  # An empty one means nothing, and some formats refuse it.
                    yield TextPart(part["text"])
            case "refusal":
                yield RefusalPart(part["refusal"])
            case "input_image":
                yield ImagePart(part["image_url"], part.get("detail"))
            case "input_file":
                yield _file(part)


def _file(part: Item) -> FilePart:
    name, data = part.get("filename"), part.get("file_data")
    if not data:
        return FilePart(part["file_url"], name)
    if not data.startswith("data:"):
        kind = mimetypes.guess_type(name or "")[0] or "application/octet-stream"
        data = f"data:{kind};base64,{data}"
    return FilePart(data, name)


def _encode(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
