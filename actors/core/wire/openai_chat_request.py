"""OpenAI chat completions, the request: what is sent upstream.

Owns the request's members. Messages of typed parts become the format's own messages: a tool result
is a message of its own, a text alone is a string, anything more is a list of parts.

Rules: a member that was not asked for is not sent; members of `request.extra` travel as they came
but never stand in for a member of ours; the answer is always asked for as a stream.

Source: OpenAI API reference, "Create chat completion", read 2026-11-22; vLLM's
`continuous_usage_stats` and llama.cpp's `timings_per_token` from their servers' documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actors.core.request import (
    CompletionRequest,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    Sampling,
    StartCommand,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolResultPart,
    VideoPart,
)
from actors.core.wire.efforts import effort_of

__all__ = ["request_body"]

_OURS = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "timings_per_token",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "temperature",
        "top_p",
        "top_k",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "stop",
        "logprobs",
        "top_logprobs",
    }
)
"""Members that only we may set: a pass-through member of such a name could lift the limit that the
hold pays for, or end the stream."""


def request_body(
    command: StartCommand, *, include_usage: bool = True, running_usage: bool = False
) -> dict[str, Any]:
    """Return the JSON body of the upstream request.

    Args:
        include_usage: ask for the usage at the end of the stream.
        running_usage: ask for it with every frame, in both vendors' ways.
    """
    request = command.request
    body = {name: value for name, value in request.extra.items() if name not in _OURS}
    body |= {
        "model": command.upstream_model,
        "messages": [member for message in request.messages for member in _messages(message)],
        "max_tokens": command.max_output_tokens,
        "stream": True,
    }
    if include_usage or running_usage:
        body["stream_options"] = {"include_usage": True}
    if running_usage:
        body["stream_options"]["continuous_usage_stats"] = True
        body["timings_per_token"] = True
    return body | _tool_members(request) | _output_members(request) | _sampling(request.sampling)


def _tool_members(request: CompletionRequest) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if request.tools:
        members["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        members["tool_choice"] = _tool_choice(request.tool_choice)
    if request.parallel_tool_calls is not None:
        members["parallel_tool_calls"] = request.parallel_tool_calls
    return members


def _output_members(request: CompletionRequest) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if request.response_format is not None:
        members["response_format"] = dict(request.response_format)
    effort = effort_of(request)
    if effort is not None:
        members["reasoning_effort"] = effort
    return members


def _sampling(sampling: Sampling) -> dict[str, Any]:
    members: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "logprobs": sampling.logprobs,
        "top_logprobs": sampling.top_logprobs,
    }
    return _present(members)


def _tool(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters) if tool.parameters is not None else None,
        "strict": tool.strict,
    }
    return {"type": "function", "function": _present(function)}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode.value


def _messages(message: Message) -> Iterator[dict[str, Any]]:
    """Yield a message for each tool result, then one for all other parts."""
    results = [part for part in message.parts if isinstance(part, ToolResultPart)]
    for part in results:
        yield _present(
            {
                "role": "tool",
                "tool_call_id": part.call_id,
                "name": message.name if message.role is Role.TOOL else None,
                "content": part.text,
            }
        )
    if len(results) < len(message.parts) or not results:
        yield _message(message)


def _message(message: Message) -> dict[str, Any]:
    calls = [_tool_call(part) for part in message.parts if isinstance(part, ToolCallPart)]
    refusal = "".join(part.text for part in message.parts if isinstance(part, RefusalPart))
    thought = "".join(part.text for part in message.parts if isinstance(part, ReasoningPart))
    content = _content(message.parts)
    member: dict[str, Any] = {"role": message.role.value, "content": content}
    if content == "" and (calls or refusal):
        member["content"] = None
    if message.name is not None:
        member["name"] = message.name
    if calls:
        member["tool_calls"] = calls
    if refusal:
        member["refusal"] = refusal
    if thought:
        member["reasoning_content"] = thought
    return member


def _content(parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
    members = [member for part in parts if (member := _part(part)) is not None]
    if not members:
        return ""
    if len(members) == 1 and members[0]["type"] == "text":
        text: str = members[0]["text"]
        return text
    return members


def _part(part: Part) -> dict[str, Any] | None:
    """Return the content part, None for what is no content here."""
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            image = _present({"url": part.url, "detail": part.detail})
            return {"type": "image_url", "image_url": image}
        case VideoPart():
            return {"type": "video_url", "video_url": {"url": part.url}}
        case _:
            return None


def _tool_call(part: ToolCallPart) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.call_id, "type": "function", "function": function}


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
