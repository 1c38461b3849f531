"""OpenAI Responses, what a body asks the simulator for: its items as messages, its tools, its limits.

What an assistant said, thought and called in a row is one message, as it was before it became items.

Source: OpenAI API reference, "Create a model response", read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from actors.core.request import (
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
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
    tools = tuple(
        _tool(tool, f"tools[{i}]")
        for i, tool in enumerate(list_member(value.get("tools"), "tools"))
    )
    return Ask(
        model=model,
        prompt=[value.get("instructions"), value.get("input")],
        messages=(*_instructions(value), *_messages(value.get("input"))),
        body=value,
        tools=tools,
        tool=_tool_to_call(tools, value.get("tool_choice")),
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
        case "function_call":
            call_id, name = text_member(value, "call_id", path), text_member(value, "name", path)
            arguments = text_member(value, "arguments", path)
            return Message(Role.ASSISTANT, (ToolCallPart(call_id, name, arguments),))
        case "function_call_output":
            parts = _content(value.get("output"), f"{path}.output")
            text = "".join(part.text for part in parts if isinstance(part, TextPart))
            return Message(Role.TOOL, (ToolResultPart(text_member(value, "call_id", path), text),))
        case "reasoning":
            pieces = list_member(value.get("content") or value.get("summary"), f"{path}.content")
            text = "".join(text_member(p, "text", path) for p in pieces if isinstance(p, dict))
            return Message(Role.ASSISTANT, (ReasoningPart(text),))
        case "compaction":
            return Message(Role.SYSTEM, (TextPart(text_member(value, "encrypted_content", path)),))
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
            url = text_member(value, "image_url", path)
            return ImagePart(url, detail if isinstance(detail, str) else None)
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


def _tool(value: Any, path: str) -> Tool:
    if not isinstance(value, dict) or value.get("type") != "function":
        raise AskRefused(f"Invalid value: '{path}.type'.", param=f"{path}.type")
    description, parameters = value.get("description"), value.get("parameters")
    return Tool(
        name=text_member(value, "name", path),
        description=description if isinstance(description, str) else None,
        parameters=parameters if isinstance(parameters, dict) else None,
    )


def _tool_to_call(tools: tuple[Tool, ...], choice: Any) -> Tool | None:
    """Return the named tool, else the first one, None where the client wants none called."""
    if not tools or choice == "none":
        return None
    if isinstance(choice, dict):
        name = text_member(choice, "name", "tool_choice")
        named = next((tool for tool in tools if tool.name == name), None)
        if named is None:
            raise AskRefused(
                f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice"
            )
        return named
    return tools[0]
