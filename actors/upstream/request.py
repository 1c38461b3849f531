"""What of a request goes to its provider: passed on, put in other words, left out and named, or refused.

The part of admission that knows wire formats; it must not know prices, holds or HTTP. What it takes out of
a request is named as the client wrote it, for `Midstream-Ignored`.

Rules:
1. Nothing is refused that a provider may support: choice of tools, thinking, efforts and limits are passed
   on, and its refusal is the answer. Capabilities in the configuration are what the models list shows.
2. A member that changes the output and that the provider's wire format cannot carry is refused by name;
   one that only tunes it is left out.
3. A hosted tool goes only to a provider of the same wire format whose configuration lists its type. Where
   the model may do without, it is left out; where the choice demands it, the request is refused.
4. Under `strict_contracts` the primary pages' refusals stand: a forced choice of tools and thinking
   without the capability; and an effort that the model does not have is dropped.

Source: contracts of the chat dialect, sections 6 and 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from msgspec.structs import replace as replace_members

from actors.core.errors import InvalidRequest
from actors.core.request import (
    CompletionRequest,
    Dialect,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Role,
    Tool,
    ToolChoice,
    ToolChoiceMode,
    ToolKind,
)
from actors.core.wire.own_body import PreparedBody
from actors.core.wire.pass_through import held_back
from actors.core.wire.recipient import Recipient
from actors.upstream.wire_formats import WireFormat, carries_body

__all__ = [
    "REASONING_EFFORT",
    "TOOL_CHOICE_REQUIRED",
    "ProviderRequest",
    "provider_request",
]

REASONING_EFFORT = "reasoning_effort"
TOOL_CHOICE_REQUIRED = "tool_choice_required"

_SIGNATURES: Mapping[Dialect, str] = {
    Dialect.CHAT: "messages[].reasoning_content",
    Dialect.MESSAGES: "messages[].content[].signature",
    Dialect.RESPONSES: "input[].encrypted_content",
    Dialect.MODEL_RESPONSE: "reasoning",
}
"""Where each dialect has a signature, or, where it has none, what one would be on."""

_FORCED = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """What goes to the provider; `ignored` is the command's."""

    request: CompletionRequest
    ignored: tuple[str, ...]


def provider_request(
    request: CompletionRequest,
    *,
    dialect: Dialect,
    model: str,
    capabilities: tuple[str, ...],
    wire: WireFormat,
    recipient: Recipient,
    is_strict: bool,
) -> ProviderRequest:
    """Return what of a request goes to its provider.

    Raises: InvalidRequest: a member that changes the output and cannot be honoured.
    """
    if request.sampling.logprobs:
        # No event carries them back, so an answer without them would be a silent loss.
        raise _unsupported("Log probabilities are not supported.", "logprobs")
    if is_strict:
        request = _strict(request, model, capabilities, wire)
    if carries_body(request, dialect, wire):
        request, ignored = _of_body(request, model, wire, recipient)
    else:
        request, ignored = _of_neutral(request, dialect, model, wire, recipient)
    return ProviderRequest(request, tuple(dict.fromkeys(ignored)))


# Strict contracts.


def _strict(
    request: CompletionRequest, model: str, capabilities: tuple[str, ...], wire: WireFormat
) -> CompletionRequest:
    choice = request.tool_choice
    if (
        choice is not None
        and choice.mode is ToolChoiceMode.REQUIRED
        and TOOL_CHOICE_REQUIRED not in capabilities
    ):
        raise InvalidRequest(
            f"{model} does not support tool_choice 'required'.",
            param="tool_choice",
            reason="tool_choice_required_unsupported",
        )
    if REASONING_EFFORT in capabilities:
        return request
    # The Messages format has a member for thinking whatever the model's degrees are.
    if request.is_reasoning and wire.dialect is not Dialect.MESSAGES:
        raise _unsupported(f"{model} cannot think.", "thinking")
    if request.reasoning_effort is None:
        return request
    return replace(request, reasoning_effort=None, body=_without_effort(request.body))


