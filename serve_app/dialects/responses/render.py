"""The Responses dialect's objects: the response as a whole, and a page of input items.

Frames and bodies show the same response: what differs is where its output comes from.

Source: contract of the Responses dialect, section 3; design, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.core.errors import FailureCode
from actors.core.events import Finished, Status, Usage
from actors.core.record import CompletionHeader
from actors.core.request import Dialect
from actors.core.wire.responses import (
    CALL_TYPES,
    DEFAULT_MEMBERS,
    INCOMPLETE_REASONS,
    call_item,
    decorated,
    item_id,
    message_item,
    opaque_item,
    reasoning_item,
    refusal_item,
    usage_object,
)
from serve_app.dialects.answer import Block, BlockKind, FoldedAnswer
from serve_app.dialects.base import Snapshot
from serve_app.dialects.midstream_object import midstream_object, receipt_object
from serve_app.dialects.responses.errors import RESPONSES_ERRORS
from serve_app.dialects.responses.items import identified

__all__ = [
    "input_items_page",
    "opening_status",
    "output_items",
    "queued_response",
    "response_object",
    "snapshot_object",
]

_ERROR_CODES: Mapping[FailureCode, str] = {
    FailureCode.UPSTREAM_RATE_LIMITED: "rate_limit_exceeded",
    FailureCode.UPSTREAM_REJECTED: "invalid_prompt",
}
"""What a failure is called whose provider had no word of its own for it. Any other is a `server_error`;
`midstream.failure` has the runtime's word."""


def response_object(
    header: CompletionHeader,
    output: list[dict[str, Any]],
    *,
    status: str,
    usage: Usage | None = None,
    finished: Finished | None = None,
) -> dict[str, Any]:
    """Return a Response object. `status` is shown while it runs; afterwards its end says."""
    shown = {name: member for name, member in header.echo.items() if name in DEFAULT_MEMBERS}
    return {
        "id": header.wire_id,
        "object": "response",
        "created_at": int(header.created_at_s),
        "status": status,
        "model": header.model,
        "provider": header.provider,
        "output": output,
        "usage": None if usage is None else usage_object(usage),
        **DEFAULT_MEMBERS,
        **shown,
        **({} if finished is None else _end(finished)),
        "midstream": midstream_object(header, finished),
    }


def snapshot_object(shown: Snapshot) -> dict[str, Any]:
    """Return the response as create, GET and cancel have it, running or settled."""
    header, answer = shown.header, shown.answer
    output = output_items(header, answer)
    is_waiting = not answer.blocks and shown.timeline.dispatched_at_s is None
    value = response_object(
        header,
        output,
        status=opening_status(header) if is_waiting else "in_progress",
        usage=answer.usage,
        finished=answer.finished,
    )
    if shown.receipt is not None:
        value["midstream"]["receipt"] = receipt_object(shown.receipt)
    return value


def opening_status(header: CompletionHeader) -> str:
    """Return the status of a response that the provider was not asked for yet."""
    return "queued" if header.echo.get("background") else "in_progress"


def queued_response(header: CompletionHeader) -> dict[str, Any]:
    """Return the response as it stands when it was accepted."""
    return response_object(header, [], status=opening_status(header))


def input_items_page(
    header: CompletionHeader, *, after: str | None, limit: int, is_ascending: bool
) -> dict[str, Any]:
    """Return a page of what came in; one after an unknown item is empty."""
    items: Sequence[dict[str, Any]] = identified(header.echo.get("input", ()), header.wire_id)
    items = items if is_ascending else items[::-1]
    if after is not None:
        ids = [item["id"] for item in items]
        items = items[ids.index(after) + 1 :] if after in ids else []
    page = items[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > len(page),
    }


def _end(finished: Finished) -> dict[str, Any]:
    """Return the members that only a response that has ended has."""
    if finished.status is Status.CANCELLED:
        return {"status": "cancelled"}
    if finished.status is Status.FAILED:
        return {"status": "failed", "error": _error(finished)}
    reason = INCOMPLETE_REASONS.get(finished.finish_reason)
    if reason is not None:
        return {"status": "incomplete", "incomplete_details": {"reason": reason}}
    return {"status": "completed", "completed_at": int(finished.finished_at_s)}


def _error(finished: Finished) -> dict[str, Any]:
    failure = finished.error
    if failure is None:
        return {"code": "server_error", "message": "No reason was kept."}
    known = _ERROR_CODES.get(failure.code)
    code = (known and failure.upstream_code) or known or "server_error"
    return {"code": code, "message": RESPONSES_ERRORS.failure_message(failure)}


def output_items(header: CompletionHeader, answer: FoldedAnswer) -> list[dict[str, Any]]:
    """Return the output of an answer, running or settled, as far as it goes."""
    items = (_item(header, index, answer.blocks[index], answer) for index in sorted(answer.blocks))
    return [item for item in items if item is not None]


def _item(
    header: CompletionHeader, index: int, block: Block, answer: FoldedAnswer
) -> dict[str, Any] | None:
    running = "in_progress" if answer.finished is None else "incomplete"
    status = "completed" if block.is_complete else running
    payloads = block.opaque_of(Dialect.RESPONSES)
    if block.kind is BlockKind.OPAQUE:
        return opaque_item(payloads, status)
    return decorated(_plain_item(header, index, block, status), payloads)


def _plain_item(header: CompletionHeader, index: int, block: Block, status: str) -> dict[str, Any]:
    is_call = block.kind is BlockKind.TOOL_CALL
    kind = CALL_TYPES[block.tool] if is_call else _ITEM_TYPES[block.kind]
    id = item_id(kind, header.completion_id, index)
    match block.kind:
        case BlockKind.TEXT:
            return message_item(id, block.text, status)
        case BlockKind.REFUSAL:
            return refusal_item(id, block.text, status)
        case BlockKind.REASONING:
            return reasoning_item(id, block.text, block.signature, status)
        case _:
            return call_item(
                id, block.call_id, block.name, block.text, status, block.tool, block.namespace
            )


_ITEM_TYPES: Mapping[BlockKind, str] = {
    BlockKind.TEXT: "message",
    BlockKind.REFUSAL: "message",
    BlockKind.REASONING: "reasoning",
}
