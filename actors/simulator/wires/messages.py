"""Anthropic Messages, as the simulator speaks it: what a body asks for, and how an answer is written.

The body is checked as Anthropic's API checks it, sampling members are taken and ignored, but `seed`,
which is none of Anthropic's. Thinking ends with a signature. The frames and the body of an answer are
`core/wire`'s. `POST /v1/messages/count_tokens` counts with the very function that counts a prompt.

Source: Anthropic API reference, "Messages", "Count tokens in a Message" and "Errors", read
2026-11-22.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from actors.core.events import (
    BlockFinished,
    Delta,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)
from actors.core.request import (
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolKind,
    ToolResultPart,
)
from actors.core.wire.anthropic import (
    MESSAGE_STOP,
    MessagesStreamWriter,
    error_frame,
    fold_content,
    message_body,
    redacted_signature,
    stop_reason,
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
from actors.simulator.tools import tool_to_call
from actors.simulator.wires.base import Heading, Wire
from actors.upstream.tokenizer import count_prompt

__all__ = ["COUNT_TOKENS_PATH", "MESSAGES", "count_tokens"]

COUNT_TOKENS_PATH = "/v1/messages/count_tokens"

SIGNATURE = "c2ltdWxhdGVkIHRob3VnaHQ="
"""Of all that a simulated model thinks."""

_ROLES = {role.value: role for role in (Role.USER, Role.ASSISTANT, Role.SYSTEM)}

_OTHER_TOOLS = ("server_tool_use", "mcp_tool_use")
"""Calls of tools that the provider runs."""

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _MessagesWire:
    """See `Wire`."""

    path = "/v1/messages"

    def parse(self, body: bytes) -> Ask:
        value = json_object(body)
        if value.get("max_tokens") is None:
            raise AskRefused("max_tokens: Field required", param="max_tokens")
        return _ask(value)

    def writer(self, heading: Heading) -> _MessagesWriter:
        return _MessagesWriter(heading)

    def body(
        self, heading: Heading, deltas: Sequence[Delta], reason: FinishReason, usage: Usage
    ) -> Mapping[str, Any]:
        last = max((delta.block for delta in deltas), default=-1)
        ends = [
            BlockFinished(block, block < last or reason is FinishReason.TOOL_CALLS, SIGNATURE)
            for block in range(last + 1)
        ]
        return message_body(
            fold_content([*deltas, *ends]),
            message_id=_id(heading),
            model=heading.model,
            reason=_reason(reason, any(isinstance(delta, RefusalDelta) for delta in deltas)),
            usage=usage_object(usage),
        )

    def error_body(self, fault: Fault) -> Mapping[str, Any]:
        return {"type": "error", "error": _error_object(fault), "request_id": None}


class _MessagesWriter:
    """See `FrameWriter`. A block starts with its first delta."""

    def __init__(self, heading: Heading) -> None:
        self._frames = MessagesStreamWriter(_id(heading), heading.model)
        self._open: Delta | None = None  # The first delta of the open block.
        self._is_refusal = False

    def start(self, usage: Usage) -> bytes:
        return self._frames.message_start(usage_object(usage))

    def delta(self, delta: Delta, usage: Usage | None) -> bytes:
        start = b""
        if self._open is None or self._open.block != delta.block:
            start = self._block_stop() + self._block_start(delta)
            self._open = delta
        match delta:
            case ToolCallStarted():
                return start
            case ToolCallDelta():
                return start + self._frames.delta(delta.arguments)
            case _:
                return start + self._frames.delta(delta.text)

    def finish(self, reason: FinishReason, usage: Usage | None) -> bytes:
        figures = {} if usage is None else usage_object(usage)
        end = self._frames.message_delta(_reason(reason, self._is_refusal), figures)
        return self._block_stop() + end + MESSAGE_STOP

    def failure(self, fault: Fault) -> bytes:
        return error_frame(_error_object(fault))

    def _block_start(self, delta: Delta) -> bytes:
        match delta:
            case ToolCallStarted(_, call_id, name, _):
                return self._frames.tool_use_start(call_id, name)
            case ReasoningDelta():
                return self._frames.thinking_start()
            case TextDelta() | RefusalDelta() | ToolCallDelta():
                self._is_refusal = isinstance(delta, RefusalDelta)
                return self._frames.text_start()

    def _block_stop(self) -> bytes:
        if self._open is None:
            return b""
        is_thought = isinstance(self._open, ReasoningDelta)
        seal = self._frames.signature(SIGNATURE) if is_thought else b""
        return seal + self._frames.block_stop()


async def count_tokens(request: Request) -> Response:
    """Answer `POST /v1/messages/count_tokens`."""
    try:
        ask = _ask(json_object(await request.body()))
    except AskRefused as error:
        return JSONResponse(MESSAGES.error_body(error.fault), error.fault.status)
    return JSONResponse({"input_tokens": count_prompt(ask.messages, ask.tools)})


def _id(heading: Heading) -> str:
    return f"msg_{heading.answer_id}"


def _reason(reason: FinishReason, is_refusal: bool) -> str | None:
    return "refusal" if is_refusal else stop_reason(reason)


def _error_object(fault: Fault) -> dict[str, Any]:
    default = "api_error" if fault.status >= 500 else "invalid_request_error"
    return {"type": _KINDS.get(fault.status, default), "message": fault.message}


def _ask(value: dict[str, Any]) -> Ask:
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise AskRefused("model: Field required", param="model")
    prompt = value.get("messages")
    if not isinstance(prompt, list) or not prompt:
        raise AskRefused("messages: at least one message is required", param="messages")
    messages = (*_system(value.get("system")), *_messages(prompt))
    tools = _tools(value.get("tools"))
    choice = _tool_choice(object_member(value, "tool_choice"))
    tool, is_tool_forced = tool_to_call(tools, choice, messages)
    return Ask(
        model=model,
        prompt=prompt,
        messages=messages,
        body=value,
        tools=tools,
        tool=tool,
        is_tool_forced=is_tool_forced,
        output_tokens_max=checked_tokens(value, "max_tokens"),
        seed=integer_member(value, "seed"),
        response_format=_response_format(value),
        is_stream=value.get("stream") is True,
    )


def _response_format(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = object_member(object_member(value, "output_config"), "format")
    wanted = wanted or object_member(value, "output_format")
    if not wanted:
        return None
    if wanted.get("type") != "json_schema":
        raise AskRefused("output_config.format.type: Input should be 'json_schema'")
    schema = object_member(wanted, "schema")
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}


def _system(value: Any) -> Iterator[Message]:
    parts = tuple(_content(value, "system")) if value is not None else ()
    if parts:
        yield Message(Role.SYSTEM, parts)


def _messages(value: list[Any]) -> Iterator[Message]:
    for i, member in enumerate(value):
        path = f"messages.{i}"
        if not isinstance(member, dict):
            raise AskRefused(f"{path}: Input should be an object", param=path)
        role = _ROLES.get(text_member(member, "role", path))
        if role is None:
            raise AskRefused(f"{path}.role: Input should be 'user' or 'assistant'", param=path)
        yield Message(role, tuple(_content(member.get("content"), f"{path}.content")))


def _content(value: Any, path: str) -> Iterator[Part]:
    if isinstance(value, str):
        yield TextPart(value)
        return
    for i, block in enumerate(list_member(value, path)):
        yield _part(block, f"{path}.{i}")


def _part(value: Any, path: str) -> Part:
    kind = value.get("type") if isinstance(value, dict) else None
    match kind:
        case "text":
            return TextPart(text_member(value, "text", path))
        case "image":
            return ImagePart(_image_url(object_member(value, "source"), f"{path}.source"))
        case "tool_use":
            arguments = json.dumps(object_member(value, "input"), ensure_ascii=False)
            call_id = text_member(value, "id", path)
            return ToolCallPart(call_id, text_member(value, "name", path), arguments)
        case "tool_result":
            text = "".join(_result_texts(value.get("content"), f"{path}.content"))
            is_error = value.get("is_error") is True
            return ToolResultPart(text_member(value, "tool_use_id", path), text, is_error)
        case "thinking":
            signature = value.get("signature")
            seal = signature if isinstance(signature, str) else None
            return ReasoningPart(text_member(value, "thinking", path), seal)
        case "redacted_thinking":
            return ReasoningPart("", redacted_signature(text_member(value, "data", path)))
        case "document" | "container_upload":
            return FilePart(str(kind))
        case str() if kind.startswith(_OTHER_TOOLS) or kind.endswith("_tool_result"):
            return TextPart(json.dumps(value, ensure_ascii=False))
        case "search_result" | "compaction":
            return TextPart(json.dumps(value, ensure_ascii=False))
    raise AskRefused(f"{path}: Input tag found does not match any of the expected tags", param=path)


def _result_texts(value: Any, path: str) -> Iterator[str]:
    """Yield the texts of a tool's result, whatever else is in it."""
    if isinstance(value, str):
        yield value
        return
    for i, block in enumerate(list_member(value, path)):
        if isinstance(block, dict) and block.get("type") == "text":
            yield text_member(block, "text", f"{path}.{i}")