def _without_effort(body: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a body without a degree of effort, wherever its format has it."""
    if body is None:
        return None
    kept = {name: value for name, value in body.items() if name != "reasoning_effort"}
    for name in ("reasoning", "output_config", "thinking"):
        inner = kept.get(name)
        if isinstance(inner, Mapping) and "effort" in inner:
            kept[name] = {key: value for key, value in inner.items() if key != "effort"}
    return kept


# The client's own body.


def _of_body(
    request: CompletionRequest, model: str, wire: WireFormat, recipient: Recipient
) -> tuple[CompletionRequest, tuple[str, ...]]:
    assert request.body is not None, "there is a body to send"
    if "response_format" in wire.refused(request):
        # A member of our dialect's own: the format says it in other words, and not all of it.
        raise _no_member(model, "response_format")
    own = wire.prepared(request.body, recipient)
    _check_choice_of_body(request.tool_choice, own)
    # The body says it all; what was made of it has been counted, and need not travel twice.
    sent = replace(
        request, body=own.body, messages=(), tools=(), body_only=(), extra={}, tool_choice=None
    )
    return sent, tuple(own.left_out)


def _check_choice_of_body(choice: ToolChoice | None, own: PreparedBody) -> None:
    """Raises: InvalidRequest: the choice demands a tool that was left out."""
    if not own.tools_left_out:
        return
    said = own.body.get("tool_choice")
    named = _named_by(said) if isinstance(said, Mapping) else choice.name if choice else None
    if named in own.tools_left_out:
        raise _no_hosted_tool(str(named))
    if choice is None or choice.mode not in _FORCED:
        return
    allowed = said.get("tools") if isinstance(said, Mapping) else None
    if not own.body.get("tools") or allowed == []:
        raise _no_hosted_tool(next(iter(sorted(own.tools_left_out))))


def _named_by(choice: Mapping[str, Any]) -> str | None:
    """Return the tool that a choice in a format's own words names: by its name, or its type alone."""
    name = choice.get("name", choice.get("type"))
    return name if isinstance(name, str) else None


# The neutral request.


def _of_neutral(
    request: CompletionRequest,
    dialect: Dialect,
    model: str,
    wire: WireFormat,
    recipient: Recipient,
) -> tuple[CompletionRequest, tuple[str, ...]]:
    for beyond in request.body_only:
        if beyond.refusal is not None:
            raise _unsupported(beyond.refusal, beyond.path)
    request, ignored = _without_hosted_tools(request)
    request = _narrowed(request)
    for member in wire.refused(request):
        raise _no_member(model, member)
    request, unsealed = _opened(request, dialect, recipient)
    if wire.dialect is dialect:
        extra, held = held_back(request.extra, own=(), pass_through=recipient.pass_through)
    else:
        extra, held = {}, tuple(request.extra)
    paths = (beyond.path for beyond in request.body_only)
    named = (*ignored, *paths, *held, *wire.ignored(request), *unsealed, *_silent(request, wire))
    return replace(request, extra=extra, body=None, headers={}, body_only=()), named


def _without_hosted_tools(
    request: CompletionRequest,
) -> tuple[CompletionRequest, tuple[str, ...]]:
    """Return the request without tools that only a provider of the client's own format could run.

    Raises: InvalidRequest: the choice of tools demands one.
    """
    hosted = [tool for tool in request.tools if tool.kind is ToolKind.HOSTED]
    if not hosted:
        return request, ()
    kept = tuple(tool for tool in request.tools if tool.kind is not ToolKind.HOSTED)
    choice = request.tool_choice
    if choice is not None and choice.mode in _FORCED:
        may_call = [tool for tool in kept if not choice.allowed or tool.name in choice.allowed]
        named = next((tool for tool in hosted if choice.name in (tool.name, _type(tool))), None)
        if named is not None and all(tool.name != choice.name for tool in kept):
            raise _no_hosted_tool(_type(named))
        if not may_call:
            raise _no_hosted_tool(_type(hosted[0]))
    names = tuple(_type(tool) for tool in hosted)
    return replace(request, tools=kept, tool_choice=choice if kept else None), names


def _type(tool: Tool) -> str:
    kind = (tool.definition or {}).get("type")
    return kind if isinstance(kind, str) else tool.name


def _narrowed(request: CompletionRequest) -> CompletionRequest:
    """Return the request with the tools alone that its choice allows: not every format can say which."""
    choice = request.tool_choice
    if choice is None or not choice.allowed:
        return request
    tools = tuple(tool for tool in request.tools if tool.name in choice.allowed)
    if not tools and choice.mode in _FORCED:
        raise InvalidRequest(
            "tool_choice allows only tools that are not among the tools.", param="tool_choice"
        )
    return replace(request, tools=tools, tool_choice=replace(choice, allowed=()) if tools else None)


def _opened(
    request: CompletionRequest, dialect: Dialect, recipient: Recipient
) -> tuple[CompletionRequest, tuple[str, ...]]:
    """Return the request with the signatures alone that are its provider's own."""
    if not any(isinstance(part, ReasoningPart) for part in _parts(request.messages)):
        return request, ()
    left_out: dict[str, None] = {}
    opened = (
        replace(message, parts=tuple(_opened_parts(message.parts, dialect, recipient, left_out)))
        for message in request.messages
    )
    kept = tuple(message for message in opened if message.parts)
    return replace(request, messages=kept), tuple(left_out)


def _opened_parts(
    parts: tuple[Part, ...], dialect: Dialect, recipient: Recipient, left_out: dict[str, None]
) -> Iterator[Part]:
    for part in parts:
        if not isinstance(part, ReasoningPart):
            yield part
            continue
        signature = recipient.opened(part.signature, dialect)
        # Anthropic's format takes no thought without its seal.
        is_useless = signature is None and (not part.text or recipient.wire is Dialect.MESSAGES)
        if signature is None and (part.signature is not None or is_useless):
            left_out[_SIGNATURES[dialect]] = None
        if not is_useless:
            yield replace_members(part, signature=signature)


def _silent(request: CompletionRequest, wire: WireFormat) -> Iterator[str]:
    """Yield what the provider's format has no word for, inside of messages."""
    if wire.dialect is Dialect.CHAT:
        return
    if any(
        message.name is not None and message.role is not Role.TOOL for message in request.messages
    ):
        yield "messages[].name"
    if wire.dialect is Dialect.MESSAGES and any(
        isinstance(part, ImagePart) and part.detail not in (None, "auto")
        for part in _parts(request.messages)
    ):
        yield "messages[].content[].image_url.detail"


def _parts(messages: tuple[Message, ...]) -> Iterator[Part]:
    return (part for message in messages for part in message.parts)


# Refusals.


def _no_hosted_tool(kind: str) -> InvalidRequest:
    return _unsupported(
        f"A tool of type {kind!r} is run by a provider, and this model's does not offer it here; "
        "tool_choice leaves no other.",
        "tool_choice",
    )


def _no_member(model: str, member: str) -> InvalidRequest:
    return _unsupported(f"The provider of {model} has no {member}.", member)


def _unsupported(message: str, param: str) -> InvalidRequest:
    """Return the refusal of what is well said and cannot be honoured here."""
    return InvalidRequest(message, param=param, reason="unsupported")
