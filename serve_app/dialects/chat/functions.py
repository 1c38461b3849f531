"""OpenAI's older words for tools, in a chat request, put into the newer ones.

`functions` are tools, `function_call` is the choice among them or what an assistant called, and a
message of role `function` is the result of the last call of that name. Calls had no ids; they get one by
their place. A client that asked in these words is answered in them: see `render.speaks_functions`.

Source: OpenAI API reference, "Create chat completion", deprecated members, read 2026-11-25.
"""

from __future__ import annotations

from typing import Any

from actors.core.errors import InvalidRequest

__all__ = ["has_functions", "told_of_functions", "with_tools"]


def has_functions(value: dict[str, Any]) -> bool:
    """Return whether the request offers tools in the older words."""
    return value.get("functions") is not None or value.get("function_call") is not None


def with_tools(value: dict[str, Any]) -> dict[str, Any]:
    """Return the body in the newer words; one that has none of the older is returned as it is.

    What is not as it should be is left for validation to find.

    Raises: InvalidRequest: tools in both.
    """
    messages = value.get("messages")
    if isinstance(messages, list) and any(map(_is_older, messages)):
        value = value | {"messages": _messages(messages)}
    if not has_functions(value):
        return value
    if value.get("tools") is not None or value.get("tool_choice") is not None:
        raise InvalidRequest(
            "functions and function_call are older words for tools and tool_choice; use one of the two.",
            param="functions" if value.get("functions") is not None else "function_call",
        )
    newer = dict(value)
    functions, choice = newer.pop("functions", None), newer.pop("function_call", None)
    if isinstance(functions, list):
        newer["tools"] = [{"type": "function", "function": function} for function in functions]
    elif functions is not None:
        newer["tools"] = functions
    if isinstance(choice, dict):
        newer["tool_choice"] = {"type": "function", "function": choice}
    elif choice is not None:
        newer["tool_choice"] = choice
    return newer


def told_of_functions(error: InvalidRequest) -> InvalidRequest:
    """Return the error with the member's older name."""
    param = error.param or ""
    if param.startswith("tools"):
        older = param.replace("tools", "functions", 1).replace(".function", "", 1)
    elif param.startswith("tool_choice"):
        older = param.replace("tool_choice", "function_call", 1).replace(".function", "", 1)
    else:
        return error
    message = error.message.replace(param, older, 1)
    return InvalidRequest(message, param=older, reason=error.reason)


def _is_older(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    return message.get("role") == "function" or message.get("function_call") is not None


def _messages(messages: list[Any]) -> list[Any]:
    newer: list[Any] = []
    calls: dict[str, str] = {}  # The id of the last call by its function.
    for index, message in enumerate(messages):
        if not _is_older(message):
            newer.append(message)
            continue
        message = dict(message)
        call, name = message.pop("function_call", None), message.get("name")
        if message.get("role") == "function":
            key = name if isinstance(name, str) else ""
            message |= {"role": "tool", "tool_call_id": calls.get(key, f"call_{index}")}
        elif isinstance(call, dict) and not message.get("tool_calls"):
            call_id = f"call_{index}"
            if isinstance(call.get("name"), str):
                calls[call["name"]] = call_id
            message["tool_calls"] = [{"id": call_id, "type": "function", "function": call}]
        newer.append(message)
    return newer
