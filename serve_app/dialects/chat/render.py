"""The chat dialect's objects: usage, and the completion as a whole.

Source: contract of the chat dialect, sections 3, 5 and 6; design, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from actors.core.events import (
    CancelSource,
    Charge,
    Finished,
    FinishReason,
    Status,
    Usage,
)
from actors.record import CompletionHeader, Receipt
from serve_app.dialects.answer import Answer, Block, BlockKind
from serve_app.dialects.chat.errors import FAILURES, failure_message
from serve_app.dialects.midstream_object import credits, midstream_object, receipt_object

__all__ = ["completion_object", "finish_reason", "usage_object"]

_FINISH_REASONS: Mapping[FinishReason, str | None] = MappingProxyType(
    {
        FinishReason.STOP: "stop",
        FinishReason.LENGTH: "length",
        FinishReason.TOOL_CALLS: "tool_calls",
        FinishReason.CONTENT_FILTER: "content_filter",
        FinishReason.CANCELLED: "cancelled",
        FinishReason.ERROR: None,  # The model never finished; `status` and `error` tell.
    }
)

_CANCEL_CODES: Mapping[CancelSource, tuple[str, str, str]] = MappingProxyType(
    {
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
        CancelSource.UNKNOWN: (
            "cancelled_unknown",
            "server_error",
            "The completion was cancelled.",
        ),
    }
)


def finish_reason(finished: Finished) -> str | None:
    return _FINISH_REASONS[finished.finish_reason]


def usage_object(header: CompletionHeader, usage: Usage, charge: Charge) -> dict[str, Any]:
    value: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
    }
    breakdown: dict[str, Any] = {
        "input_credits": credits(charge.input_microcredits),
        "output_credits": credits(charge.output_microcredits),
    }
    if usage.reasoning_tokens:
        value["reasoning_tokens"] = usage.reasoning_tokens
        breakdown["reasoning_credits"] = credits(charge.reasoning_microcredits)
    value["total_tokens"] = usage.total_tokens
    if usage.cached_tokens:
        value["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    value["credits_charged"] = credits(charge.total_microcredits)
    value["breakdown"] = {
        **breakdown,
        "model": header.model,
        "pricing_version": header.prices.version,
    }
    return value


def completion_object(
    header: CompletionHeader, answer: Answer, receipt: Receipt | None
) -> dict[str, Any]:
    """Return the ChatCompletionResponse, as create, GET and cancel have it."""
    finished = answer.finished
    charge = finished.charge if finished else Charge()
    midstream = midstream_object(header, finished)
    if cut := answer.calls(is_complete=False):
        # Recorded, but not where a client would look for something to call.
        midstream["incomplete_tool_calls"] = [_tool_call(block) for block in cut]
    if receipt is not None:
        midstream["receipt"] = receipt_object(receipt)
    value: dict[str, Any] = {
        "id": header.wire_id,
        "object": "chat.completion",
        "created": int(header.created_at_s),
        "model": header.model,
        "choices": [
            {
                "index": 0,
                "message": _message(answer),
                "finish_reason": finish_reason(finished) if finished else None,
            }
        ],
        "usage": usage_object(header, answer.usage, charge),
        "status": finished.status.value if finished else "in_progress",
        "midstream": midstream,
    }
    if finished is not None and finished.status is not Status.COMPLETED:
        value["error"] = _error_object(finished)
    return value


def _message(answer: Answer) -> dict[str, Any]:
    text, refusal = answer.text_of(BlockKind.TEXT), answer.text_of(BlockKind.REFUSAL)
    calls = answer.calls(is_complete=True)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if not text and (calls or refusal):
        message["content"] = None
    if refusal:
        message["refusal"] = refusal
    if calls:
        message["tool_calls"] = [_tool_call(block) for block in calls]
    return message


def _tool_call(block: Block) -> dict[str, Any]:
    return {
        "id": block.call_id,
        "type": "function",
        "function": {"name": block.name, "arguments": block.text},
    }


def _error_object(finished: Finished) -> dict[str, Any]:
    if finished.error is not None:
        row = FAILURES[finished.error.code]
        return {"code": row.code, "type": row.type, "message": failure_message(finished.error)}
    code, kind, message = _CANCEL_CODES[finished.source or CancelSource.UNKNOWN]
    return {"code": code, "type": kind, "message": message}
