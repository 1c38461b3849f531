"""OpenAI chat completions, as the simulator speaks it: what a body asks for, and how an answer is written.

The body is checked as OpenAI's API checks it. Sampling members are taken and ignored, but `seed`.
The frames and the body of an answer are `core/wire`'s.

Source: OpenAI API reference, "Create chat completion" and "Error codes", read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from actors.core.events import BlockFinished, Delta, FinishReason, Usage
from actors.core.request import (
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolKind,
    ToolResultPart,
    VideoPart,
)
from actors.core.wire.openai_chat import (
    DONE,
    ChatStreamWriter,
    completion_body,
    error_frame,
    usage_object,
)
from actors.simulator.request import (
    Ask,
    AskRefused,
    Fault,
    checked_tokens,
    integer_member,
    json_object,
    list_member,
    object_member,
    text_member,
)
from actors.simulator.tools import AUTO, tool_to_call
from actors.simulator.wires.base import Heading, Wire

__all__ = ["CHAT"]

_ROLES = {role.value: role for role in Role} | {"developer": Role.SYSTEM}


class _ChatWire:
    """See `Wire`."""

    path = "/v1/chat/completions"

    def parse(self, body: bytes) -> Ask:
        return _ask(json_object(body))

    def writer(self, heading: Heading) -> _ChatWriter:
        return _ChatWriter(heading)

    def body(
        self, heading: Heading, deltas: Sequence[Delta], reason: FinishReason, usage: Usage
    ) -> Mapping[str, Any]:
        end = BlockFinished(0, is_complete=reason is FinishReason.TOOL_CALLS)
        return completion_body(
            [*deltas, end],
            completion_id=_id(heading),
            model=heading.model,
            created=int(heading.created_at_s),
            finish_reason=reason.value,
            usage=usage_object(usage),
        )

    def error_body(self, fault: Fault) -> Mapping[str, Any]:
        return {"error": _error_object(fault)}


class _ChatWriter:
    """See `FrameWriter`. The first frame has the role."""

    def __init__(self, heading: Heading) -> None:
        self._frames = ChatStreamWriter(_id(heading), heading.model, int(heading.created_at_s))
        self._ask = heading.ask

    def start(self, usage: Usage) -> bytes:
        return self._frames.role()

    def delta(self, delta: Delta, usage: Usage | None) -> bytes:
        return self._frames.delta(delta, None if usage is None else usage_object(usage))

    def finish(self, reason: FinishReason, usage: Usage | None) -> bytes:
        figures = None if usage is None else usage_object(usage)
        end = self._frames.finish(reason.value, figures if self._ask.has_running_usage else None)
        if figures is not None and self._ask.has_usage:
            end += self._frames.usage(figures)
        return end + DONE

    def failure(self, fault: Fault) -> bytes:
        return error_frame(_error_object(fault))


def _id(heading: Heading) -> str:
    return f"chatcmpl-{heading.answer_id}"


def _error_object(fault: Fault) -> dict[str, Any]:
    return {
        "message": fault.message,
        "type": fault.kind,
        "param": fault.param,
        "code": fault.code,
    }


def _ask(value: dict[str, Any]) -> Ask:
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise AskRefused("you must provide a model parameter", param="model")
    if value.get("n") not in (None, 1):
        raise AskRefused("Only one choice is supported.", param="n", code="unsupported_value")
    prompt = value.get("messages")
    messages, tools = _messages(prompt), _tools(value.get("tools"))
    tool, is_tool_forced = tool_to_call(tools, _tool_choice(value.get("tool_choice")), messages)
    options = object_member(value, "stream_options")
    return Ask(
        model=model,
        prompt=prompt,
        messages=messages,
        body=value,
        tools=tools,
        tool=tool,
        is_tool_forced=is_tool_forced,
        output_tokens_max=_output_tokens_max(value),
        seed=integer_member(value, "seed"),
        response_format=_response_format(value),
        is_stream=value.get("stream") is True,
        has_usage=options.get("include_usage") is True,
        has_running_usage=options.get("continuous_usage_stats") is True,
    )


def _output_tokens_max(value: Mapping[str, Any]) -> int | None:
    tokens = checked_tokens(value, "max_completion_tokens")
    return checked_tokens(value, "max_tokens") if tokens is None else tokens


def _response_format(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the format where it asks for JSON; plain text is no format."""
    response_format = object_member(value, "response_format")
    if response_format.get("type") in ("json_object", "json_schema"):
        return response_format
    if response_format.get("type", "text") != "text":
        raise AskRefused("Unknown response format.", param="response_format.type")
    return None


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise AskRefused("'messages' must be an array of at least one message.", param="messages")
    return tuple(_message(member, f"messages.[{i}]") for i, member in enumerate(value))


