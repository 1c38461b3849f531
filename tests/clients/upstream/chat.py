"""Chat completions: the request read as strictly as OpenAI reads it, the turn as JSON or chunks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.clients.upstream import members
from tests.clients.upstream.model import Conversation, Refused, Result, Tool, Turn, words_of

__all__ = ["answer", "frames", "read"]

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
PARTS = frozenset({"text", "image_url", "input_audio", "file", "refusal"})
EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})


def read(body: dict[str, Any]) -> Conversation:
    """Raises: Refused: as the provider would."""
    for member in body:
        if member not in members.CHAT:
            raise Refused(f"Unrecognized request argument supplied: {member}")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("Invalid 'messages': empty array. Expected an array with minimum length 1.")
    if body.get("stream_options") and not body.get("stream"):
        raise Refused("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    asked = Conversation(tools=[_tool(tool) for tool in body.get("tools") or []])
    if "tools" in body and not body["tools"]:
        raise Refused("Invalid 'tools': empty array. Expected an array with minimum length 1.")
    _messages(asked, messages)
    asked.choice = _choice(body, asked)
    asked.schema = _schema(body.get("response_format"))
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in EFFORTS:
        raise Refused(f"Invalid value: '{effort}' for 'reasoning_effort'.")
    asked.thinks = effort not in (None, "none")
    asked.limit = body.get("max_completion_tokens", body.get("max_tokens"))
    stop = body.get("stop") or ()
    asked.stops = (stop,) if isinstance(stop, str) else tuple(stop)
    return asked


def _tool(tool: dict[str, Any]) -> Tool:
    if tool.get("type") != "function":
        raise Refused(f"Invalid value: '{tool.get('type')}'. Supported values are: 'function'.")
    function = tool.get("function") or {}
    name = function.get("name", "")
    if not NAME.fullmatch(name):
        raise Refused(f"Invalid 'tools[0].function.name': '{name}' does not match the pattern.")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    if schema.get("type") != "object":
        raise Refused(f"Invalid schema for function '{name}': schema must be of type \"object\".")
    if function.get("strict") and schema.get("additionalProperties") is not False:
        raise Refused(f"Invalid schema for function '{name}': 'additionalProperties' must be false")
    return Tool(name, schema)


def _messages(asked: Conversation, messages: list[Any]) -> None:
    names: dict[str, str] = {}
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        role = message.get("role")
        if role not in ROLES:
            raise Refused(f"Invalid value: '{role}' for 'messages[{index}].role'.")
        if open_calls and role != "tool":
            raise Refused(
                "An assistant message with 'tool_calls' must be followed by tool messages responding "
                f"to each 'tool_call_id'. No response for: {', '.join(sorted(open_calls))}"
            )
        text = _text(message.get("content"), index)
        if role == "tool":
            called = message.get("tool_call_id")
            if called not in open_calls:
                raise Refused(
                    f"Invalid parameter: messages[{index}]: messages with role 'tool' must be a "
                    "response to a preceeding message with 'tool_calls'."
                )
            open_calls.discard(called)
            asked.results.append(Result(names[called], text))
        elif role == "assistant":
            for call in message.get("tool_calls") or []:
                names[call["id"]] = _called(call, index)
                open_calls.add(call["id"])
            said = text or message.get("tool_calls") or message.get("refusal")
            if not said and message.get("content") is None:
                raise Refused(f"Invalid value for 'content': got null in messages[{index}].")
        elif role == "user":
            for part in _texts(message.get("content")):
                asked.user_says(part)
        else:
            asked.system += text + "\n"
    if open_calls:
        raise Refused(f"No tool message responds to: {', '.join(sorted(open_calls))}")


def _called(call: dict[str, Any], index: int) -> str:
    function = call.get("function") or {}
    if call.get("type") != "function" or not NAME.fullmatch(function.get("name", "")):
        raise Refused(f"Invalid 'messages[{index}].tool_calls'.")
    if not isinstance(function.get("arguments"), str):
        raise Refused(f"Invalid type for 'messages[{index}].tool_calls[0].function.arguments'.")
    return str(function["name"])


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [part.get("text", "") for part in content or [] if part.get("type") == "text"]


def _text(content: Any, index: int) -> str:
    if content is not None and not isinstance(content, str):
        for part in content:
            if part.get("type") not in PARTS:
                raise Refused(f"Invalid value: '{part.get('type')}' in messages[{index}].content.")
    return "\n".join(_texts(content))


def _choice(body: dict[str, Any], asked: Conversation) -> str:
    choice = body.get("tool_choice")
    if choice is None:
        return "auto"
    if not asked.tools:
        raise Refused("Invalid value for 'tool_choice': only allowed when 'tools' are specified.")
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            return str(choice["allowed_tools"]["mode"])
        return str(choice["function"]["name"])
    if choice not in ("auto", "none", "required"):
        raise Refused(f"Invalid value: '{choice}' for 'tool_choice'.")
    return str(choice)


def _schema(form: dict[str, Any] | None) -> dict[str, Any] | None:
    if form is None or form.get("type") == "text":
        return None
    if form.get("type") == "json_object":
        return {"type": "object", "properties": {"name": {"type": "string"}}}
    if form.get("type") != "json_schema" or not form.get("json_schema", {}).get("name"):
        raise Refused("Missing required parameter: 'response_format.json_schema.name'.")
    return dict(form["json_schema"]["schema"])


# The answer.


def answer(turn: Turn, ids: Iterator[str], body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or None, "refusal": None}
    if turn.thought:
        message["reasoning_content"] = turn.thought
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{next(ids)}",
                "type": "function",
                "function": {"name": call.tool.name, "arguments": json.dumps(call.arguments)},
            }
            for call in turn.calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": _reason(turn), "logprobs": None}
    head = {"id": f"chatcmpl-{next(ids)}", "object": "chat.completion", "created": 1_795_000_000}
    return {**head, "model": body["model"], "choices": [choice], "usage": _usage(turn)}


def frames(turn: Turn, ids: Iterator[str], body: dict[str, Any]) -> Iterator[str]:
    head = {
        "id": f"chatcmpl-{next(ids)}",
        "object": "chat.completion.chunk",
        "created": 1_795_000_000,
    }
    head["model"] = body["model"]

    def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for word in words_of(turn.thought):
        yield chunk({"reasoning_content": word})
    for word in words_of(turn.text):
        yield chunk({"content": word})
    for index, call in enumerate(turn.calls):
        function = {"name": call.tool.name, "arguments": ""}
        first = {
            "index": index,
            "id": f"call_{next(ids)}",
            "type": "function",
            "function": function,
        }
        yield chunk({"tool_calls": [first]})
        for word in words_of(json.dumps(call.arguments)):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": word}}]})
    yield chunk({}, _reason(turn))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': _usage(turn)})}\n\n"
    yield "data: [DONE]\n\n"


def _reason(turn: Turn) -> str:
    if turn.calls:
        return "tool_calls"
    return "length" if turn.cut else "stop"


def _usage(turn: Turn) -> dict[str, Any]:
    thought = len(words_of(turn.thought))
    made = thought + len(words_of(turn.text)) + 8 * len(turn.calls)
    return {
        "prompt_tokens": 20,
        "completion_tokens": made,
        "total_tokens": 20 + made,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
