"""Anthropic Messages, a client's own body on its way to a provider of this format.

Owns what of it is mended: see `own_body`. Source: as `request`, and "Extended thinking",
"Mid-conversation system messages"; read 2026-11-25.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.core.request import Dialect, StartCommand
from actors.core.wire.anthropic.request import (
    OURS,
    TEMPERATURE_MAX,
    TOOL_MEMBERS,
    thinking_members,
    trimmed,
)
from actors.core.wire.mends import inline_data, object_schema, with_call_id
from actors.core.wire.own_body import (
    PreparedBody,
    drop_tool_members,
    each,
    keep_tools,
    named,
    with_member,
)
from actors.core.wire.pass_through import held_back
from actors.core.wire.recipient import Recipient
from actors.core.wire.turns import reminder

__all__ = ["own_request_body", "prepared"]

_SYSTEM_IN_CONVERSATION = "mid-conversation-system"
"""What of `anthropic-beta` allows messages of the role `system`."""

_FOREIGN = (
    "presence_penalty", "frequency_penalty", "seed", "response_format", "tool_context",
    "correlation_id", "maximum_loaded_skills", "min_p", "repetition_penalty",
)  # fmt: skip
"""Members of our dialect that the format has no place for; dialect and neutral request tell of them."""

_NAMED = frozenset({"presence_penalty", "frequency_penalty", "seed"})


def prepared(body: Mapping[str, Any], recipient: Recipient) -> PreparedBody:
    """Return what of a body may be sent."""
    kept, names = held_back(body, own=OURS, pass_through=recipient.pass_through)
    walk = _Walk(recipient, named(names))
    for name in _FOREIGN:
        if kept.pop(name, None) is not None and name in _NAMED:
            walk.left_out[name] = None
    temperature = kept.get("temperature")
    if isinstance(temperature, int | float) and temperature > TEMPERATURE_MAX:
        kept["temperature"] = TEMPERATURE_MAX
        walk.left_out["temperature"] = None
    if isinstance(kept.get("messages"), list):
        kept["messages"] = walk.messages(kept["messages"])
    system = kept.get("system")
    if isinstance(system, list):
        kept["system"] = system = each(system, _filled)
    if not system:
        kept.pop("system", None)
    own = PreparedBody(kept, walk.left_out)
    keep_tools(own, recipient, _tool)
    drop_tool_members(kept, TOOL_MEMBERS)
    return own


def own_request_body(command: StartCommand) -> dict[str, Any]:
    """Return a prepared body with what this runtime answers for."""
    assert command.request.body is not None, "there is a body to send"
    body = dict(command.request.body)
    body |= {
        "model": command.upstream_model,
        "max_tokens": command.max_output_tokens,
        "stream": True,
    }
    body |= _translated(body, command)
    return body | _within_lowered(body, command)


def _within_lowered(body: Mapping[str, Any], command: StartCommand) -> dict[str, Any]:
    """Return thinking with a budget that leaves something of a limit that was lowered."""
    asked, limit = command.request.max_output_tokens, command.max_output_tokens
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    is_lowered = asked is not None and limit is not None and limit < asked
    if not is_lowered or not isinstance(thinking, Mapping) or not isinstance(budget, int):
        return {}
    assert limit is not None, "it was lowered"
    if budget < limit:
        return {}
    if limit <= _BUDGET_LEAST:
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {**thinking, "budget_tokens": limit - 1}}


_BUDGET_LEAST = 1_024
"""The least that the format takes."""


def _translated(body: Mapping[str, Any], command: StartCommand) -> dict[str, Any]:
    """Return the members that our dialect has words of its own for, where they were used."""
    members: dict[str, Any] = {}
    neutral = thinking_members(command.request)
    thinking, config = body.get("thinking"), body.get("output_config")
    config = config if isinstance(config, Mapping) else {}
    thinking = thinking if isinstance(thinking, Mapping) else {}
    has_effort = "effort" in thinking
    if thinking and (has_effort or not _is_plain(thinking)) and "thinking" in neutral:
        members["thinking"] = neutral["thinking"]
    has_format = "format" in config or "output_format" in body
    if has_effort or (command.request.response_format is not None and not has_format):
        members["output_config"] = {**config, **neutral.get("output_config", {})}
    return members


def _is_plain(thinking: Mapping[str, Any]) -> bool:
    """Return whether thinking is asked for in the format's own words."""
    kind = thinking.get("type")
    return kind is not None and (kind != "enabled" or thinking.get("budget_tokens") is not None)


