"""OpenAI chat completions, a client's own body on its way to a provider of this format.

Owns what of it is mended: see `own_body`. Source: as `request`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.core.request import StartCommand
from actors.core.wire.mends import CallId, media_url, object_schema, with_call_id
from actors.core.wire.openai_chat.request import (
    OURS,
    TOOL_MEMBERS,
    limit_member,
    results_after_calls,
    usage_members,
)
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

__all__ = ["own_request_body", "prepared"]

_REPLACED = frozenset({"max_tokens", "max_completion_tokens", "n", "timings_per_token"})
"""Members that this runtime answers for, and sends in words of its own or not at all."""

_NULL_IF_ABSENT = ("audio", "function_call", "refusal", "tool_calls")
"""Members of an assistant's message that SDKs send as null, and many servers refuse."""


def prepared(body: Mapping[str, Any], recipient: Recipient) -> PreparedBody:
    """Return what of a body may be sent."""
    kept, names = held_back(body, own=OURS, pass_through=recipient.pass_through)
    left_out = named(names)
    if isinstance(kept.get("messages"), list):
        kept["messages"] = _messages(kept["messages"], recipient)
    own = PreparedBody(kept, left_out)
    keep_tools(own, recipient, _tool)
    drop_tool_members(kept, TOOL_MEMBERS)
    _drop_what_says_nothing(kept)
    return own


def own_request_body(
    command: StartCommand, *, running_usage: bool = False, recipient: Recipient | None = None
) -> dict[str, Any]:
    """Return a prepared body with what this runtime answers for."""
    own = command.request.body
    assert own is not None, "there is a body to send"
    body = {name: value for name, value in own.items() if name not in _REPLACED}
    options = own.get("stream_options")
    body |= {"model": command.upstream_model, "stream": True}
    body |= usage_members(
        options if isinstance(options, Mapping) else {}, running_usage=running_usage
    )
    if command.max_output_tokens is not None:
        name = limit_member(recipient, said=own.get("max_completion_tokens"))
        body[name] = command.max_output_tokens
    return body


def _drop_what_says_nothing(body: dict[str, Any]) -> None:
    stop = body.get("stop")
    if isinstance(stop, list):
        body["stop"] = stop = [text for text in stop if text != ""]
    if not stop:
        body.pop("stop", None)
    if not body.get("logprobs"):
        body.pop("top_logprobs", None)


def _messages(messages: list[Any], recipient: Recipient) -> list[Any]:
    call_id = recipient.call_id
    mended = [
        _message(message, call_id) if isinstance(message, dict) else message for message in messages
    ]
    if not recipient.is_openai:
        mended = [_known_to_all(message) for message in mended]
    return results_after_calls(mended)


def _known_to_all(message: Any) -> Any:
    """Return a message with the role that servers beside OpenAI's own know a developer's by."""
    if isinstance(message, dict) and message.get("role") == "developer":
        return {**message, "role": "system"}
    return message


def _message(message: dict[str, Any], call_id: CallId) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, list):
        parts = each(content, _part)
        mended: Any = parts or ("" if message.get("role") != "assistant" else None)
        if mended is None and not message.get("tool_calls"):
            mended = ""
        message = with_member(message, "content", mended)
    if message.get("role") == "tool" and isinstance(message.get("tool_call_id"), str):
        return with_call_id(message, "tool_call_id", call_id)
    if message.get("role") != "assistant":
        return message
    if any(name in message and not message[name] for name in _NULL_IF_ABSENT):
        message = {
            name: value for name, value in message.items() if value or name not in _NULL_IF_ABSENT
        }
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        return with_member(
            message, "tool_calls", each(calls, lambda call: with_call_id(call, "id", call_id))
        )
    return message


def _part(part: dict[str, Any]) -> dict[str, Any] | None:
    """Return a part, None for an empty text."""
    if part.get("type") == "text" and part.get("text") == "":
        return None
    image = part.get("image_url")
    if not isinstance(image, dict) or not isinstance(image.get("url"), str):
        return part
    url = media_url(image["url"])
    return part if url == image["url"] else {**part, "image_url": {**image, "url": url}}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, dict) or "parameters" not in function:
        return tool
    parameters = function["parameters"]
    if parameters is None:
        without = {name: value for name, value in function.items() if name != "parameters"}
        return {**tool, "function": without}
    if not isinstance(parameters, dict):
        return tool
    mended = object_schema(parameters, with_properties=True)
    return (
        tool if mended is parameters else {**tool, "function": {**function, "parameters": mended}}
    )
