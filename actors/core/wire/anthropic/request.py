"""Anthropic Messages, the request: what is sent upstream, and what the format cannot carry.

Owns the request's members. The system's first messages become `system`, one in mid-conversation a
user's in its place (`turns`); a tool's result is a block of a user's message; messages of one role that
follow each other become one, because all results of parallel calls have to stand in a single message,
before anything else in it.

Rules: a member that was not asked for is not sent; members of `request.extra` travel as they came
but never stand in for a member of ours; the answer is always asked for as a stream. An empty text
is no block: the provider refuses it, as it does white space at the end of an answer that it is to go on
with. Reasoning without a signature is left out: the provider would not know it for its own.

Source: Anthropic API reference, "Create a Message", and the parameter types of Anthropic's Python
SDK 2.12; llama.cpp's server README, "POST /v1/messages"; all read 2026-11-22.
"""

from __future__ import annotations

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
from actors.core.wire.anthropic.redacted import redacted_data
from actors.core.wire.anthropic.writer import tool_input
from actors.core.wire.efforts import for_anthropic
from actors.core.wire.mends import (
    call_id_for_anthropic,
    decoded_text,
    inline_data,
    object_schema,
    present,
)
from actors.core.wire.turns import without_system_in_conversation

__all__ = [
    "OURS",
    "TEMPERATURE_MAX",
    "TOOL_MEMBERS",
    "ignored",
    "is_thinking_dropped",
    "refused",
    "request_body",
    "thinking_members",
    "trimmed",
]

OURS = frozenset(
    {
        "model", "messages", "system", "max_tokens", "stream", "stop_sequences", "temperature",
        "top_p", "top_k", "tools", "tool_choice", "thinking", "output_config", "output_format",
    }
)  # fmt: skip
"""Members that only we may set: a pass-through member of such a name could lift the limit that the
hold pays for, or end the stream."""

TEMPERATURE_MAX = 1.0

_TEMPERATURE_THINKING = 1.0
"""The one temperature that goes with thinking."""

_NO_EFFORT = "none"

TOOL_MEMBERS = ("tools", "tool_choice")
"""Members that mean nothing without tools."""

_CHOICES = {
    ToolChoiceMode.AUTO: "auto",
    ToolChoiceMode.NONE: "none",
    ToolChoiceMode.REQUIRED: "any",
    ToolChoiceMode.NAMED: "tool",
}


def request_body(command: StartCommand) -> dict[str, Any]:
    """Return the JSON body of the upstream request."""
    request = command.request
    body = {name: value for name, value in request.extra.items() if name not in OURS}
    system, messages = without_system_in_conversation(request.messages)
    body |= {
        "model": command.upstream_model,
        "max_tokens": command.max_output_tokens,
        "messages": _messages(messages),
        "stream": True,
    }
    if system:
        body["system"] = system
    return body | _tool_members(request) | thinking_members(request) | _sampling(request)


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
    temperature = sampling.temperature
    if temperature is not None and (
        temperature > TEMPERATURE_MAX
        or (_wants_thinking(request) and temperature != _TEMPERATURE_THINKING)
    ):
        names.append("temperature")  # The greatest that the format takes is sent, or none.
    if is_thinking_dropped(request):
        names.append("reasoning_effort")
    return tuple(names)


def is_thinking_dropped(request: CompletionRequest) -> bool:
    """Return whether a forced choice of tools leaves no room for thinking that was asked for in passing."""
    choice = request.tool_choice
    is_forced = choice is not None and choice.mode in _FORCED
    effort = request.reasoning_effort
    return (
        is_forced and request.is_reasoning is None and effort is not None and effort != _NO_EFFORT
    )


_FORCED = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)


def _wants_thinking(request: CompletionRequest) -> bool:
    return thinking_members(request).get("thinking", {}).get("type") in ("adaptive", "enabled")


def trimmed(message: dict[str, Any]) -> dict[str, Any] | None:
    """Return an assistant's last message without white space at its end, None where nothing is left."""
    content = message.get("content")
    if isinstance(content, str):
        text = content.rstrip()
        return {**message, "content": text} if text else None
    if not isinstance(content, list) or not content or not isinstance(content[-1], dict):
        return message
    last = content[-1]
    if last.get("type") != "text" or not isinstance(last.get("text"), str):
        return message
    text = last["text"].rstrip()
    if text == last["text"]:
        return message
    blocks = [*content[:-1], {**last, "text": text}] if text else content[:-1]
    return {**message, "content": blocks} if blocks else None


