"""The tools of a Responses request, and the choice among them, as neutral values.

    function, custom         run at the client; those of a `namespace` know it
    tool_search, local_shell run at the client, unless the client asks for the server's
    any other type           HOSTED: the provider's to run, or of a kind that it alone knows

A choice without tools means nothing and is none. What a tool is called in a choice is its name, and of
one that has none its type.

Source: OpenAI API reference, "Create a model response", `tools` and `tool_choice`, read 2026-11-25.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from actors.core.errors import InvalidRequest
from actors.core.request import Tool, ToolChoice, ToolChoiceMode, ToolKind
from serve_app.dialects.responses.body import ChoiceMember

__all__ = ["tool_choice", "tools_of", "without_secrets"]

_CLIENT_KINDS = {"tool_search": ToolKind.TOOL_SEARCH, "local_shell": ToolKind.LOCAL_SHELL}

_PLAIN = frozenset({"type", "name", "description", "parameters", "strict"})
"""Members of a function that a neutral tool has a place for."""


def tools_of(values: Iterable[Mapping[str, Any]]) -> tuple[Tool, ...]:
    """Return the tools, those of a namespace each by itself; of two with one name the first."""
    tools: dict[tuple[ToolKind, str, str | None], Tool] = {}
    for value in values:
        for tool in _tools(value):
            tools.setdefault((tool.kind, tool.name, tool.namespace), tool)
    return tuple(tools.values())


_SECRETS = ("authorization", "headers")
"""Members of an `mcp` tool that let whoever has them act for the caller."""


def without_secrets(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return tools as they may be kept and shown again."""
    return [
        {name: member for name, member in tool.items() if name not in _SECRETS}
        if tool.get("type") == "mcp"
        else tool
        for tool in tools
    ]


def tool_choice(
    choice: str | ChoiceMember | None, tools: Sequence[Tool], *, is_strict: bool = False
) -> ToolChoice | None:
    """Return the choice, None where it means nothing.

    Args:
        is_strict: refuse a choice that has no tools.
    Raises: InvalidRequest: it names none of the tools.
    """
    if choice is None:
        return None
    if not tools:
        if is_strict and choice not in ("auto", "none"):
            raise InvalidRequest("tool_choice needs tools.", param="tool_choice")
        return None
    if isinstance(choice, str):
        return ToolChoice(ToolChoiceMode(choice))
    if choice.type == "allowed_tools":
        return _allowed(choice, tools)
    if choice.type in ("function", "custom"):
        if choice.name is None:
            raise _refusal("name is required.", "name", reason="missing_field")
        if all(tool.name != choice.name for tool in tools):
            raise _refusal(f"{choice.name[:128]!r} is not among the tools.", "name")
        return ToolChoice(ToolChoiceMode.NAMED, choice.name)
    name = next((tool.name for tool in tools if _is_type(tool, choice.type)), None)
    if name is None:
        told = ", ".join(sorted({_type_of(tool) for tool in tools}))
        raise _refusal(
            f"no tool is of type {choice.type[:128]!r}; there are: {told[:512]}.", "type"
        )
    return ToolChoice(ToolChoiceMode.NAMED, name)


def _tools(value: Mapping[str, Any]) -> Iterator[Tool]:
    kind = value["type"]
    match kind:
        case "function":
            yield _function(value, None)
        case "custom":
            yield _custom(value, None)
        case "namespace":
            for inner in value["tools"]:
                make = _custom if inner["type"] == "custom" else _function
                yield make(inner, value["name"])
        case _:
            is_client_s = kind in _CLIENT_KINDS and value.get("execution") in (None, "client")
            yield Tool(
                kind,
                value.get("description"),
                value.get("parameters"),
                kind=_CLIENT_KINDS[kind] if is_client_s else ToolKind.HOSTED,
                definition=value,
            )


def _function(value: Mapping[str, Any], namespace: str | None) -> Tool:
    beside = {name: member for name, member in value.items() if name not in _PLAIN}
    return Tool(
        value["name"],
        value.get("description"),
        value.get("parameters"),
        value.get("strict"),
        namespace=namespace,
        definition=beside or None,
    )


def _custom(value: Mapping[str, Any], namespace: str | None) -> Tool:
    beside = {name: member for name, member in value.items() if name not in _PLAIN}
    return Tool(
        value["name"],
        value.get("description"),
        kind=ToolKind.CUSTOM,
        namespace=namespace,
        definition=beside or None,
    )


def _allowed(choice: ChoiceMember, tools: Sequence[Tool]) -> ToolChoice:
    if not choice.tools:
        raise _refusal("tools is required.", "tools", reason="missing_field")
    named = [each.get("name") or each.get("type") for each in choice.tools]
    known = {tool.name for tool in tools}
    for index, (each, name) in enumerate(zip(choice.tools, named, strict=True)):
        is_known = name in known or any(
            _is_type(tool, str(each.get("type"))) or tool.namespace == name for tool in tools
        )
        if not isinstance(name, str) or not is_known:
            raise _refusal("it is not among the tools.", f"tools[{index}]")
    allowed = [name for one in named for name in _names_of(one, tools)]
    return ToolChoice(ToolChoiceMode(choice.mode or "auto"), allowed=tuple(dict.fromkeys(allowed)))


def _names_of(named: Any, tools: Sequence[Tool]) -> list[str]:
    """Return the tools that are allowed by one name: its own, or all of its namespace."""
    inner = [tool.name for tool in tools if tool.namespace == named]
    return inner or [named]


def _is_type(tool: Tool, type: str) -> bool:
    """Return whether a tool is of that type; some types have dated names beside their plain one."""
    if tool.kind not in (ToolKind.FUNCTION, ToolKind.CUSTOM):
        return tool.name.startswith(type) or type.startswith(tool.name)
    return False


def _type_of(tool: Tool) -> str:
    is_named = tool.kind in (ToolKind.FUNCTION, ToolKind.CUSTOM)
    return tool.kind.value if is_named else tool.name


def _refusal(says: str, member: str, *, reason: str = "invalid_format") -> InvalidRequest:
    param = f"tool_choice.{member}"
    return InvalidRequest(f"{param}: {says}", param=param, reason=reason)
