"""Anthropic Messages, the request: what is sent upstream, and what the format cannot carry.

Owns the request's members. System messages become `system`, wherever they stood; a tool's result is
a block of a user's message; messages of one role that follow each other become one, because all
results of parallel calls have to stand in a single message.

Rules: a member that was not asked for is not sent; members of `request.extra` travel as they came
but never stand in for a member of ours; the answer is always asked for as a stream. An empty text
is no block: the provider refuses it. Reasoning without a signature is left out: the provider would
not know it for its own.

Source: Anthropic API reference, "Create a Message", and the parameter types of Anthropic's Python
SDK 2.12; llama.cpp's server README, "POST /v1/messages"; all read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actors.core.request import (
    CompletionRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    StartCommand,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolResultPart,
    VideoPart,
)
from actors.core.wire.anthropic_redacted import redacted_data
from actors.core.wire.anthropic_writer import tool_input

__all__ = ["ignored", "refused", "request_body"]

_OURS = frozenset(
    {
        "model",
        "messages",
        "system",
        "max_tokens",
        "stream",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
    }
)
"""Members that only we may set: a pass-through member of such a name could lift the limit that the
hold pays for, or end the stream."""

_TEMPERATURE_MAX = 1.0

_EFFORTS = {"minimal": "low"}
"""What other formats call a degree of effort that this one has another word for."""

_NO_EFFORT = "none"

_CHOICES = {
    ToolChoiceMode.AUTO: "auto",
    ToolChoiceMode.NONE: "none",
    ToolChoiceMode.REQUIRED: "any",
    ToolChoiceMode.NAMED: "tool",
}


def request_body(command: StartCommand) -> dict[str, Any]:
    """Return the JSON body of the upstream request."""
    request = command.request
    body = {name: value for name, value in request.extra.items() if name not in _OURS}
    body |= {
        "model": command.upstream_model,
        "max_tokens": command.max_output_tokens,
        "messages": _messages(request),
        "stream": True,
    }
    system = _system(request)
    if system:
        body["system"] = system
    return body | _tool_members(request) | _thinking_members(request) | _sampling(request)


def refused(request: CompletionRequest) -> tuple[str, ...]:
    """Return the members that change the output and have no place in the format."""
    kind = (request.response_format or {}).get("type", "text")
    names = [] if kind in ("text", "json_schema") else ["response_format"]
    if any(isinstance(part, VideoPart) for message in request.messages for part in message.parts):
        names.append("video_url")
    return tuple(names)


def ignored(request: CompletionRequest) -> tuple[str, ...]:
    """Return the members that only tune the output and have no place in the format."""
    sampling = request.sampling
    names = [
        name
        for name in ("presence_penalty", "frequency_penalty", "seed")
        if getattr(sampling, name) is not None
    ]
    if sampling.temperature is not None and sampling.temperature > _TEMPERATURE_MAX:
        names.append("temperature")  # The format's own greatest is sent instead.
    return tuple(names)


def _system(request: CompletionRequest) -> str:
    """Return one text: some servers put the texts of several blocks together without a space."""
    parts = [
        part.text
        for message in request.messages
        if message.role is Role.SYSTEM
        for part in message.parts
        if isinstance(part, TextPart) and part.text
    ]
    return "\n\n".join(parts)


def _messages(request: CompletionRequest) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = list(_blocks(message))
        if not blocks:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": blocks})
    return [_shortened(message) for message in messages]


def _shortened(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message with a text that stands alone as a string."""
    blocks = message["content"]
    is_text = len(blocks) == 1 and blocks[0]["type"] == "text"
    return {"role": message["role"], "content": blocks[0]["text"] if is_text else blocks}


def _blocks(message: Message) -> Iterator[dict[str, Any]]:
    for part in message.parts:
        yield from _block(part)


def _block(part: Part) -> list[dict[str, Any]]:
    """Return the part as a block, nothing for what is none here."""
    match part:
        case TextPart() | RefusalPart():
            return _text(part.text)
        case ImagePart():
            return [{"type": "image", "source": _source(part.url)}]
        case ToolCallPart():
            return [
                {
                    "type": "tool_use",
                    "id": part.call_id,
                    "name": part.name,
                    "input": tool_input(part.arguments),
                }
            ]
        case ToolResultPart():
            return [_result(part)]
        case ReasoningPart():
            return _reasoning(part)
        case VideoPart() | FilePart():
            return []


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []


def _result(part: ToolResultPart) -> dict[str, Any]:
    block: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": part.call_id,
        "content": part.text,
    }
    if part.is_error:
        block["is_error"] = True
    return block


def _reasoning(part: ReasoningPart) -> list[dict[str, Any]]:
    if part.signature is None:
        return []
    data = redacted_data(part.signature)
    if data is not None:
        return [{"type": "redacted_thinking", "data": data}]
    return [{"type": "thinking", "thinking": part.text, "signature": part.signature}]


def _source(url: str) -> dict[str, Any]:
    head, comma, data = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        media_type = head.removeprefix("data:").partition(";")[0]
        return {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "url", "url": url}


def _tool_members(request: CompletionRequest) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if request.tools:
        members["tools"] = [_tool(tool) for tool in request.tools]
    choice = request.tool_choice
    is_single = request.parallel_tool_calls is False and bool(request.tools)
    if choice is None and is_single:
        choice = ToolChoice(ToolChoiceMode.AUTO)
    if choice is not None:
        members["tool_choice"] = _tool_choice(choice, is_single)
    return members


def _tool(tool: Tool) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}} if tool.parameters is None else tool.parameters
    members = {
        "name": tool.name,
        "description": tool.description,
        "input_schema": dict(schema),
        "strict": tool.strict,
    }
    return _present(members)


def _tool_choice(choice: ToolChoice, is_single: bool) -> dict[str, Any]:
    value: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode is ToolChoiceMode.NAMED:
        value["name"] = choice.name
    if is_single and choice.mode is not ToolChoiceMode.NONE:
        value["disable_parallel_tool_use"] = True
    return value


def _thinking_members(request: CompletionRequest) -> dict[str, Any]:
    members: dict[str, Any] = {}
    effort, budget = request.reasoning_effort, request.reasoning_budget_tokens
    if request.is_reasoning is False or effort == _NO_EFFORT:
        members["thinking"] = {"type": "disabled"}
    elif budget is not None:
        members["thinking"] = {"type": "enabled", "budget_tokens": budget}
    elif request.is_reasoning or effort is not None:
        members["thinking"] = {"type": "adaptive"}
    config: dict[str, Any] = {}
    if effort is not None and effort != _NO_EFFORT:
        config["effort"] = _EFFORTS.get(effort, effort)
    if request.response_format is not None:
        config |= _format(request.response_format)
    if config:
        members["output_config"] = config
    return members


def _format(response_format: Any) -> dict[str, Any]:
    if response_format.get("type") != "json_schema":
        return {}
    schema = response_format.get("json_schema", {}).get("schema", {})
    return {"format": {"type": "json_schema", "schema": schema}}


def _sampling(request: CompletionRequest) -> dict[str, Any]:
    sampling = request.sampling
    temperature = sampling.temperature
    members: dict[str, Any] = {
        "temperature": None if temperature is None else min(temperature, _TEMPERATURE_MAX),
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop_sequences": list(sampling.stop) or None,
    }
    return _present(members)


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
