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
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
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
from actors.simulator.wires.base import Heading, Wire

__all__ = ["CHAT"]

_ROLES = {role.value: role for role in Role} | {"developer": Role.SYSTEM}


class _ChatWire:
    """See `Wire`."""

    path = "/v1/chat/completions"

    def parse(self, body: bytes) -> Ask:
        return _ask(json_object(body))

    def writer(self, heading: Heading) -> _Writer:
        return _Writer(heading)

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


class _Writer:
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
    tools = _tools(value.get("tools"))
    options = object_member(value, "stream_options")
    return Ask(
        model=model,
        prompt=prompt,
        messages=_messages(prompt),
        body=value,
        tools=tools,
        tool=_tool_to_call(tools, value.get("tool_choice")),
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
        where = f"{path}.tool_calls[{i}]"
        function = object_member(call, "function") if isinstance(call, dict) else {}
        yield ToolCallPart(
            str(call.get("id", "")) if isinstance(call, dict) else "",
            text_member(function, "name", f"{where}.function"),
            text_member(function, "arguments", f"{where}.function"),
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
    raise AskRefused(f"Invalid value for '{path}.type'.", param=f"{path}.type")


def _tools(value: Any) -> tuple[Tool, ...]:
    return tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(list_member(value, "tools")))


def _tool(value: Any, path: str) -> Tool:
    function = object_member(value, "function") if isinstance(value, dict) else {}
    description, parameters = function.get("description"), function.get("parameters")
    return Tool(
        name=text_member(function, "name", f"{path}.function"),
        description=description if isinstance(description, str) else None,
        parameters=parameters if isinstance(parameters, dict) else None,
    )


def _tool_to_call(tools: tuple[Tool, ...], choice: Any) -> Tool | None:
    """Return the named tool, else the first one, None where the client wants none called."""
    if not tools or choice == "none":
        return None
    if isinstance(choice, dict):
        name = text_member(object_member(choice, "function"), "name", "tool_choice.function")
        named = next((tool for tool in tools if tool.name == name), None)
        if named is None:
            raise AskRefused(
                f"Tool choice '{name}' not found in 'tools'.", param="tool_choice.function.name"
            )
        return named
    return tools[0]


CHAT: Wire = _ChatWire()
