"""The body of a chat request without what means nothing, for a provider of the same wire format.

What clients send beside what they mean, and providers refuse: a choice among no tools, empty lists, an
empty stop, arguments as an object, members that are null. Everything else stays as it came.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["arguments_text", "tidied"]

_OF_TOOLS = ("tool_choice", "parallel_tool_calls")


def tidied(value: dict[str, Any]) -> dict[str, Any]:
    """Return the body; it has to be one that was understood."""
    body = {name: member for name, member in value.items() if member is not None}
    if not body.get("tools", True):
        del body["tools"]
    if "tools" not in body:
        for name in _OF_TOOLS:
            body.pop(name, None)
    if "stop" in body:
        _tidy_stop(body)
    if not body.get("logprobs"):
        body.pop("top_logprobs", None)
    if "max_completion_tokens" in body:
        body.pop("max_tokens", None)
    for name in ("max_tokens", "max_completion_tokens"):
        if body.get(name) == -1:
            del body[name]
    body["messages"] = [_message(message) for message in body["messages"]]
    return body


def arguments_text(arguments: Any) -> str:
    """Return a call's arguments as JSON text, whatever they came as."""
    if arguments is None:
        return "{}"
    if isinstance(arguments, str):
        return arguments
    return json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))


def _tidy_stop(body: dict[str, Any]) -> None:
    stop = body["stop"]
    stop = [text for text in stop if text] if isinstance(stop, list) else stop
    if stop:
        body["stop"] = stop
    else:
        del body["stop"]


def _message(message: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    content, calls = message.get("content"), message.get("tool_calls")
    if isinstance(content, list):
        parts = [part for part in content if not _is_empty(part)]
        if len(parts) != len(content) or not parts:
            changes["content"] = parts or (None if calls else "")
    elif content is None and not calls and message.get("refusal") is None:
        changes["content"] = ""
    if calls:
        changes["tool_calls"] = [_call(call) for call in calls]
    elif "tool_calls" in message:
        message = {name: member for name, member in message.items() if name != "tool_calls"}
    return message | changes if changes else message


def _is_empty(part: dict[str, Any]) -> bool:
    return part.get("type") == "text" and part.get("text") == ""


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    if "type" in call and isinstance(function.get("arguments"), str):
        return call
    arguments = arguments_text(function.get("arguments"))
    return {"type": "function", **call, "function": function | {"arguments": arguments}}
