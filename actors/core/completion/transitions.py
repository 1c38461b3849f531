"""The states of a completion, what may happen to it, and what follows: the machine's tables.

Three vocabularies: inputs say what happened outside, events (`actors.core.events`) are facts in the
log, effects tell the driver what to do. `TRANSITIONS` has every pair of state and input that moves
the stream; `IGNORED` has the pairs that are met in races and mean nothing, each with its reason; any
other pair raises `IllegalTransition` and changes nothing. Inputs whose effect depends on the money
alone (`HoldPlaced`, `SettlementStood`) are checked against the hold's table as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from actors.core.errors import Failure
from actors.core.events import (
    BlockFinished,
    CancelSource,
    Delta,
    Finished,
    FinishReason,
    Opaque,
    Usage,
    UsageReported,
)
from actors.core.money.holds import HoldState

__all__ = [
    "HOLD_TRANSITIONS",
    "IGNORED",
    "TRANSITIONS",
    "CancelRequested",
    "CloseUpstream",
    "DeltasReceived",
    "Effect",
    "ExtendHold",
    "ExtensionRefused",
    "HoldExtended",
    "HoldPlaced",
    "HoldRefused",
    "HoldState",
    "Input",
    "OpenUpstream",
    "Settle",
    "SettlementStood",
    "StreamState",
    "UpstreamClosed",
    "UpstreamFailed",
    "UpstreamFinished",
    "UpstreamOpened",
]


class StreamState(StrEnum):
    PENDING = "pending"
    CONNECTING = "connecting"
    STREAMING = "streaming"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in (StreamState.COMPLETED, StreamState.FAILED, StreamState.CANCELLED)


# Inputs: what happened outside.


@dataclass(frozen=True, slots=True)
class HoldPlaced:
    """The hold is durable."""


@dataclass(frozen=True, slots=True)
class HoldRefused:
    """The ledger said no; nothing is held, and there is nothing to record."""


@dataclass(frozen=True, slots=True)
class HoldExtended:
    """So much is held in all, durably."""

    hold_microcredits: int


@dataclass(frozen=True, slots=True)
class ExtensionRefused:
    """The ledger holds no more than it did: what is held may be used up."""


@dataclass(frozen=True, slots=True)
class UpstreamOpened:
    """The provider answered 2xx."""


@dataclass(frozen=True, slots=True)
class DeltasReceived:
    """What one segment brought, in order, with the provider's running figures where it sends them."""

    events: tuple[Delta | Opaque | BlockFinished | UsageReported, ...]
    running: Usage | None = None


@dataclass(frozen=True, slots=True)
class UpstreamFinished:
    """The provider ended the stream properly."""

    finish_reason: FinishReason
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamFailed:
    failure: Failure


@dataclass(frozen=True, slots=True)
class CancelRequested:
    source: CancelSource


@dataclass(frozen=True, slots=True)
class UpstreamClosed:
    """The connection that `CloseUpstream` asked to close is closed."""


@dataclass(frozen=True, slots=True)
class SettlementStood:
    """The hold is resolved and the record durable.

    `finished` is what stands: the completion's own end, or one that was recorded before it (a loss
    declared while it was out of reach).
    """

    finished: Finished
    hold: HoldState


Input = (
    HoldPlaced
    | HoldRefused
    | HoldExtended
    | ExtensionRefused
    | UpstreamOpened
    | DeltasReceived
    | UpstreamFinished
    | UpstreamFailed
    | CancelRequested
    | UpstreamClosed
    | SettlementStood
)


# Effects: what the driver must do.


@dataclass(frozen=True, slots=True)
class OpenUpstream:
    """Ask the provider; answer with UpstreamOpened or UpstreamFailed, then with what it sends."""


@dataclass(frozen=True, slots=True)
class ExtendHold:
    """Hold so much in all; answer with HoldExtended or ExtensionRefused.

    While the ledger cannot be asked, ask again: the machine gives up by itself when it has to wait.
    """

    to_microcredits: int


@dataclass(frozen=True, slots=True)
class CloseUpstream:
    """Close the connection at once; answer with UpstreamClosed."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Resolve the hold and make the record durable; answer with SettlementStood."""

    finished: Finished


Effect = OpenUpstream | ExtendHold | CloseUpstream | Settle

_S = StreamState

TRANSITIONS: dict[tuple[StreamState, type], StreamState] = {
    (_S.PENDING, HoldPlaced): _S.CONNECTING,
    (_S.PENDING, HoldRefused): _S.FAILED,
    (_S.PENDING, CancelRequested): _S.CANCELLING,
    (_S.CONNECTING, UpstreamOpened): _S.STREAMING,
    (_S.CONNECTING, UpstreamFailed): _S.FAILED,
    (_S.CONNECTING, CancelRequested): _S.CANCELLING,
    (_S.STREAMING, DeltasReceived): _S.STREAMING,
    (_S.STREAMING, HoldExtended): _S.STREAMING,
    (_S.STREAMING, ExtensionRefused): _S.STREAMING,
    (_S.STREAMING, UpstreamFinished): _S.COMPLETED,
    (_S.STREAMING, UpstreamFailed): _S.FAILED,
    (_S.STREAMING, CancelRequested): _S.CANCELLING,
    (_S.CANCELLING, HoldPlaced): _S.CANCELLED,
    (_S.CANCELLING, HoldRefused): _S.FAILED,
    (_S.CANCELLING, UpstreamClosed): _S.CANCELLED,
    (_S.COMPLETED, SettlementStood): _S.COMPLETED,
    (_S.FAILED, SettlementStood): _S.FAILED,
    (_S.CANCELLED, SettlementStood): _S.CANCELLED,
}

_LATE = "the cancel was first; what the closing connection still brings is not delivered"
_JOINED = "the first cancel stands, and a later one joins it"
_STANDS = "the first terminal state stands"
_NOT_NEEDED = (
    "the stream had ended when the ledger answered, and what it cost is within what was held"
)

IGNORED: dict[tuple[StreamState, type], str] = (
    {
        (_S.CANCELLING, CancelRequested): _JOINED,
        (_S.CANCELLING, UpstreamOpened): _LATE,
        (_S.CANCELLING, DeltasReceived): _LATE,
        (_S.CANCELLING, UpstreamFinished): _LATE,
        (_S.CANCELLING, UpstreamFailed): _LATE,
    }
    | {
        (state, kind): _STANDS
        for state in (_S.COMPLETED, _S.FAILED, _S.CANCELLED)
        for kind in (
            CancelRequested,
            UpstreamOpened,
            DeltasReceived,
            UpstreamFinished,
            UpstreamFailed,
            UpstreamClosed,
        )
    }
    | {
        (state, kind): _NOT_NEEDED
        for state in (_S.CANCELLING, _S.COMPLETED, _S.FAILED, _S.CANCELLED)
        for kind in (HoldExtended, ExtensionRefused)
    }
)

HOLD_TRANSITIONS: dict[tuple[HoldState, type], frozenset[HoldState]] = {
    (HoldState.NONE, HoldPlaced): frozenset({HoldState.PENDING}),
    (HoldState.NONE, HoldRefused): frozenset({HoldState.NONE}),
    (HoldState.PENDING, SettlementStood): frozenset(
        {HoldState.POSTED, HoldState.VOIDED, HoldState.EXPIRED}
    ),
}
