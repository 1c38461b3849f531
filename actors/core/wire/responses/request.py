"""OpenAI Responses, the request: what is sent upstream.

Owns the request's members. Messages of typed parts become the format's items: a first message of the
system is the instructions; what an assistant said, thought and called are items of their own, in the
order of the parts; a tool's result is an item.

Rules: a member that was not asked for is not sent; members of `request.extra` travel as they came but
never stand in for a member of ours, except that what stands beside the format in `text` and beside
the effort in `reasoning` is kept; the answer is always asked for as a stream. The provider is asked to
store nothing, but for a background response, which it could not run otherwise.

Source: OpenAI API reference, "Create a model response"; llama.cpp server, its conversion of this
format to chat; both read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
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
from actors.core.wire.mends import call_id_within, media_url, object_schema, present
from actors.core.wire.turns import with_reminders

__all__ = ["OURS", "TOOL_MEMBERS", "ignored", "refused", "request_body"]

OURS = frozenset(
    {
        "model", "input", "instructions", "stream", "background", "store", "max_output_tokens",
        "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "temperature", "top_p",
        "top_logprobs", "conversation", "previous_response_id", "prompt",
    }
)  # fmt: skip
"""Members that only we may set: a pass-through member of such a name could lift the limit that the
hold pays for, end the stream, or reach another caller's conversation."""


TOOL_MEMBERS = ("tools", "tool_choice", "parallel_tool_calls")
"""Members that mean nothing without tools."""

_call_id = call_id_within(64)


def refused(request: CompletionRequest) -> tuple[str, ...]:
    """Return the members that change the output and have no place in this format."""
    has_video = any(
        isinstance(part, VideoPart) for message in request.messages for part in message.parts
    )
    return (*(("stop",) if request.sampling.stop else ()), *(("video_url",) if has_video else ()))


def ignored(request: CompletionRequest) -> tuple[str, ...]:
    """Return the members that tune the output and have no place in this format."""
    sampling = request.sampling
    absent = ("top_k", "presence_penalty", "frequency_penalty", "seed")
    return tuple(name for name in absent if getattr(sampling, name) is not None)


def request_body(command: StartCommand, *, native_background: bool = False) -> dict[str, Any]:
    """Return the JSON body of the upstream request.

    Args:
        native_background: ask for a background response, which the provider can be told to cancel.
    """
    request = command.request
    messages = request.messages
    if command.dialect is Dialect.MESSAGES:
        messages = with_reminders(messages)
    instructions, messages = _instructions(messages)
    body = {name: value for name, value in request.extra.items() if name not in OURS}
    body |= {
        "model": command.upstream_model,
        "input": [item for message in messages for item in _items(message)],
        "stream": True,
        "store": native_background,
    }
    if command.max_output_tokens is not None:
        body["max_output_tokens"] = command.max_output_tokens
    if native_background:
        body["background"] = True
    if instructions is not None:
        body["instructions"] = instructions
    return body | _tool_members(command) | _output_members(request)


def _tool_members(command: StartCommand) -> dict[str, Any]:
    request, choice = command.request, command.request.tool_choice
    if not request.tools:
        return {}
    # Without the member this format means strict, the others mean the opposite.
    strict = None if command.dialect is Dialect.RESPONSES else False
    members = {
        "tools": [_tool(tool, strict) for tool in request.tools],
        "tool_choice": None if choice is None else _tool_choice(choice),
        "parallel_tool_calls": request.parallel_tool_calls,
    }
    return present(members)


def _output_members(request: CompletionRequest) -> dict[str, Any]:
    text = _object(request.extra.get("text"))
    if request.response_format is not None:
        text["format"] = _format(request.response_format)
    reasoning = _object(request.extra.get("reasoning"))
    reasoning.pop("effort", None)
    effort = effort_of(request)
    if effort is not None:
        reasoning["effort"] = effort
    members = {
        "text": text or None,
        "reasoning": reasoning or None,
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
    }
    return present(members)