class _Walk:
    """Goes through the messages of one body."""

    def __init__(self, recipient: Recipient, left_out: dict[str, None]) -> None:
        self._call_id = recipient.call_id
        self._recipient = recipient
        beta = recipient.headers.get("anthropic-beta", "")
        self._has_system = _SYSTEM_IN_CONVERSATION in beta
        self.left_out = left_out

    def messages(self, messages: list[Any]) -> list[Any]:
        mended = [
            message for value in messages if (message := self._message(value, len(messages) == 1))
        ]
        if mended and isinstance(mended[-1], dict) and mended[-1].get("role") == "assistant":
            last = trimmed(mended[-1])
            mended = mended[:-1] if last is None else [*mended[:-1], last]
        return mended

    def _message(self, message: Any, is_alone: bool) -> Any:
        """Return a message, None for one of which nothing is left."""
        if not isinstance(message, dict):
            return message
        if message.get("role") == "system" and not self._has_system:
            return _as_users(message, is_alone)
        content = message.get("content")
        if not isinstance(content, list):
            return message
        blocks = each(content, self._block)
        if not blocks and content:
            return None
        if message.get("role") == "user":
            blocks = sorted(blocks or [], key=_is_no_result)
        return with_member(message, "content", content if blocks == content else blocks)

    def _block(self, block: dict[str, Any]) -> dict[str, Any] | None:
        """Return a block, None for one that every provider refuses."""
        match block.get("type"):
            case "text":
                return block if block.get("text") else None
            case "thinking":
                return self._signed(block, "signature")
            case "redacted_thinking":
                return self._signed(block, "data")
            case "image" | "document":
                return _sourced(block)
            case "tool_use":
                return with_call_id(block, "id", self._call_id)
            case "tool_result":
                block = with_call_id(block, "tool_use_id", self._call_id)
                content = block.get("content")
                if not isinstance(content, list):
                    return block
                return with_member(block, "content", each(content, _result_block))
            case _:
                return block

    def _signed(self, block: dict[str, Any], name: str) -> dict[str, Any] | None:
        signature = block.get(name)
        if not isinstance(signature, str):
            signature = None
        own = self._recipient.opened(signature, Dialect.MESSAGES)
        if own is None:
            self.left_out[f"messages[].content[].{name}"] = None
            return None
        return block if own == signature else {**block, name: own}


def _as_users(message: dict[str, Any], is_alone: bool) -> dict[str, Any] | None:
    """Return a message of the system in the words of a user's, in its place."""
    content = message.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if is_alone or not isinstance(blocks, list):
        return {**message, "role": "user"}
    said = [
        {**block, "text": reminder(block["text"])}
        for block in blocks
        if isinstance(block, dict) and isinstance(block.get("text"), str) and block["text"]
    ]
    return {"role": "user", "content": said} if said else None


def _is_no_result(block: Any) -> bool:
    return not isinstance(block, dict) or block.get("type") != "tool_result"


def _result_block(block: dict[str, Any]) -> dict[str, Any] | None:
    return _filled(block) if block.get("type") == "text" else _sourced(block)


def _filled(block: dict[str, Any]) -> dict[str, Any] | None:
    return None if block.get("type") == "text" and not block.get("text") else block


def _sourced(block: dict[str, Any]) -> dict[str, Any]:
    """Return an image or a document with the media type that its data has."""
    source = block.get("source")
    if block.get("type") not in ("image", "document") or not isinstance(source, dict):
        return block
    data, said = source.get("data"), source.get("media_type")
    if source.get("type") != "base64" or not isinstance(data, str) or not isinstance(said, str):
        return block
    inline = inline_data(f"data:{said};base64,{data}")
    if inline is None or inline[0] == said:
        return block
    return {**block, "source": {**source, "media_type": inline[0]}}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        return tool
    schema = tool.get("input_schema")
    if schema is not None and not isinstance(schema, dict):
        return tool
    mended = object_schema(schema, with_properties=False)
    return tool if mended is schema else {**tool, "input_schema": mended}
