"""The facts of a completion: the far half of the seam, and all that a reader can see of it.

A completion's log is a dense sequence of these, from 0, and ends with exactly one `Finished`.
Every delta carries `tokens`, set when it is logged and never computed again. `block` numbers the
content blocks of the answer from 0; a text, a refusal, a stretch of reasoning and each tool call is a block,
opened by its first event and closed by `BlockFinished`.

`to_row` and `from_row` turn an event into a flat list of JSON values and back; the record in the
store and the channel between actor and replica are made of such rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from actors.core.completion.charge import (
    Charge,
    ChargeBasis,
    Usage,
    charge_from,
    charge_row,
    usage_from,
    usage_row,
)
from actors.core.errors import Failure, FailureCode
from actors.core.request import Dialect, ToolKind

__all__ = [
    "BlockFinished",
    "CancelSource",
    "Charge",
    "ChargeBasis",
    "Delta",
    "Event",
    "FinishReason",
    "Finished",
    "Opaque",
    "ReasoningDelta",
    "RefusalDelta",
    "Started",
    "Status",
    "TextDelta",
    "ToolCallDelta",
    "ToolCallStarted",
    "Usage",
    "UsageReported",
    "from_row",
    "to_row",
]


class Status(StrEnum):
    """Terminal states, as every dialect spells them."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    CANCELLED = "cancelled"
    ERROR = "error"


class CancelSource(StrEnum):
    """Who cancelled. Closed set."""

    CLIENT_REQUEST = "client_request"
    CLIENT_DISCONNECT = "client_disconnect"
    DEADLINE = "deadline"
    BUDGET = "budget"
    ADMIN = "admin"
    SHUTDOWN = "shutdown"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Started:
    """Dispatched: the hold is durable and the provider is being asked."""

    prompt_tokens_estimated: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    block: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    block: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    block: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """`kind` and `namespace` are the called tool's, as the client defined it."""

    block: int
    call_id: str
    name: str
    tokens: int
    kind: ToolKind = ToolKind.FUNCTION
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the call's arguments, JSON text as the model writes it; of a CUSTOM tool its input."""

    block: int
    arguments: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Opaque:
    """What only readers of the same wire format are shown, as it came.

    Args:
        block: a block of its own (a hosted tool's call or result), or the block that it belongs to
            (a citation of a text, a vendor's member of a call).
        format: the dialect whose wire format it is of; readers of all others pass over it.
        payload: the JSON object, without numbers and places: those are the writer's.
        tokens: what it counts as output; 0 where the provider reports it in another figure.
    """

    block: int
    format: Dialect
    payload: Mapping[str, Any]
    tokens: int


@dataclass(frozen=True, slots=True)
class BlockFinished:
    """`is_complete` is False for a block that a cancel or a failure cut: such a call is never callable.

    `signature` is the provider's seal on a block of reasoning, opaque; it may be asked to see it again.
    """

    block: int
    is_complete: bool
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class UsageReported:
    """The provider's own running or final figures; a later one replaces an earlier."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    """The terminal event: always last, exactly one, and only after its record is durable.

    `stop_sequence` is the one that ended the answer, where the provider told. `finished_at_s` is wall
    clock, set by the driver: every replica shows the same.
    """

    status: Status
    finish_reason: FinishReason
    source: CancelSource | None
    error: Failure | None
    usage: Usage
    charge: Charge
    stop_sequence: str | None = None
    finished_at_s: float = 0.0


Delta = TextDelta | ReasoningDelta | RefusalDelta | ToolCallStarted | ToolCallDelta
Event = Started | Delta | Opaque | BlockFinished | UsageReported | Finished


def to_row(event: Event) -> list[Any]:
    """Return the event as `[tag, field...]` of JSON values."""
    return _WRITE[type(event)](event)


def from_row(row: Sequence[Any]) -> Event:
    """Rebuild an event from `to_row`'s answer.

    Raises:
        KeyError, TypeError, ValueError: the row was not written by `to_row`: our own bug.
    """
    return _READ[row[0]](*row[1:])


def _call_row(event: ToolCallStarted) -> list[Any]:
    row = ["call", event.block, event.call_id, event.name, event.tokens]
    if event.kind is ToolKind.FUNCTION and event.namespace is None:
        return row
    return [*row, event.kind.value, event.namespace]


def _call_from(
    block: int,
    call_id: str,
    name: str,
    tokens: int,
    kind: str = ToolKind.FUNCTION,
    namespace: str | None = None,
) -> ToolCallStarted:
    return ToolCallStarted(block, call_id, name, tokens, ToolKind(kind), namespace)


def _opaque_from(block: int, format: str, payload: Mapping[str, Any], tokens: int) -> Opaque:
    return Opaque(block, Dialect(format), payload, tokens)


def _block_row(event: BlockFinished) -> list[Any]:
    row = ["block", event.block, event.is_complete]
    return row if event.signature is None else [*row, event.signature]


def _failure_row(failure: Failure) -> list[Any]:
    return [
        failure.code.value,
        failure.message,
        failure.upstream_status,
        failure.retry_after_s,
        failure.upstream_type,
        failure.upstream_code,
        failure.param,
    ]


def _finished_row(event: Finished) -> list[Any]:
    return [
        "end",
        event.status.value,
        event.finish_reason.value,
        event.source.value if event.source else None,
        _failure_row(event.error) if event.error else None,
        usage_row(event.usage),
        charge_row(event.charge),
        event.stop_sequence,
        event.finished_at_s,
    ]


def _finished_from(
    status: str,
    finish_reason: str,
    source: str | None,
    error: list[Any] | None,
    usage: list[Any],
    charge: list[Any],
    stop_sequence: str | None = None,  # Rows of the first schema end before it.
    finished_at_s: float = 0.0,
) -> Finished:
    return Finished(
        Status(status),
        FinishReason(finish_reason),
        CancelSource(source) if source else None,
        Failure(FailureCode(error[0]), *error[1:]) if error else None,
        usage_from(usage),
        charge_from(charge),
        stop_sequence,
        finished_at_s,
    )


_WRITE: dict[type, Callable[[Any], list[Any]]] = {
    Started: lambda e: ["start", e.prompt_tokens_estimated],
    TextDelta: lambda e: ["text", e.block, e.text, e.tokens],
    ReasoningDelta: lambda e: ["reasoning", e.block, e.text, e.tokens],
    RefusalDelta: lambda e: ["refusal", e.block, e.text, e.tokens],
    ToolCallStarted: _call_row,
    ToolCallDelta: lambda e: ["arguments", e.block, e.arguments, e.tokens],
    Opaque: lambda e: ["opaque", e.block, e.format.value, dict(e.payload), e.tokens],
    BlockFinished: _block_row,
    UsageReported: lambda e: ["usage", usage_row(e.usage)],
    Finished: _finished_row,
}

_READ: dict[str, Callable[..., Event]] = {
    "start": Started,
    "text": TextDelta,
    "reasoning": ReasoningDelta,
    "refusal": RefusalDelta,
    "call": _call_from,
    "arguments": ToolCallDelta,
    "opaque": _opaque_from,
    "block": BlockFinished,
    "usage": lambda row: UsageReported(usage_from(row)),
    "end": _finished_from,
}
