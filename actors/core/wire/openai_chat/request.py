"""OpenAI chat completions, the request: what is sent upstream.

Owns the request's members. Messages of typed parts become the format's own messages: a tool result
is a message of its own, right after the call; images and documents of results, which have no place in
one, follow the results as the user's; a text alone is a string, anything more is a list of parts.

Rules: a member that was not asked for is not sent; members of `request.extra` travel as they came
but never stand in for a member of ours; the answer is always asked for as a stream. A limit is called
`max_completion_tokens` at OpenAI's own service, whose newer models refuse the older name, and
`max_tokens` elsewhere.

Source: OpenAI API reference, "Create chat completion", read 2026-11-22; vLLM's
`continuous_usage_stats` and llama.cpp's `timings_per_token` from their servers' documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from actors.core.request import (
    CompletionRequest,
    Dialect,
    FilePart,
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
from actors.core.wire.mends import (
    CallId,
    any_call_id,
    inline_data,
    media_url,
    object_schema,
    present,
)
from actors.core.wire.recipient import Recipient
from actors.core.wire.turns import with_reminders

__all__ = [
    "OURS",
    "TOOL_MEMBERS",
    "limit_member",
    "refused",
    "request_body",
    "results_after_calls",
    "usage_members",
]

OURS = frozenset(
    {
        "model", "messages", "stream", "stream_options", "timings_per_token", "max_tokens",
        "max_completion_tokens", "n", "tools", "tool_choice", "parallel_tool_calls",
        "response_format", "reasoning_effort", "temperature", "top_p", "top_k", "presence_penalty",
        "frequency_penalty", "seed", "stop", "logprobs", "top_logprobs",
    }
)  # fmt: skip
"""Members that only we may set: a pass-through member of such a name could lift the limit that the
hold pays for, or end the stream."""

TOOL_MEMBERS = ("tools", "tool_choice", "parallel_tool_calls")
"""Members that mean nothing without tools."""

_LIMIT, _NEWER_LIMIT = "max_tokens", "max_completion_tokens"


def request_body(
    command: StartCommand,
    *,
    include_usage: bool = True,
    running_usage: bool = False,
    recipient: Recipient | None = None,
) -> dict[str, Any]:
    """Return the JSON body of the upstream request.

    Args:
        include_usage: ask for the usage at the end of the stream.
        running_usage: ask for it with every frame, in both vendors' ways.
        recipient: who is asked, where that matters.
    """
    request = command.request
    call_id = any_call_id if recipient is None else recipient.call_id
    messages = request.messages
    if command.dialect is Dialect.MESSAGES:
        messages = with_reminders(messages)
    body = {name: value for name, value in request.extra.items() if name not in OURS}
    body |= {
        "model": command.upstream_model,
        "messages": results_after_calls(_all_messages(messages, call_id)),
        "stream": True,
    }
    if command.max_output_tokens is not None:
        body[limit_member(recipient)] = command.max_output_tokens
    if include_usage or running_usage:
        body |= usage_members({}, running_usage=running_usage)
    return body | _tool_members(request) | _output_members(request) | _sampling(request.sampling)


def refused(request: CompletionRequest) -> tuple[str, ...]:
    """Return the members that change the output and have no place in the format."""
    is_linked = any(
        isinstance(part, FilePart) and inline_data(part.url) is None
        for message in request.messages
        for whole in message.parts
        for part in (whole.media if isinstance(whole, ToolResultPart) else (whole,))
    )
    return ("file_url",) if is_linked else ()


def limit_member(recipient: Recipient | None, *, said: Any = None) -> str:
    """Return what the limit is called.

    Args: said: the member of the newer name that the client sent, None where it sent none.
    """
    is_newer = said is not None or (recipient is not None and recipient.is_openai)
    return _NEWER_LIMIT if is_newer else _LIMIT


def usage_members(options: Mapping[str, Any], *, running_usage: bool) -> dict[str, Any]:
    """Return the members that ask for usage, beside what the client said of the stream."""
    members: dict[str, Any] = {"stream_options": {**options, "include_usage": True}}
    if running_usage:
        members["stream_options"]["continuous_usage_stats"] = True
        members["timings_per_token"] = True
    return members


def results_after_calls(messages: Iterable[Any]) -> list[Any]:
    """Return the messages with the results of an assistant's calls before what else follows it.

    A message of the role `tool` must follow the calls.
    """
    ordered: list[Any] = []
    waiting: list[Any] = []  # What stands between calls and a result of theirs.
    is_called = False
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        if role == "assistant":
            ordered += waiting
            waiting = []
            is_called = bool(message.get("tool_calls"))
            ordered.append(message)
        elif is_called and role != "tool":
            waiting.append(message)
        else:
            ordered.append(message)
    return ordered + waiting


def _tool_members(request: CompletionRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    choice = request.tool_choice
    members = {
        "tools": [_tool(tool) for tool in request.tools],
        "tool_choice": None if choice is None else _tool_choice(choice),
        "parallel_tool_calls": request.parallel_tool_calls,
    }
    return present(members)


def _output_members(request: CompletionRequest) -> dict[str, Any]:
    form = request.response_format
    members = {
        "response_format": None if form is None else dict(form),
        "reasoning_effort": effort_of(request),
    }
    return present(members)


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
    return present(members)


def _tool(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": None
        if tool.parameters is None
        else dict(object_schema(tool.parameters, with_properties=True)),
        "strict": tool.strict,
    }
    return {"type": "function", "function": present(function)}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode.value


def _all_messages(messages: tuple[Message, ...], call_id: CallId) -> Iterator[dict[str, Any]]:
    media: list[ImagePart | FilePart] = []  # What came of results, until the last of them is sent.
    for message in messages:
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        others = tuple(part for part in message.parts if not isinstance(part, ToolResultPart))
        if media and not results:
            yield _message(Message(Role.USER, tuple(media)), call_id)
            media = []
        for part in results:
            yield _result(part, message, call_id)
            media += part.media
        if results and others:
            yield _message(Message(Role.USER, (*media, *others), message.name), call_id)
            media = []
        elif not results:
            yield _message(message, call_id)
    if media:
        yield _message(Message(Role.USER, tuple(media)), call_id)


def _result(part: ToolResultPart, message: Message, call_id: CallId) -> dict[str, Any]:
    return present(
        {
            "role": "tool",
            "tool_call_id": call_id(part.call_id),
            "name": message.name if message.role is Role.TOOL else None,
            "content": part.text,
        }
    )


def _message(message: Message, call_id: CallId) -> dict[str, Any]:
    calls = [_tool_call(part, call_id) for part in message.parts if isinstance(part, ToolCallPart)]
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
    if len(members) > 1:
        members = [member for member in members if member.get("text") != ""] or members[:1]
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
            image = present({"url": media_url(part.url), "detail": part.detail})
            return {"type": "image_url", "image_url": image}
        case VideoPart():
            return {"type": "video_url", "video_url": {"url": part.url}}
        case FilePart():
            file = {"filename": part.name, "file_data": part.url}
            return {"type": "file", "file": present(file)}
        case _:
            return None


def _tool_call(part: ToolCallPart, call_id: CallId) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": call_id(part.call_id), "type": "function", "function": function}
