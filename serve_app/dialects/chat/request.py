"""A chat request's body to a neutral `CompletionRequest`.

Owns what one member says about another: which tool a choice may name, which of two limits counts. What a
message says is `messages`'s; everything that a member may be by itself is in `body`. Under strict
contracts `strict` has refused before what the primary page refuses.

Source: contract of the chat dialect, section 2; OpenAI API reference, "Create chat completion", and the
request types of the clients in `body`, read 2026-11-25.
"""

from __future__ import annotations

from typing import Any

from actors.core.errors import InvalidRequest
from actors.core.request import CompletionRequest, DisconnectPolicy, Sampling
from serve_app.dialects.beyond import Beyond
from serve_app.dialects.chat.body import ChatBody
from serve_app.dialects.chat.functions import has_functions, told_of_functions, with_tools
from serve_app.dialects.chat.messages import message_of
from serve_app.dialects.chat.render import FUNCTIONS, INCLUDE_USAGE
from serve_app.dialects.chat.strict import check_strictly
from serve_app.dialects.chat.tidy import tidied
from serve_app.dialects.chat.tools import tool_choice, tools_of
from serve_app.dialects.json_body import validate

__all__ = ["completion_request", "ignored_members"]

_REFUSED = {"audio": "only text can be answered", "modalities": "only text can be answered"}
"""Members that change the output in ways that this API cannot carry: never dropped silently."""

_LIMIT_MAX = 2**31 - 1


def completion_request(
    value: dict[str, Any], on_disconnect: DisconnectPolicy, *, is_strict: bool = False
) -> CompletionRequest:
    """Return what the body asks for.

    Raises: InvalidRequest: names the member at fault.
    """
    if is_strict:
        check_strictly(value)
    newer = with_tools(value)
    try:
        return _understood(newer, on_disconnect, _echo(value, is_strict=is_strict))
    except InvalidRequest as error:
        raise (told_of_functions(error) if has_functions(value) else error) from None


def ignored_members(value: dict[str, Any]) -> tuple[str, ...]:
    """Return the members that no provider will see: they mean nothing, or are told by another.

    Call it with a body that `completion_request` took.
    """
    ignored: list[str] = []
    old, new = value.get("max_tokens"), value.get("max_completion_tokens")
    if old is not None and new is not None and old != new:
        ignored.append("max_tokens")
    choice = value.get("tool_choice")
    if choice not in (None, "none", "auto") and not value.get("tools"):
        ignored.append("tool_choice")
    return tuple(ignored)


def _understood(
    value: dict[str, Any], on_disconnect: DisconnectPolicy, echo: dict[str, Any]
) -> CompletionRequest:
    body = validate(ChatBody, value)
    extra = {
        name: member for name, member in (body.model_extra or {}).items() if member is not None
    }
    _check_refused(extra)
    if body.vision_quality is not None:
        extra["vision_quality"] = body.vision_quality
    beyond = Beyond()
    tools = tools_of(body, beyond)
    messages = tuple(
        message_of(index, member, beyond) for index, member in enumerate(body.messages)
    )
    return CompletionRequest(
        model=body.model,
        messages=messages,
        tools=tools,
        tool_choice=tool_choice(body.tool_choice, tools),
        parallel_tool_calls=body.parallel_tool_calls if tools else None,
        max_output_tokens=_max_output_tokens(body),
        sampling=_sampling(body),
        response_format=None if body.response_format is None else value["response_format"],
        reasoning_effort=_effort(body),
        reasoning_budget_tokens=_budget(body),
        is_reasoning=_is_reasoning(body),
        extra=extra,
        body=tidied(value),
        body_only=beyond.found(),
        echo=echo,
        stream=bool(body.stream),
        on_disconnect=on_disconnect,
    )


def _echo(value: dict[str, Any], *, is_strict: bool) -> dict[str, Any]:
    """Return what the answer's form depends on."""
    echo: dict[str, Any] = {}
    options = value.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True and not is_strict:
        echo[INCLUDE_USAGE] = True
    if has_functions(value):
        echo[FUNCTIONS] = True
    return echo


def _check_refused(extra: dict[str, Any]) -> None:
    for name, instead in _REFUSED.items():
        value = extra.get(name)
        if value is None or (name == "modalities" and value == ["text"]):
            continue
        raise InvalidRequest(f"{name} is not supported; {instead}.", param=name)


def _max_output_tokens(body: ChatBody) -> int | None:
    """Return the limit; the newer member counts where both are there and differ."""
    is_newer = body.max_completion_tokens is not None
    limit = body.max_completion_tokens if is_newer else body.max_tokens
    if limit == 0:
        name = "max_completion_tokens" if is_newer else "max_tokens"
        raise InvalidRequest(
            f"{name}: Input should be greater than or equal to 1.",
            param=name,
            reason="value_out_of_range",
        )
    return None if limit is None or limit < 0 else min(limit, _LIMIT_MAX)


def _sampling(body: ChatBody) -> Sampling:
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        seed=body.seed,
        stop=tuple(text for text in stop if text),
        logprobs=body.logprobs or None,
        top_logprobs=body.top_logprobs if body.logprobs else None,
    )


def _effort(body: ChatBody) -> str | None:
    if body.reasoning_effort is not None:
        return body.reasoning_effort
    return body.reasoning.effort if body.reasoning else None


def _budget(body: ChatBody) -> int | None:
    budget = body.thinking.budget_tokens if body.thinking else None
    if budget is None and body.reasoning is not None:
        budget = body.reasoning.max_tokens
    return min(budget, _LIMIT_MAX) if budget else None


def _is_reasoning(body: ChatBody) -> bool | None:
    if body.thinking is not None:
        return body.thinking.type != "disabled"
    return body.reasoning.enabled if body.reasoning else None