def _image_url(source: Mapping[str, Any], path: str) -> str:
    if source.get("type") == "url":
        return text_member(source, "url", path)
    media_type = text_member(source, "media_type", path)
    return f"data:{media_type};base64,{text_member(source, 'data', path)}"


def _tools(value: Any) -> tuple[Tool, ...]:
    return tuple(_tool(tool, f"tools.{i}") for i, tool in enumerate(list_member(value, "tools")))


def _tool(value: Any, path: str) -> Tool:
    if not isinstance(value, dict):
        raise AskRefused(f"{path}: Input should be an object", param=path)
    kind = value.get("type", "custom")
    if kind not in ("custom", None):
        return Tool(str(value.get("name") or kind), kind=ToolKind.HOSTED, definition=value)
    description = value.get("description")
    return Tool(
        name=text_member(value, "name", path),
        description=description if isinstance(description, str) else None,
        parameters=object_member(value, "input_schema"),
    )


_MODES = {
    "any": ToolChoiceMode.REQUIRED,
    "none": ToolChoiceMode.NONE,
    "tool": ToolChoiceMode.NAMED,
}


def _tool_choice(value: Mapping[str, Any]) -> ToolChoice:
    mode = _MODES.get(str(value.get("type")), ToolChoiceMode.AUTO)
    is_named = mode is ToolChoiceMode.NAMED
    return ToolChoice(mode, text_member(value, "name", "tool_choice") if is_named else None)


MESSAGES: Wire = _MessagesWire()
