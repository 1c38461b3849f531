"""The port between the HTTP shell and whatever runs completions.

`actors.replica.runtime.ReplicaRuntime` implements it, over carriers that are actors of Ray or, as
`actors.testing.InMemoryRuntime`, in this process; one conformance suite runs on both. No Ray here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from actors.core.events import CancelSource, Event
from actors.core.native import NativeAnswer, NativeCall
from actors.core.record import CompletionRecord
from actors.core.request import IdempotencyKey, StartCommand
from actors.ports.ledger import (
    CompletionFilter,
    CompletionKey,
    CompletionRow,
    IssuedKey,
    KeyRow,
    Ledger,
    RateState,
    RememberedCancellation,
)

__all__ = [
    "CancelAnswer",
    "CancelOutcome",
    "CompletionFilter",
    "CompletionRow",
    "CompletionRuntime",
    "IssuedKey",
    "KeyRow",
    "ReaderLeft",
    "RememberedCancellation",
    "StartedCompletion",
    "Subscription",
]


class ReaderLeft(StrEnum):
    """Why a reader ends its subscription; only CLIENT_GONE may cancel a completion."""

    FINISHED = "finished"  # it read the terminal event
    CLIENT_GONE = "client_gone"  # http.disconnect, seen by a replica that is not draining
    DETACHED = "detached"  # the replica drains, or the reader ended for a reason of ours


class Subscription(Protocol):
    """One reader of one completion, from event 0; pulls, so it can be as slow as it likes."""

    @property
    def completion_id(self) -> str: ...

    async def read(self) -> Sequence[Event]:
        """Return the events since the last read, in order; waits while there are none.

        Returns: at least one event; the last of the last batch is `Finished`. A live completion
            whose owner died ends with a `Finished` that says `completion_lost`.
        Raises:
            EOFError: read again after `Finished`: the caller's bug.
            CompletionNotFound: its hold was refused, so it never was; or it was deleted since.
            Overloaded: how it ended is not known: the store is away, or has no verdict yet.
        Cancel: nothing is lost; the next read returns the same events.
        """
        ...

    async def aclose(self, reason: ReaderLeft) -> None:
        """End the subscription. Idempotent; the first reason stands."""
        ...


@dataclass(frozen=True, slots=True)
class StartedCompletion:
    subscription: Subscription
    rate: RateState | None


class CancelOutcome(StrEnum):
    TERMINAL = "terminal"  # it was settled before this cancel came: nothing was done
    JOINED = "joined"  # this cancel, or one it joined, or the end it raced, settled the completion


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """`record` is terminal in both cases; a dialect answers TERMINAL with its own refusal."""

    outcome: CancelOutcome
    record: CompletionRecord


class CompletionRuntime(Protocol):
    """Everything that HTTP asks of the runtime.

    Every method may raise `Overloaded` (an actor it needs is away; nothing was done that the same
    call would do twice).
    """

    @property
    def ledger(self) -> Ledger:
        """Balances, teams, keys, remembered cancellations: what is the ledger's alone is asked there."""
        ...

    # Completions

    async def start(self, command: StartCommand) -> StartedCompletion:
        """Admit and dispatch a completion, and subscribe to it.

        Returns: when its hold is durable.
        Raises:
            AlreadyStarted: the same start was made meanwhile: `find_started` tells which it was.
            RequestError, AdmissionError: nothing is held.
        Cancel: the completion may have started; it then has a reader that left, so its disconnect
            policy decides.
        """
        ...

    async def subscribe(self, key: CompletionKey) -> Subscription:
        """Attach a reader to a live completion, or replay a settled one.

        Raises: CompletionNotFound.
        """
        ...

    async def get(self, key: CompletionKey) -> CompletionRecord:
        """Return the completion as it stands, running or settled.

        Raises: CompletionNotFound.
        """
        ...

    async def cancel(self, key: CompletionKey, source: CancelSource) -> CancelAnswer:
        """Cancel, and answer when the completion is settled.

        Raises:
            CompletionNotFound: unknown, or another team's.
            NotCancellable: its owner did not answer within `cancel_timeout_s`.
            Overloaded: it was stopped, and the ledger that settles it is away: ask again.
        """
        ...

    async def delete(self, key: CompletionKey) -> None:
        """Drop the content of a completion; one that runs is cancelled first, and settled.

        Afterwards nobody finds it by its key, and a start of it is not made again. Its row, its
        entries and a record without content stay; its wire id is not given out again.

        Raises:
            CompletionNotFound: unknown, deleted already, or another team's.
            NotCancellable: it was not settled and dropped within `cancel_timeout_s`; ask again.
        Cancel: it may have been cancelled, and dropped.
        """
        ...

    async def find_started(
        self, key: CompletionKey, again: IdempotencyKey
    ) -> CompletionRecord | None:
        """Return the completion, running or ended, that this start is taken for; None: it starts anew.

        Args:
            key: its wire id is what the client chose, where it chose one.
        Raises:
            IdempotencyConflict: the key is another start's; under strict contracts also: its first
                still runs.
            CompletionIdInUse: the id is another start's, or what had it is gone.
        """
        ...

    async def native(self, provider: str, call: NativeCall) -> NativeAnswer:
        """Ask a provider about a response that was not created here.

        Whether the team may is the caller's to check (`TeamPolicy.native_passthrough`).

        Raises:
            UnknownProvider: nothing of that name is configured.
            NativeUnsupported: the provider has no such operation.
            CompletionNotFound: the provider has no such response.
            UpstreamError: the provider refused, failed or was silent.
        Cancel: the call may have been made.
        """
        ...

    # Administration

    async def list_completions(
        self, where: CompletionFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[CompletionRow], str | None]:
        """Newest first; the second value is the cursor of the next page, None at the end."""
        ...

    async def get_by_id(self, completion_id: str) -> CompletionRecord: ...

    async def subscribe_by_id(self, completion_id: str) -> Subscription: ...

    async def cancel_by_id(self, completion_id: str, source: CancelSource) -> CancelAnswer: ...

    async def describe(self) -> dict[str, Any]:
        """What runs where: pools, versions, the simulator's address."""
        ...
