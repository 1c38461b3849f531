"""A Responses request's body to a neutral `CompletionRequest`.

Owns what one member says about another: what an input may be, how long an answer is kept, what a
provider of this format is sent. Everything that a member may be by itself is in `body`; what items
and tools mean is in `items` and `tools`.

What the response object shows again, and the items that came in, travel in `echo`: the one place where
`previous_response_id` and `background` are found later.

Source: contract of the Responses dialect, sections 2 and 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from actors.core.errors import InvalidRequest
from actors.core.request import (
    BodyOnly,
    CompletionRequest,
    DisconnectPolicy,
    Message,
    Retention,
    Role,
    Sampling,
    TextPart,
)
from serve_app.dialects.json_body import missing, validate
from serve_app.dialects.responses.body import ITEMS_MAX_STRICT, ResponsesBody
from serve_app.dialects.responses.carried import body_only, self_contained, sent_item, sent_items
from serve_app.dialects.responses.items import BRINGING, Item, messages_of, normal_items, tools_in
from serve_app.dialects.responses.tools import tool_choice, tools_of, without_secrets

__all__ = ["completion_request", "continued", "references"]

_REFUSED = {
    "conversation": "name the previous response with previous_response_id",
    "prompt": "send its text as instructions or input",
}
"""Members that name what the provider keeps for its whole account, other teams' included."""

_LOGPROBS = "message.output_text.logprobs"

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Those of the primary page; by default it is the provider who knows its own."""

_REFERENCE = "item_reference"

_SHOWN = (
    "background", "instructions", "max_output_tokens", "max_tool_calls", "metadata",
    "parallel_tool_calls", "previous_response_id", "prompt_cache_key", "reasoning",
    "safety_identifier", "service_tier", "store", "temperature", "text", "tool_choice", "tools",
    "top_logprobs", "top_p", "truncation", "user",
)  # fmt: skip
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


def completion_request(
    value: dict[str, Any], on_disconnect: DisconnectPolicy, *, is_strict: bool = False
) -> CompletionRequest:
    """Return what the body asks for, without what earlier responses add to it (`continued`).

    Args:
        is_strict: refuse what the primary page does not know.
    Raises: InvalidRequest: names the member at fault.
    """
    body = validate(ResponsesBody, value)
    _check(body)
    if is_strict:
        _check_strictly(body)
    given = value.get("input") or ()
    items = normal_items(given)
    tools = tools_of([*(value.get("tools") or ()), *tools_in(items)])
    choice = tool_choice(body.tool_choice, tools, is_strict=is_strict)
    is_background = bool(body.background)
    echo = {name: value[name] for name in _SHOWN if value.get(name) is not None}
    if "tools" in echo:
        echo["tools"] = without_secrets(echo["tools"])
    # The hint is for us alone; a choice without tools means nothing, and is refused by some.
    sent = _without(value, ("provider",) if tools else ("provider", "tool_choice"))
    if not isinstance(given, str):
        sent["input"] = sent_items(given, items)
    return CompletionRequest(
        model=body.model,
        messages=_conversation(body.instructions, messages_of(items)),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        max_output_tokens=body.max_output_tokens,
        sampling=Sampling(temperature=body.temperature, top_p=body.top_p),
        response_format=_response_format(value),
        reasoning_effort=body.reasoning.effort if body.reasoning else None,
        extra=_extra(body, value),
        body=sent,
        body_only=_beyond(items, ()),
        echo=echo | {"input": [_kept(item) for item in items]},
        retention=_retention(stores=body.store is not False, is_background=is_background),
        stream=bool(body.stream),
        background=is_background,
        on_disconnect=on_disconnect,
    )


def references(request: CompletionRequest) -> list[str]:
    """Return the ids of the items that the input only refers to."""
    return [item["id"] for item in request.echo["input"] if item["type"] == _REFERENCE]


def continued(
    request: CompletionRequest, earlier: Sequence[Item], found: Mapping[str, Item]
) -> CompletionRequest:
    """Return the request as one that says all itself.

    Args:
        earlier: what was asked and answered before, in its normal form, the oldest first.
        found: the items that it refers to, by their ids.
    """
    echo, body = request.echo, request.body
    assert body is not None, "every request of this dialect has one"
    own = _resolved(echo["input"], found)
    items = [*earlier, *own]
    given = body.get("input") or ()
    sent = _resolved(normal_items(given) if isinstance(given, str) else given, found)
    return replace(
        request,
        messages=_conversation(echo.get("instructions"), messages_of(items)),
        tools=tools_of([*echo.get("tools", ()), *tools_in(items)]),
        body=self_contained(body, [sent_item(item) for item in (*earlier, *sent)]),
        body_only=_beyond(own, earlier),
        echo={**echo, "input": own},
    )


def _kept(item: Item) -> Item:
    """Return an item as it may be written down."""
    brings_tools = item["type"] in BRINGING
    return {**item, "tools": without_secrets(item["tools"])} if brings_tools else item


def _resolved(items: Sequence[Item], found: Mapping[str, Item]) -> list[Item]:
    return [found.get(str(item.get("id")), item) if _refers(item) else item for item in items]


def _refers(item: Item) -> bool:
    return item.get("type", _REFERENCE) == _REFERENCE and "role" not in item


def _conversation(instructions: str | None, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return messages with the instructions before them; those of earlier responses are not kept."""
    if instructions is None:
        return messages or (Message(Role.USER, (TextPart(""),)),)
    return (Message(Role.SYSTEM, (TextPart(instructions),)), *messages)


def _beyond(own: Sequence[Item], earlier: Sequence[Item]) -> tuple[BodyOnly, ...]:
    """Return what of the items the body alone has."""
    before = (replace(each, path="previous_response_id") for each in body_only(earlier))
    return (*before, *body_only(own))


def _check(body: ResponsesBody) -> None:
    for name, instead in _REFUSED.items():
        if (body.model_extra or {}).get(name) is not None:
            raise InvalidRequest(f"{name} is not supported; {instead}.", param=name)
    if body.top_logprobs:
        # No event carries them back, so an answer without them would be a silent loss.
        raise InvalidRequest("Log probabilities are not supported.", param="top_logprobs")
    if not body.input and body.previous_response_id is None and body.input != "":
        raise missing("input")


def _check_strictly(body: ResponsesBody) -> None:
    if _LOGPROBS in (body.include or ()):
        raise InvalidRequest("Log probabilities are not supported.", param="include")
    if isinstance(body.input, list) and len(body.input) > ITEMS_MAX_STRICT:
        raise InvalidRequest(
            f"input: List should have at most {ITEMS_MAX_STRICT} items.",
            param="input",
            reason="value_out_of_range",
        )
    effort = body.reasoning.effort if body.reasoning else None
    if effort is not None and effort not in _EFFORTS:
        told = ", ".join(_EFFORTS)
        raise InvalidRequest(
            f"reasoning.effort: {effort!r} is none of {told}.", param="reasoning.effort"
        )


def _without(value: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: member for name, member in value.items() if name not in names}


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