def _messages(said: tuple[Message, ...]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for message in said:
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = [block for part in message.parts for block in _block(part)]
        if not blocks:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": blocks})
    for message_ in messages:
        message_["content"].sort(key=lambda block: block["type"] != "tool_result")
    if messages and messages[-1]["role"] == "assistant":
        last = messages.pop()
        messages += [kept] if (kept := trimmed(last)) is not None else []
    return [_shortened(message) for message in messages]


def _shortened(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message with a text that stands alone as a string."""
    blocks = message["content"]
    is_text = len(blocks) == 1 and blocks[0]["type"] == "text"
    return {"role": message["role"], "content": blocks[0]["text"] if is_text else blocks}


def _block(part: Part) -> list[dict[str, Any]]:
    """Return the part as a block, nothing for what is none here."""
    match part:
        case TextPart() | RefusalPart():
            return _text(part.text)
        case ImagePart():
            return [{"type": "image", "source": _source(part.url)}]
        case FilePart():
            return [_document(part)]
        case ToolCallPart():
            return [
                {
                    "type": "tool_use",
                    "id": call_id_for_anthropic(part.call_id),
                    "name": part.name,
                    "input": tool_input(part.arguments),
                }
            ]
        case ToolResultPart():
            return [_result(part)]
        case ReasoningPart():
            return _reasoning(part)
        case VideoPart():
            return []


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []


def _result(part: ToolResultPart) -> dict[str, Any]:
    media = [block for inside in part.media for block in _block(inside)]
    block: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": call_id_for_anthropic(part.call_id),
        "content": [*_text(part.text), *media] if media else part.text,
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
    inline = inline_data(url)
    if inline is None:
        return {"type": "url", "url": url}
    media_type, data = inline
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(part: FilePart) -> dict[str, Any]:
    source = _source(part.url)
    if source.get("media_type", "").startswith("text/"):
        text = decoded_text(source["data"])
        if text is not None:
            source = {"type": "text", "media_type": "text/plain", "data": text}
    return present({"type": "document", "source": source, "title": part.name})


def _tool_members(request: CompletionRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    members: dict[str, Any] = {"tools": [_tool(tool) for tool in request.tools]}
    choice = request.tool_choice
    is_single = request.parallel_tool_calls is False
    if choice is None and is_single:
        choice = ToolChoice(ToolChoiceMode.AUTO)
    if choice is not None:
        members["tool_choice"] = _tool_choice(choice, is_single)
    return members


def _tool(tool: Tool) -> dict[str, Any]:
    members = {
        "name": tool.name,
        "description": tool.description,
        "input_schema": dict(object_schema(tool.parameters, with_properties=False)),
        "strict": tool.strict,
    }
    return present(members)


def _tool_choice(choice: ToolChoice, is_single: bool) -> dict[str, Any]:
    value: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode is ToolChoiceMode.NAMED:
        value["name"] = choice.name
    if is_single and choice.mode is not ToolChoiceMode.NONE:
        value["disable_parallel_tool_use"] = True
    return value


def thinking_members(request: CompletionRequest) -> dict[str, Any]:
    members: dict[str, Any] = {}
    effort, budget = request.reasoning_effort, request.reasoning_budget_tokens
    if is_thinking_dropped(request):
        effort = None
    if request.is_reasoning is False or effort == _NO_EFFORT:
        members["thinking"] = {"type": "disabled"}
    elif budget is not None:
        members["thinking"] = {"type": "enabled", "budget_tokens": budget}
    elif request.is_reasoning or effort is not None:
        members["thinking"] = {"type": "adaptive"}
    config: dict[str, Any] = {}
    if effort is not None and effort != _NO_EFFORT:
        config["effort"] = for_anthropic(effort)
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
    if temperature is not None:
        temperature = None if _wants_thinking(request) else min(temperature, TEMPERATURE_MAX)
    members: dict[str, Any] = {
        "temperature": temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop_sequences": list(sampling.stop) or None,
    }
    return present(members)