def _message(value: Any, path: str) -> Message:
    if not isinstance(value, dict):
        raise AskRefused(f"Invalid type for '{path}': expected an object.", param=path)
    role = _ROLES.get(text_member(value, "role", path))
    if role is None:
        raise AskRefused(f"Invalid value for '{path}.role'.", param=f"{path}.role")
    name = value.get("name")
    if name is not None:
        name = text_member(value, "name", path)
    if role is Role.TOOL:
        text = "".join(
            part.text for part in _content(value.get("content"), path) if isinstance(part, TextPart)
        )
        result = ToolResultPart(text_member(value, "tool_call_id", path), text)
        return Message(role, (result,), name)
    return Message(role, (*_asides(value, path), *_content(value.get("content"), path)), name)


def _asides(value: Mapping[str, Any], path: str) -> Iterator[Part]:
    """Yield what an assistant's message holds beside its content."""
    if value.get("reasoning_content") is not None:
        yield ReasoningPart(text_member(value, "reasoning_content", path))
    if value.get("refusal") is not None:
        yield RefusalPart(text_member(value, "refusal", path))
    for i, call in enumerate(list_member(value.get("tool_calls"), f"{path}.tool_calls")):
        yield _call(call if isinstance(call, dict) else {}, f"{path}.tool_calls[{i}]")


def _call(value: Mapping[str, Any], path: str) -> ToolCallPart:
    is_custom = value.get("type") == "custom"
    kind, arguments = ("custom", "input") if is_custom else ("function", "arguments")
    member, where = object_member(value, kind), f"{path}.{kind}"
    return ToolCallPart(
        str(value.get("id", "")),
        text_member(member, "name", where),
        text_member(member, arguments, where),
        ToolKind(kind),
    )


def _content(value: Any, path: str) -> Iterator[Part]:
    if isinstance(value, str):
        yield TextPart(value)
        return
    for i, part in enumerate(list_member(value, f"{path}.content")):
        yield _part(part, f"{path}.content[{i}]")


def _part(value: Any, path: str) -> Part:
    kind = value.get("type") if isinstance(value, dict) else None
    match kind:
        case "text":
            return TextPart(text_member(value, "text", path))
        case "refusal":
            return RefusalPart(text_member(value, "refusal", path))
        case "image_url":
            image = object_member(value, "image_url")
            detail = image.get("detail")
            url = text_member(image, "url", f"{path}.image_url")
            return ImagePart(url, detail if isinstance(detail, str) else None)
        case "video_url":
            return VideoPart(
                text_member(object_member(value, "video_url"), "url", f"{path}.video_url")
            )
        case "file":
            file = object_member(value, "file")
            return FilePart(str(file.get("file_data") or file.get("file_id") or ""))
        case "input_audio":
            return FilePart("data:audio")
    raise AskRefused(f"Invalid value for '{path}.type'.", param=f"{path}.type")


def _tools(value: Any) -> tuple[Tool, ...]:
    return tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(list_member(value, "tools")))


def _tool(value: Any, path: str) -> Tool:
    kind = value.get("type", "function") if isinstance(value, dict) else "function"
    if kind not in ("function", "custom"):
        return Tool(str(kind), kind=ToolKind.HOSTED, definition=value)
    member = object_member(value, kind) if isinstance(value, dict) else {}
    description, parameters = member.get("description"), member.get("parameters")
    return Tool(
        name=text_member(member, "name", f"{path}.{kind}"),
        description=description if isinstance(description, str) else None,
        parameters=parameters if isinstance(parameters, dict) else None,
        kind=ToolKind(kind),
    )


def _tool_choice(value: Any) -> ToolChoice:
    if isinstance(value, str) and value in ("none", "required"):
        return ToolChoice(ToolChoiceMode(value))
    if not isinstance(value, dict):
        return AUTO
    if value.get("type") == "allowed_tools":
        allowed = object_member(value, "allowed_tools")
        names = tuple(
            _name_of(tool, f"tool_choice.allowed_tools.tools[{i}]")
            for i, tool in enumerate(list_member(allowed.get("tools"), "tool_choice"))
        )
        is_required = allowed.get("mode") == "required"
        mode = ToolChoiceMode.REQUIRED if is_required else ToolChoiceMode.AUTO
        return ToolChoice(mode, allowed=names)
    return ToolChoice(ToolChoiceMode.NAMED, _name_of(value, "tool_choice"))


def _name_of(value: Any, path: str) -> str:
    kind = "custom" if isinstance(value, dict) and value.get("type") == "custom" else "function"
    member = object_member(value, kind) if isinstance(value, dict) else {}
    return text_member(member, "name", f"{path}.{kind}")


CHAT: Wire = _ChatWire()
