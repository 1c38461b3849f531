"""The chat dialect's objects: usage, and the completion as a whole.

Under strict contracts they are the primary page's: `completion_tokens` without reasoning, and no word
of the reasoning itself. Else they are OpenAI's, with this API's own members beside.

Source: contract of the chat dialect, sections 3, 5 and 6; design, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actors.core.events import CancelSource, Charge, Finished, FinishReason, Status, Usage
from actors.core.record import CompletionHeader, Receipt
from actors.core.request import Dialect
from actors.core.wire.openai_chat import members_of_call, tool_call
from serve_app.dialects.answer import Block, BlockKind, FoldedAnswer, agreed_reason
from serve_app.dialects.chat.errors import CHAT_ERRORS, failure_row
from serve_app.dialects.midstream_object import credits, midstream_object, receipt_object

__all__ = [
    "FUNCTIONS",
    "INCLUDE_USAGE",
    "completion_object",
    "finish_reason",
    "speaks_functions",
    "usage_object",
]

FUNCTIONS = "functions"
INCLUDE_USAGE = "include_usage"
"""What of a request its answer depends on: members of its `echo`, there where they are true."""

_FINISH_REASONS: Mapping[FinishReason, str | None] = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.CANCELLED: "cancelled",
    FinishReason.ERROR: None,  # The model never finished; `status` and `error` tell.
}

_CANCEL_CODES: Mapping[CancelSource, tuple[str, str, str]] = {
    CancelSource.CLIENT_REQUEST: (
        "cancelled_by_request",
        "invalid_request",
        "The completion was cancelled by a request.",
    ),
    CancelSource.ADMIN: (
        "cancelled_by_request",
        "invalid_request",
        "The completion was cancelled by an administrator.",
    ),
    CancelSource.CLIENT_DISCONNECT: (
        "cancelled_client_disconnect",
        "invalid_request",
        "The completion was cancelled because its last reader disconnected.",
    ),
    CancelSource.DEADLINE: (
        "cancelled_deadline",
        "invalid_request",
        "The completion was cancelled because its time was up.",
    ),
    CancelSource.BUDGET: (
        "cancelled_budget",
        "invalid_request",
        "The completion was cancelled at the limit of what was held for it.",
    ),
    CancelSource.SHUTDOWN: (
        "cancelled_shutdown",
        "server_error",
        "The completion was cancelled because the service shut down.",
    ),
    CancelSource.UNKNOWN: ("cancelled_unknown", "server_error", "The completion was cancelled."),
}


def finish_reason(header: CompletionHeader, finished: Finished, *, has_calls: bool) -> str | None:
    reason = agreed_reason(finished.finish_reason, has_calls=has_calls)
    if reason is FinishReason.TOOL_CALLS and speaks_functions(header):
        return "function_call"
    return _FINISH_REASONS[reason]


def usage_object(
    header: CompletionHeader, usage: Usage, charge: Charge, *, is_strict: bool
) -> dict[str, Any]:
    value = _strict_tokens(usage) if is_strict else _tokens(usage)
    breakdown: dict[str, Any] = {
        "input_credits": credits(charge.input_microcredits),
        "output_credits": credits(charge.output_microcredits),
    }
    if usage.reasoning_tokens:
        breakdown["reasoning_credits"] = credits(charge.reasoning_microcredits)
    value["credits_charged"] = credits(charge.total_microcredits)
    value["breakdown"] = {
        **breakdown,
        "model": header.model,
        "pricing_version": header.prices.version,
    }
    return value


def _tokens(usage: Usage) -> dict[str, Any]:
    """Return the figures as OpenAI has them: reasoning is a part of the completion."""
    value: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens + usage.reasoning_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if usage.cache_write_tokens:
        value["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        value["reasoning_tokens"] = usage.reasoning_tokens
    return value


def _strict_tokens(usage: Usage) -> dict[str, Any]:
    value: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
    }
    if usage.reasoning_tokens:
        value["reasoning_tokens"] = usage.reasoning_tokens
    value["total_tokens"] = usage.total_tokens
    if usage.cached_tokens:
        value["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return value


def speaks_functions(header: CompletionHeader) -> bool:
    """Return whether the client asked with OpenAI's older words, `functions` for tools."""
    return FUNCTIONS in header.echo


def completion_object(
    header: CompletionHeader, answer: FoldedAnswer, receipt: Receipt | None, *, is_strict: bool
) -> dict[str, Any]:
    """Return the ChatCompletionResponse, as create, GET and cancel have it."""
    finished = answer.finished
    charge = finished.charge if finished else Charge()
    calls = answer.calls(is_complete=True)
    midstream = midstream_object(header, finished)
    if cut := answer.calls(is_complete=False):
        # Recorded, but not where a client would look for something to call.
        midstream["incomplete_tool_calls"] = [_tool_call(block) for block in cut]
    if receipt is not None:
        midstream["receipt"] = receipt_object(receipt)
    reason = finish_reason(header, finished, has_calls=bool(calls)) if finished else None
    value: dict[str, Any] = {
        "id": header.wire_id,
        "object": "chat.completion",
        "created": int(header.created_at_s),
        "model": header.model,
        "choices": [
            {
                "index": 0,
                "message": _message(header, answer, calls, is_strict=is_strict),
                "finish_reason": reason,
            }
        ],
        "usage": usage_object(header, answer.usage, charge, is_strict=is_strict),
        "status": finished.status.value if finished else "in_progress",
        "midstream": midstream,
    }
    if finished is not None and finished.status is not Status.COMPLETED:
        value["error"] = _error_object(finished, is_strict=is_strict)
    return value


def _message(
    header: CompletionHeader, answer: FoldedAnswer, calls: list[Block], *, is_strict: bool
) -> dict[str, Any]:
    text, refusal = answer.text_of(BlockKind.TEXT), answer.text_of(BlockKind.REFUSAL)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if not text and (calls or refusal):
        message["content"] = None
    thought = "" if is_strict else answer.text_of(BlockKind.REASONING)
    if thought:
        message["reasoning_content"] = thought
    if refusal:
        message["refusal"] = refusal
    if calls and speaks_functions(header):
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].text}
    elif calls:
        message["tool_calls"] = [_tool_call(block) for block in calls]
    for index in sorted(answer.blocks):
        if answer.blocks[index].kind is not BlockKind.TOOL_CALL:
            _merge(message, answer.blocks[index].opaque_of(Dialect.CHAT))
    return message


def _tool_call(block: Block) -> dict[str, Any]:
    call = tool_call(block.call_id, block.name, block.text, block.tool)
    _merge(call, map(members_of_call, block.opaque_of(Dialect.CHAT)))
    return call


def _merge(value: dict[str, Any], payloads: Iterable[Mapping[str, Any]]) -> None:
    """Add the vendor's members of a block; what came in pieces of a list is one list again."""
    for payload in payloads:
        for name, member in payload.items():
            known = value.get(name)
            if isinstance(known, list) and isinstance(member, list):
                value[name] = [*known, *member]
            else:
                value[name] = member


def _error_object(finished: Finished, *, is_strict: bool) -> dict[str, Any]:
    if finished.error is not None:
        row = failure_row(finished.error, is_strict=is_strict)
        message = CHAT_ERRORS.failure_message(finished.error)
        return {"code": row.code, "type": row.type, "message": message}
    code, kind, message = _CANCEL_CODES[finished.source or CancelSource.UNKNOWN]
    return {"code": code, "type": kind, "message": message}
