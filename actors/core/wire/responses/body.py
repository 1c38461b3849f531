"""OpenAI Responses, a client's own body on its way to a provider of this format.

Owns what of it is mended: see `own_body`. The provider is asked to store nothing, so that an item which
only names what it stored means nothing to it.

Source: as `request`, and "Reasoning models" (encrypted reasoning); read 2026-11-25.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.core.request import Dialect, StartCommand
from actors.core.wire.mends import media_url, object_schema, with_call_id
from actors.core.wire.own_body import (
    PreparedBody,
    drop_tool_members,
    each,
    keep_tools,
    kept_tools,
    named,
    with_member,
)
from actors.core.wire.pass_through import held_back
from actors.core.wire.recipient import Recipient
from actors.core.wire.responses.request import OURS, TOOL_MEMBERS

__all__ = ["own_request_body", "prepared"]

_RESOLVED = ("previous_response_id", "provider")
"""Members that this runtime has acted on; the dialect tells of what it did not."""

_REPLACED = frozenset({"max_output_tokens", "background"})

_BRINGING = ("additional_tools", "tool_search_output")
"""Items that bring tools along."""

_SEALS = "reasoning.encrypted_content"
_SEALED = "input[].encrypted_content"


def prepared(body: Mapping[str, Any], recipient: Recipient) -> PreparedBody:
    """Return what of a body may be sent."""
    members = {name: value for name, value in body.items() if name not in _RESOLVED}
    kept, names = held_back(members, own=OURS, pass_through=recipient.pass_through)
    left_out = named(names)
    for name in ("conversation", "prompt"):
        if name not in recipient.pass_through and kept.pop(name, None) is not None:
            left_out[name] = None
    own = PreparedBody(kept, left_out)
    items = kept.get("input")
    if isinstance(items, list):
        kept["input"] = each(items, lambda item: _item(item, recipient, own))
    keep_tools(own, recipient, _tool)
    _keep_allowed(own)
    if recipient.is_openai and kept.get("reasoning") and kept.get("store") is not False:
        kept["include"] = _with_seals(kept.get("include"))
    if not _brings_tools(kept.get("input")):
        drop_tool_members(kept, TOOL_MEMBERS)
    return own


def own_request_body(command: StartCommand, *, native_background: bool = False) -> dict[str, Any]:
    """Return a prepared body with what this runtime answers for."""
    own = command.request.body
    assert own is not None, "there is a body to send"
    body = {name: value for name, value in own.items() if name not in _REPLACED}
    body |= {"model": command.upstream_model, "stream": True, "store": native_background}
    if native_background:
        body["background"] = True
    if command.max_output_tokens is not None:
        body["max_output_tokens"] = command.max_output_tokens
    return body


def _keep_allowed(own: PreparedBody) -> None:
    """Leave out of a choice among tools those that are left out of the tools."""
    choice = own.body.get("tool_choice")
    if own.tools_left_out and isinstance(choice, dict) and isinstance(choice.get("tools"), list):
        allowed = [
            tool
            for tool in choice["tools"]
            if not (isinstance(tool, dict) and tool.get("type") in own.tools_left_out)
        ]
        own.body["tool_choice"] = {**choice, "tools": allowed}


def _with_seals(include: Any) -> list[Any]:
    """Return what to include, seals with it: who lets an answer be stored means to go on with it.

    It is stored here and not at the provider, which takes back what it thought under a seal alone. Only a
    model that thinks has any, and refuses no such request.
    """
    asked = include if isinstance(include, list) else []
    return asked if _SEALS in asked else [*asked, _SEALS]


def _brings_tools(items: Any) -> bool:
    """Return whether an item of the input brings tools along."""
    return isinstance(items, list) and any(
        isinstance(item, dict) and item.get("type") in _BRINGING and item.get("tools")
        for item in items
    )


def _item(item: dict[str, Any], recipient: Recipient, own: PreparedBody) -> dict[str, Any] | None:
    """Return an item, None for one that its provider cannot read."""
    item = with_call_id(item, "call_id", recipient.call_id)
    if item.get("type") == "reasoning":
        return _reasoning(item, recipient, own.left_out)
    if item.get("type") in _BRINGING and isinstance(item.get("tools"), list):
        return with_member(item, "tools", kept_tools(own, item["tools"], recipient, _tool))
    for name in ("content", "output"):
        if isinstance(item.get(name), list):
            item = with_member(item, name, each(item[name], _part))
    return item


def _reasoning(
    item: dict[str, Any], recipient: Recipient, left_out: dict[str, None]
) -> dict[str, Any] | None:
    """Return what a model thought: sealed for this provider, or as its text, or not at all.

    OpenAI's own service knows its reasoning by the seal alone.
    """
    said = item.get("encrypted_content")
    own = recipient.opened(said if isinstance(said, str) else None, Dialect.RESPONSES)
    if own is not None:
        # What is sealed stands for what was thought; OpenAI refuses the text beside it.
        drops = "content" if item.get("content") else ""
        kept = {name: value for name, value in item.items() if name != drops}
        return item if own == said and not drops else {**kept, "encrypted_content": own}
    if said is not None:
        left_out[_SEALED] = None
    if item.get("content") and not recipient.is_openai:
        # An id would name what the provider was asked not to store.
        return {name: value for name, value in item.items() if name not in _OF_THE_SEALED}
    left_out[_SEALED] = None
    return None


_OF_THE_SEALED = ("encrypted_content", "id")


def _part(part: dict[str, Any]) -> dict[str, Any]:
    url = part.get("image_url")
    return with_member(part, "image_url", media_url(url)) if isinstance(url, str) else part


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") == "namespace":
        return with_member(tool, "tools", each(tool.get("tools"), _tool))
    if tool.get("type") != "function":
        return tool
    parameters = tool.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        return tool
    mended = object_schema(parameters, with_properties=True)
    return tool if mended is parameters else {**tool, "parameters": mended}
