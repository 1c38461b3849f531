"""A Responses request's body to a neutral `CompletionRequest`.

Owns what one member says about another: which content goes with which role, which tool a choice may
name, how long an answer is kept. Everything that a member may be by itself is in `members`.

What the response object shows again, and the items that came in, travel in `echo`: the one place where
`previous_response_id` and `background` are found later.

Source: contract of the Responses dialect, sections 2 and 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.core.errors import InvalidRequest
from actors.core.request import (
    CompletionRequest,
    DisconnectPolicy,
    Message,
    Retention,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from serve_app.dialects.json_body import validate
from serve_app.dialects.responses.items import messages_of, normal_items
from serve_app.dialects.responses.members import (
    ImageMember,
    MessageItem,
    NamedChoice,
    RefusalMember,
    ResponsesBody,
    TextMember,
)

__all__ = ["completion_request", "conversation"]

_REFUSED = {
    "conversation": "name the previous response with previous_response_id",
    "prompt": "send its text as instructions or input",
}
"""Members that change the output in ways that this API cannot carry: never dropped silently."""

_LOGPROBS = "message.output_text.logprobs"

_SHOWN = (
    "background",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)
"""Members that a response shows again as they were sent."""

_PASSED = (
    "include",
    "max_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "user",
)
"""Members that mean something to a provider of this format alone."""

_PARTS_ALLOWED: Mapping[str, tuple[type, ...]] = {
    "system": (TextMember,),
    "developer": (TextMember,),
    "user": (TextMember, ImageMember),
    "assistant": (TextMember, RefusalMember),
}


def completion_request(value: dict[str, Any], on_disconnect: DisconnectPolicy) -> CompletionRequest:
    """Return what the body asks for, without what an earlier response adds to it.

    Raises: InvalidRequest: names the member at fault.
    """
    body = validate(ResponsesBody, value)
    _check(body)
    items = normal_items(body.input)
    tools = tuple(
        Tool(tool.name, tool.description, tool.parameters, tool.strict) for tool in body.tools or ()
    )
    is_background = bool(body.background)
    echo = {name: value[name] for name in _SHOWN if value.get(name) is not None}
    return CompletionRequest(
        model=body.model,
        messages=conversation(body.instructions, messages_of(items)),
        tools=tools,
        tool_choice=_tool_choice(body, tools),
        parallel_tool_calls=body.parallel_tool_calls,
        max_output_tokens=body.max_output_tokens,
        sampling=Sampling(temperature=body.temperature, top_p=body.top_p),
        response_format=_response_format(value),
        reasoning_effort=body.reasoning.effort if body.reasoning else None,
        extra=_extra(body, value),
        body=value,
        echo=echo | {"input": items},
        retention=_retention(stores=body.store is not False, is_background=is_background),
        stream=bool(body.stream),
        background=is_background,
        on_disconnect=on_disconnect,
    )


def conversation(instructions: str | None, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return messages with the instructions before them; those of earlier responses are not kept."""
    if instructions is None:
        return messages
    return (Message(Role.SYSTEM, (TextPart(instructions),)), *messages)


def _check(body: ResponsesBody) -> None:
    for name, instead in _REFUSED.items():
        if (body.model_extra or {}).get(name) is not None:
            raise InvalidRequest(f"{name} is not supported; {instead}.", param=name)
    if body.top_logprobs or _LOGPROBS in (body.include or ()):
        # No event carries them back, so an answer without them would be a silent loss.
        param = "top_logprobs" if body.top_logprobs else "include"
        raise InvalidRequest("Log probabilities are not supported.", param=param)
    if not isinstance(body.input, str):
        for index, item in enumerate(body.input):
            if isinstance(item, MessageItem) and not isinstance(item.content, str):
                _check_parts(f"input[{index}]", item)


def _check_parts(path: str, item: MessageItem) -> None:
    for index, part in enumerate(item.content):
        if not isinstance(part, _PARTS_ALLOWED[item.role]):
            kind = getattr(part, "type", "")
            raise InvalidRequest(
                f"A part of type {kind} cannot be in a message of role {item.role}.",
                param=f"{path}.content[{index}].type",
            )


def _retention(*, stores: bool, is_background: bool) -> Retention:
    if stores:
        return Retention.FULL
    return Retention.BRIEF if is_background else Retention.RECEIPT


def _extra(body: ResponsesBody, value: dict[str, Any]) -> dict[str, Any]:
    """Return what only a provider of this format understands."""
    extra = {
        name: member for name, member in (body.model_extra or {}).items() if member is not None
    }
    extra |= {name: value[name] for name in _PASSED if value.get(name)}
    if body.truncation == "auto":
        extra["truncation"] = body.truncation
    for name, ours in (("text", "format"), ("reasoning", "effort")):
        rest = {n: m for n, m in (value.get(name) or {}).items() if n != ours and m is not None}
        if rest:
            extra[name] = rest
    return extra


def _response_format(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the format in the chat form."""
    wanted = (value.get("text") or {}).get("format")
    if wanted is None or wanted["type"] == "text":
        return None
    if wanted["type"] != "json_schema":
        return dict(wanted)
    schema = {name: member for name, member in wanted.items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}


def _tool_choice(body: ResponsesBody, tools: tuple[Tool, ...]) -> ToolChoice | None:
    choice = body.tool_choice
    if choice is None or (not tools and choice in ("auto", "none")):
        return None
    if not tools:
        raise InvalidRequest("tool_choice needs tools.", param="tool_choice")
    if not isinstance(choice, NamedChoice):
        return ToolChoice(ToolChoiceMode(choice))
    if all(tool.name != choice.name for tool in tools):
        raise InvalidRequest(
            "tool_choice names a function that is not among the tools.", param="tool_choice.name"
        )
    return ToolChoice(ToolChoiceMode.NAMED, choice.name)
