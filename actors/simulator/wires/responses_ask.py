"""OpenAI Responses, what a body asks the simulator for: its items as messages, its tools, its limits.

What an assistant said, thought and called in a row is one message, as it was before it became items.

Source: OpenAI API reference, "Create a model response", read 2026-11-22.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolKind,
    ToolResultPart,
)
from actors.simulator.request import (
    Ask,
    AskRefused,
    checked_tokens,
    integer_member,
    list_member,
    object_member,
    text_member,
)
from actors.simulator.tools import AUTO, tool_to_call

__all__ = ["ask_of", "input_items"]

_ROLES = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
}


def ask_of(value: dict[str, Any]) -> Ask:
    """Read and check a body.

    Raises: AskRefused.
    """
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise AskRefused("Missing required parameter: 'model'.", param="model")
    is_background = value.get("background") is True
    if is_background and value.get("store") is False:
        raise AskRefused("Background responses have to be stored.", param="store")
    messages = (*_instructions(value), *_messages(value.get("input")))
    tools = tuple(_tools(value.get("tools"), "tools"))
    tool, is_tool_forced = tool_to_call(tools, _tool_choice(value.get("tool_choice")), messages)
    return Ask(
        model=model,
        prompt=[value.get("instructions"), value.get("input")],
        messages=messages,
        body=value,
        tools=tools,
        tool=tool,
        is_tool_forced=is_tool_forced,
        output_tokens_max=checked_tokens(value, "max_output_tokens"),
        seed=integer_member(value, "seed"),
        response_format=_response_format(value),
        is_stream=value.get("stream") is True,
        is_background=is_background,
    )


def input_items(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what came in as a list shows it, in the order of the body; every item has an id."""
    value = body.get("input")
    items = [_user(value)] if isinstance(value, str) else list_member(value, "input")
    return [{"id": f"item_{i}", **item} for i, item in enumerate(items)]


def _user(text: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}


def _instructions(value: Mapping[str, Any]) -> Iterator[Message]:
    if value.get("instructions") is not None:
        yield Message(Role.SYSTEM, (TextPart(text_member(value, "instructions", "body")),))


def _messages(value: Any) -> Iterator[Message]:
    if isinstance(value, str):
        yield Message(Role.USER, (TextPart(value),))
        return
    items = list_member(value, "input")
    if not items:
        raise AskRefused("Missing required parameter: 'input'.", param="input")
    # A message of its own each, but for what one assistant's turn is made of.
    read = [(_item(item, f"input[{i}]"), i) for i, item in enumerate(items)]
    for _, turn in groupby(read, key=lambda pair: _turn(pair[0].role, pair[1])):
        parts = [(message.role, part) for message, _ in turn for part in message.parts]
        yield Message(parts[0][0] if parts else Role.ASSISTANT, tuple(part for _, part in parts))


def _turn(role: Role, number: int) -> int:
    return -1 if role is Role.ASSISTANT else number


def _item(value: Any, path: str) -> Message:
    if not isinstance(value, dict):
        raise AskRefused(f"Invalid type for '{path}': expected an object.", param=path)
    match value.get("type", "message"):
        case "message":
            role = _ROLES.get(text_member(value, "role", path))
            if role is None:
                raise AskRefused(f"Invalid value: '{path}.role'.", param=f"{path}.role")
            return Message(role, tuple(_content(value.get("content"), f"{path}.content")))
        case "function_call" | "custom_tool_call" as kind:
            call_id, name = text_member(value, "call_id", path), text_member(value, "name", path)
            arguments = text_member(
                value, "arguments" if kind == "function_call" else "input", path
            )
            return Message(Role.ASSISTANT, (ToolCallPart(call_id, name, arguments),))
        case "function_call_output" | "custom_tool_call_output":
            parts = _content(value.get("output"), f"{path}.output")
            text = "".join(part.text for part in parts if isinstance(part, TextPart))
            return Message(Role.TOOL, (ToolResultPart(text_member(value, "call_id", path), text),))
        case "reasoning":
            pieces = list_member(value.get("content") or value.get("summary"), f"{path}.content")
            text = "".join(text_member(p, "text", path) for p in pieces if isinstance(p, dict))
            return Message(Role.ASSISTANT, (ReasoningPart(text),))
        case "compaction":
            return Message(Role.SYSTEM, (TextPart(text_member(value, "encrypted_content", path)),))
        case str() as kind if kind.endswith("_output"):
            return Message(
                Role.TOOL, (ToolResultPart(str(value.get("call_id")), json.dumps(value)),)
            )
        case "item_reference":
            raise AskRefused("Nothing is kept that an item could be of.", param=f"{path}.type")
        case str():  # What other tools did, and whatever else stands in a history.
            return Message(Role.ASSISTANT, (TextPart(json.dumps(value, ensure_ascii=False)),))
    raise AskRefused(f"Invalid value: '{path}.type'.", param=f"{path}.type")


