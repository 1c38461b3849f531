"""The tools of a chat request, and the choice among them, in neutral words.

A function and a custom tool run at the client; a tool of any other type is the provider's, and stays as
it came. A choice may name a tool of each kind, or limit the model to some of them (`allowed_tools`,
written flat or nested).

Source: OpenAI API reference, "Create chat completion", `tools` and `tool_choice`, read 2026-11-25.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actors.core.errors import InvalidRequest
from actors.core.request import Tool, ToolChoice, ToolChoiceMode, ToolKind
from serve_app.dialects.beyond import Beyond
from serve_app.dialects.chat.body import ChatBody, CustomTool, FunctionTool, OtherMember
from serve_app.dialects.json_body import missing

__all__ = ["tool_choice", "tools_of"]

_MODES = {
    "auto": ToolChoiceMode.AUTO,
    "none": ToolChoiceMode.NONE,
    "required": ToolChoiceMode.REQUIRED,
    "any": ToolChoiceMode.REQUIRED,  # Mistral's word
}

_PARAM = "tool_choice"


def tools_of(body: ChatBody, beyond: Beyond) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for member in body.tools or ():
        if isinstance(member, FunctionTool):
            function = member.function
            beyond.unknown("tools[]", member)
            beyond.unknown("tools[].function", function)
            tools.append(
                Tool(function.name, function.description, function.parameters, function.strict)
            )
        elif isinstance(member, CustomTool):
            custom = member.custom
            beyond.unknown("tools[]", member)
            tools.append(
                Tool(
                    custom.name,
                    custom.description,
                    kind=ToolKind.CUSTOM,
                    definition=custom.model_dump(exclude_none=True),
                )
            )
        else:
            definition = member.model_dump()
            tools.append(Tool(member.type, kind=ToolKind.HOSTED, definition=definition))
    return tuple(tools)


def tool_choice(choice: str | OtherMember | None, tools: tuple[Tool, ...]) -> ToolChoice | None:
    """Return the choice; among no tools there is none.

    Raises: InvalidRequest: it names a tool that is not there.
    """
    if choice is None or not tools:
        return None
    if isinstance(choice, str):
        return ToolChoice(_MODES[choice])
    members = choice.model_extra or {}
    if choice.type == "allowed_tools":
        return _allowed(members, tools)
    if choice.type in _MODES:
        return ToolChoice(_MODES[choice.type])
    if choice.type not in ("function", "custom"):
        return ToolChoice(ToolChoiceMode.NAMED, _hosted(choice.type, tools))
    name = _name(choice.type, members)
    if name is None:
        param = f"{_PARAM}.{choice.type}.name"
        raise missing(param)
    if all(tool.name != name for tool in tools):
        raise InvalidRequest(
            f"tool_choice names a {choice.type} that is not among the tools.",
            param=f"{_PARAM}.{choice.type}.name",
        )
    return ToolChoice(ToolChoiceMode.NAMED, name)


def _hosted(kind: str, tools: tuple[Tool, ...]) -> str:
    if all(tool.name != kind or tool.kind is not ToolKind.HOSTED for tool in tools):
        raise InvalidRequest(
            f"tool_choice: {kind[:64]!r} is not the type of a tool here; use 'function', 'custom', "
            "'allowed_tools' or the type of one of the tools.",
            param=f"{_PARAM}.type",
        )
    return kind


def _name(kind: str, members: dict[str, Any]) -> str | None:
    """Return the name that a choice, or an entry of the allowed tools, has in it or beside its type."""
    inner = members.get(kind)
    name = inner.get("name") if isinstance(inner, dict) else members.get("name")
    return name if isinstance(name, str) and name else None


def _allowed(members: dict[str, Any], tools: tuple[Tool, ...]) -> ToolChoice:
    inner = members.get("allowed_tools")
    is_nested = isinstance(inner, dict)
    said: dict[str, Any] = inner if isinstance(inner, dict) else members
    path = f"{_PARAM}.allowed_tools" if is_nested else _PARAM
    mode, entries = said.get("mode", "auto"), said.get("tools")
    if mode not in ("auto", "required"):
        raise InvalidRequest(
            f"{path}.mode: Input should be 'auto' or 'required'.", param=f"{path}.mode"
        )
    if not isinstance(entries, list) or not entries:
        raise missing(f"{path}.tools")
    names = tuple(dict.fromkeys(_allowed_names(entries, f"{path}.tools")))
    if any(all(tool.name != name for tool in tools) for name in names):
        raise InvalidRequest(
            f"{path}.tools names a tool that is not among the tools.", param=f"{path}.tools"
        )
    return ToolChoice(_MODES[mode], allowed=names)


def _allowed_names(entries: list[Any], path: str) -> Iterator[str]:
    for index, entry in enumerate(entries):
        kind = entry.get("type") if isinstance(entry, dict) else None
        if not isinstance(kind, str):
            raise missing(f"{path}[{index}].type")
        name = _name(kind, entry) if kind in ("function", "custom") else kind
        if name is None:
            raise missing(f"{path}[{index}].name")
        yield name
