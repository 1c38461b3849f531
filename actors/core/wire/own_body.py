"""The client's own body, where its provider speaks the same wire format: what all formats do with it.

A body is gone through once, where the request is admitted (`prepared`), and completed where it is sent
(`request_body` of each format). What needs no mend stays the very object that came in.

Rules: of the members of a body only those are changed that Midstream answers for, that the tables of
`pass_through` hold back, or that every provider of the format refuses as they stand. What is left out is
named by its path as the client would write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.core.wire.hosted_tools import is_hosted_tool
from actors.core.wire.pass_through import permitted
from actors.core.wire.recipient import Recipient

__all__ = [
    "PreparedBody",
    "drop_tool_members",
    "each",
    "keep_tools",
    "kept_tools",
    "named",
    "with_member",
]

_Mend = Callable[[dict[str, Any]], Mapping[str, Any] | None]


@dataclass(slots=True)
class PreparedBody:
    """A body that may be sent, and the paths of what was left out of it.

    Of a tool that was left out the path is its type; `tools_left_out` has its name too.
    """

    body: dict[str, Any]
    left_out: dict[str, None] = field(default_factory=dict)
    tools_left_out: frozenset[str] = frozenset()


def named(names: Iterable[str]) -> dict[str, None]:
    return dict.fromkeys(names)


def each(values: Any, mend: _Mend) -> list[Any] | None:
    """Return a list with each object in it mended, without those for which the mend gives None.

    What is no list gives None; the very list comes back where nothing changed.
    """
    if not isinstance(values, list):
        return None
    mended = [mend(value) if isinstance(value, dict) else value for value in values]
    if all(new is old for new, old in zip(mended, values, strict=True)):
        return values
    return [value for value in mended if value is not None]


def with_member(value: dict[str, Any], name: str, member: Any) -> dict[str, Any]:
    """Return an object with a member changed, itself where it is the same."""
    return value if value.get(name) is member else {**value, name: member}


def keep_tools(prepared: PreparedBody, recipient: Recipient, mend: _Mend) -> None:
    """Mend the tools of a body, leave out hosted ones that may not go on, and note them."""
    tools = prepared.body.get("tools")
    if isinstance(tools, list):
        prepared.body["tools"] = kept_tools(prepared, tools, recipient, mend)


def kept_tools(
    prepared: PreparedBody, tools: list[Any], recipient: Recipient, mend: _Mend
) -> list[Any] | None:
    """Return a list of tools as it may go on, and note what is left out of it."""
    hosted = [
        tool
        for tool in tools
        if isinstance(tool, dict)
        and is_hosted_tool(recipient.wire, tool)
        and not permitted(str(tool.get("type")), recipient.pass_through)
    ]
    prepared.left_out |= named(str(tool.get("type")) for tool in hosted)
    prepared.tools_left_out |= frozenset(
        word
        for tool in hosted
        for name in ("type", "name")
        if isinstance(word := tool.get(name), str)
    )
    if hosted:
        tools = [tool for tool in tools if not any(tool is one for one in hosted)]
    return each(tools, mend)


def drop_tool_members(body: dict[str, Any], names: Iterable[str]) -> None:
    """Drop what means nothing without tools, where there are none."""
    if not body.get("tools"):
        for name in names:
            body.pop(name, None)