def _content(value: Any, path: str) -> Iterator[Part]:
    if isinstance(value, str):
        yield TextPart(value)
        return
    for i, part in enumerate(list_member(value, path)):
        yield _part(part, f"{path}[{i}]")


def _part(value: Any, path: str) -> Part:
    match value.get("type") if isinstance(value, dict) else None:
        case "input_text" | "output_text" | "text":
            return TextPart(text_member(value, "text", path))
        case "refusal":
            return RefusalPart(text_member(value, "refusal", path))
        case "input_image":
            detail = value.get("detail")
            url = str(value.get("image_url") or value.get("file_id") or "")
            return ImagePart(url, detail if isinstance(detail, str) else None)
        case "input_file" | "input_audio":
            return FilePart(str(value.get("file_data") or value.get("file_url") or ""))
    raise AskRefused(f"Invalid value: '{path}.type'.", param=f"{path}.type")


def _response_format(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the format in the chat format's words; plain text is no format."""
    wanted = object_member(object_member(value, "text"), "format")
    kind = wanted.get("type", "text")
    if kind == "json_object":
        return {"type": kind}
    if kind == "json_schema":
        members = {name: member for name, member in wanted.items() if name != "type"}
        return {"type": kind, "json_schema": members}
    if kind != "text":
        raise AskRefused("Unknown response format.", param="text.format.type")
    return None


def _tools(value: Any, path: str, namespace: str | None = None) -> Iterator[Tool]:
    for i, tool in enumerate(list_member(value, path)):
        where = f"{path}[{i}]"
        if isinstance(tool, dict) and tool.get("type") == "namespace":
            name = text_member(tool, "name", where)
            yield from _tools(tool.get("tools"), f"{where}.tools", name)
        else:
            yield _tool(tool, where, namespace)


def _tool(value: Any, path: str, namespace: str | None) -> Tool:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        raise AskRefused(f"Invalid value: '{path}.type'.", param=f"{path}.type")
    if kind not in ("function", "custom"):
        known = ToolKind(kind) if kind in set(ToolKind) else ToolKind.HOSTED
        return Tool(kind, kind=known, definition=value)
    description, parameters = value.get("description"), value.get("parameters")
    return Tool(
        name=text_member(value, "name", path),
        description=description if isinstance(description, str) else None,
        parameters=parameters if isinstance(parameters, dict) else None,
        kind=ToolKind(kind),
        namespace=namespace,
    )


def _tool_choice(value: Any) -> ToolChoice:
    if isinstance(value, str) and value in ("none", "required"):
        return ToolChoice(ToolChoiceMode(value))
    if not isinstance(value, dict):
        return AUTO
    if value.get("type") == "allowed_tools":
        names = tuple(
            str(tool.get("name") or tool.get("type"))
            for tool in list_member(value.get("tools"), "tool_choice.tools")
            if isinstance(tool, dict)
        )
        is_required = value.get("mode") == "required"
        mode = ToolChoiceMode.REQUIRED if is_required else ToolChoiceMode.AUTO
        return ToolChoice(mode, allowed=names)
    if value.get("type") not in ("function", "custom"):
        return AUTO  # A tool that the provider runs, and nobody calls.
    return ToolChoice(ToolChoiceMode.NAMED, text_member(value, "name", "tool_choice"))