def _format(chat_form: Mapping[str, Any]) -> dict[str, Any]:
    """Return the format with its schema beside its type, as this format has it."""
    schema = chat_form.get("json_schema")
    members = {name: value for name, value in chat_form.items() if name != "json_schema"}
    return {**members, **schema} if isinstance(schema, Mapping) else members


def _tool(tool: Tool, strict: bool | None) -> dict[str, Any]:
    function = {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(object_schema(tool.parameters, with_properties=True)),
        "strict": strict if tool.strict is None else tool.strict,
    }
    return present(function)


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "name": choice.name}
    return choice.mode.value


def _instructions(messages: tuple[Message, ...]) -> tuple[str | None, tuple[Message, ...]]:
    """Return the text of a first message of the system, and the messages that are left as items."""
    first, *others = messages
    texts = [part.text for part in first.parts if isinstance(part, TextPart)]
    is_plain = first.role is Role.SYSTEM and len(texts) == len(first.parts) == 1
    # An answer needs something to answer: instructions alone are sent as an item.
    return (texts[0], tuple(others)) if is_plain and others else (None, messages)


def _items(message: Message) -> Iterator[dict[str, Any]]:
    """Yield the message's items: neighbouring content is one message, anything else its own."""
    for is_content, parts in groupby(message.parts, key=_is_content):
        if is_content:
            yield _message(message.role, list(parts))
        else:
            yield from map(_item, parts)


def _is_content(part: Part) -> bool:
    return not isinstance(part, ToolCallPart | ToolResultPart | ReasoningPart)


def _message(role: Role, parts: list[Part]) -> dict[str, Any]:
    if role is Role.ASSISTANT:
        content = [_output_part(part) for part in parts]
        return {"type": "message", "role": "assistant", "status": "completed", "content": content}
    # The role of a tool has results alone in this format; any other text of it is the user's.
    name = Role.USER.value if role is Role.TOOL else role.value
    return {"type": "message", "role": name, "content": [_input_part(part) for part in parts]}


def _input_part(part: Part) -> dict[str, Any]:
    match part:
        case ImagePart():
            image = {"type": "input_image", "image_url": media_url(part.url), "detail": part.detail}
            return present(image)
        case FilePart():
            is_inline = part.url[:5].lower() == "data:"
            file = {"type": "input_file", "filename": part.name}
            return present({**file, "file_data" if is_inline else "file_url": part.url})
        case TextPart() | RefusalPart():
            return {"type": "input_text", "text": part.text}
        case _:
            raise ValueError("a request with such a part is refused")


def _output_part(part: Part) -> dict[str, Any]:
    match part:
        case RefusalPart():
            return {"type": "refusal", "refusal": part.text}
        case TextPart():
            return {"type": "output_text", "text": part.text, "annotations": []}
        case _:
            # An image of the assistant's own can only be shown to it again.
            return _input_part(part)


def _item(part: Part) -> dict[str, Any]:
    match part:
        case ToolCallPart():
            return {
                "type": "function_call",
                "call_id": _call_id(part.call_id),
                "name": part.name,
                "arguments": part.arguments,
            }
        case ToolResultPart():
            return {
                "type": "function_call_output",
                "call_id": _call_id(part.call_id),
                "output": _output(part),
            }
        case ReasoningPart():
            return _reasoning(part)
        case _:
            raise ValueError("content has no item of its own")


def _output(part: ToolResultPart) -> str | list[dict[str, Any]]:
    if not part.media:
        return part.text
    text = [{"type": "input_text", "text": part.text}] if part.text else []
    return [*text, *map(_input_part, part.media)]


def _reasoning(part: ReasoningPart) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "reasoning", "summary": []}
    if part.text or part.signature is None:
        item["content"] = [{"type": "reasoning_text", "text": part.text}]
    if part.signature is not None:
        item["encrypted_content"] = part.signature
    return item


def _object(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
