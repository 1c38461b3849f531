"""The facts of a completion: the far half of the seam, and all that a reader can see of it.

A completion's log is a dense sequence of these, from 0, and ends with exactly one `Finished`.
Every delta carries `tokens`, set when it is logged and never computed again. `block` numbers the
content blocks of the answer from 0; a text, a refusal, a stretch of reasoning and each tool call is a block,
opened by its first event and closed by `BlockFinished`.

As JSON, in records, and as msgpack, between processes, an event is the array `[tag, member...]`. Stored
ones are read for as long as records live: a new member goes to the end and has a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from actors.core.completion.charge import Charge, ChargeBasis, Usage
from actors.core.errors import Failure
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


class Started(msgspec.Struct, frozen=True, array_like=True, tag="start", gc=False):
    """Dispatched: the hold is durable and the provider is being asked."""

    prompt_tokens_estimated: int


class TextDelta(msgspec.Struct, frozen=True, array_like=True, tag="text", gc=False):
    block: int
    text: str
    tokens: int


class ReasoningDelta(msgspec.Struct, frozen=True, array_like=True, tag="reasoning", gc=False):
    block: int
    text: str
    tokens: int


class RefusalDelta(msgspec.Struct, frozen=True, array_like=True, tag="refusal", gc=False):
    block: int
    text: str
    tokens: int


class ToolCallStarted(msgspec.Struct, frozen=True, array_like=True, tag="call", gc=False):
    """`kind` and `namespace` are the called tool's, as the client defined it."""

    block: int
    call_id: str
    name: str
    tokens: int
    kind: ToolKind = ToolKind.FUNCTION
    namespace: str | None = None


class ToolCallDelta(msgspec.Struct, frozen=True, array_like=True, tag="arguments", gc=False):
    """A piece of the call's arguments, JSON text as the model writes it; of a CUSTOM tool its input."""

    block: int
    arguments: str
    tokens: int


class Opaque(msgspec.Struct, frozen=True, array_like=True, tag="opaque"):
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


class BlockFinished(msgspec.Struct, frozen=True, array_like=True, tag="block", gc=False):
    """`is_complete` is False for a block that a cancel or a failure cut: such a call is never callable.

    `signature` is the provider's seal on a block of reasoning, opaque; it may be asked to see it again.
    """

    block: int
    is_complete: bool
    signature: str | None = None


class UsageReported(msgspec.Struct, frozen=True, array_like=True, tag="usage"):
    """The provider's own running or final figures; a later one replaces an earlier."""

    usage: Usage


class Finished(msgspec.Struct, frozen=True, array_like=True, tag="end"):
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
