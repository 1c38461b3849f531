"""The messages dialect's objects: the message as a whole, and the status of a stream.

Source: contract of the messages dialect, sections 3, 4 and 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from actors.core.errors import UpstreamError
from actors.core.events import Finished, FinishReason, Status, Usage
from actors.core.request import Dialect
from actors.core.wire.anthropic import (
    message_body,
    stop_reason,
    text_block,
    thinking_block,
    tool_use_block,
    usage_object,
)
from serve_app.dialects.answer import Block, BlockKind, FoldedAnswer, agreed_reason
from serve_app.dialects.base import Snapshot
from serve_app.dialects.messages.blocks import folded
from serve_app.dialects.messages.errors import MESSAGES_ERRORS, error_object
from serve_app.dialects.midstream_object import midstream_object, receipt_object

__all__ = [
    "message_object",
    "status_object",
    "status_of",
    "stop_reason_of",
    "timestamp",
    "usage_object",
]

_STATUSES: Mapping[Status, str] = {
    Status.COMPLETED: "completed",
    Status.CANCELLED: "cancelled",
    Status.FAILED: "error",
}

_STREAM_TYPE = "chat_completion"


def stop_reason_of(finished: Finished, *, has_refused: bool, has_calls: bool) -> str | None:
    reason = agreed_reason(finished.finish_reason, has_calls=has_calls)
    if has_refused and reason is FinishReason.STOP:
        return "refusal"
    return stop_reason(reason, finished.stop_sequence)


def message_object(shown: Snapshot) -> dict[str, Any]:
    """Return the message, running or settled."""
    header, answer, finished = shown.header, shown.answer, shown.answer.finished
    midstream = midstream_object(header, finished)
    cut = answer.calls(is_complete=False)
    if cut and finished is not None:
        # Recorded, but not where a client would look for something to call.
        midstream["incomplete_tool_calls"] = [
            {"id": block.call_id, "name": block.name, "partial_json": block.text} for block in cut
        ]
    if shown.receipt is not None:
        midstream["receipt"] = receipt_object(shown.receipt)
    refused = bool(answer.of_kind(BlockKind.REFUSAL))
    has_calls = bool(answer.calls(is_complete=True))
    reason = None
    if finished is not None:
        reason = stop_reason_of(finished, has_refused=refused, has_calls=has_calls)
    value = message_body(
        _content(answer),
        message_id=header.wire_id,
        model=header.model,
        reason=reason,
        stop_sequence=finished.stop_sequence if finished else None,
        usage=usage_object(answer.usage),
    )
    if finished is not None and finished.error is not None:
        value["error"] = error_object(UpstreamError(finished.error))
    value["midstream"] = midstream
    return value


def _content(answer: FoldedAnswer) -> list[dict[str, Any]]:
    blocks = (answer.blocks[index] for index in sorted(answer.blocks))
    return [
        value
        for block in blocks
        if block.is_complete or block.kind is not BlockKind.TOOL_CALL
        if (value := _block(block)) is not None
    ]


def _block(block: Block) -> dict[str, Any] | None:
    """Return the block, None for one that came in another format and is of no other."""
    payloads = block.opaque_of(Dialect.MESSAGES)
    match block.kind:
        case BlockKind.TEXT | BlockKind.REFUSAL:
            return folded(text_block(block.text), payloads)
        case BlockKind.REASONING:
            return folded(thinking_block(block.text, block.signature), payloads)
        case BlockKind.TOOL_CALL:
            return folded(tool_use_block(block.call_id, block.name, block.text), payloads)
        case BlockKind.OPAQUE:
            return folded({}, payloads) or None


def status_of(shown: Snapshot) -> str:
    """Return the state of a stream; `processing` begins with the first block."""
    finished = shown.answer.finished
    if finished is not None:
        return _STATUSES[finished.status]
    return "processing" if shown.answer.blocks else "pending"


def status_object(shown: Snapshot) -> dict[str, Any]:
    """Return where a stream stands."""
    header, finished = shown.header, shown.answer.finished
    midstream = midstream_object(header, finished)
    if shown.receipt is not None:
        midstream["receipt"] = receipt_object(shown.receipt)
    ended_at = timestamp(finished.finished_at_s) if finished else None
    error = finished.error if finished else None
    return {
        "message_id": header.wire_id,
        "status": status_of(shown),
        "created_at": timestamp(header.created_at_s),
        "updated_at": ended_at or timestamp(_processing_since_s(shown)),
        "completed_at": ended_at,
        "error_message": MESSAGES_ERRORS.failure_message(error) if error else None,
        "stream_type": _STREAM_TYPE,
        "metadata": _metadata(shown),
        "midstream": midstream,
    }


def _processing_since_s(shown: Snapshot) -> float:
    began_s = shown.timeline.first_token_at_s if shown.answer.blocks else None
    return began_s or shown.header.created_at_s


def _metadata(shown: Snapshot) -> dict[str, Any]:
    header, finished = shown.header, shown.answer.finished
    usage: Usage = shown.answer.usage
    value: dict[str, Any] = {
        "message_count": header.echo.get("message_count", 0),
        "thinking_enabled": header.echo.get("thinking_enabled", False),
        "tokens_processed": usage.completion_tokens + usage.reasoning_tokens,
        "total_tokens": usage.total_tokens,
    }
    if finished is not None:
        value["completion_time_ms"] = round(
            max(0.0, finished.finished_at_s - header.created_at_s) * 1000
        )
        if finished.error is not None:
            value["error_code"] = finished.error.code.value
    return value


def timestamp(at_s: float) -> str:
    """Return the time in ISO 8601, UTC, to the microsecond."""
    text = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"
