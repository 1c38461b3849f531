"""The ledger as its callers see it: what is asked, what is answered, and the port. Each operation is
declared here and nowhere else; actor and client follow from it, `actors.ledger.service` implements it.

The rules of credit are `actors.core.money.rules`'s. Every call that moves money for a completion
carries the completion's id as its idempotency key: the same call again gives the same answer and moves
nothing. Any call may raise `Overloaded`: the ledger is away, or cannot say whether it was done; then
the same call may be made again, and does nothing twice but for a new key and a grant without an id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from actors.core.errors import IllegalTransition
from actors.core.events import Status
from actors.core.record import CompletionHeader, CompletionRecord
from actors.core.request import Dialect, IdempotencyKey, Retention
from actors.ports.accounts import (
    LIMITS_UNCHANGED,
    POLICY_UNCHANGED,
    Balance,
    IssuedKey,
    KeyRefusal,
    KeyRow,
    LimitsChange,
    PolicyChange,
    Principal,
    RateState,
    TeamLimits,
    TeamPolicy,
    TeamState,
    Unchanged,
)

__all__ = [
    "LIMITS_UNCHANGED",
    "NEVER_KEPT",
    "POLICY_UNCHANGED",
    "Balance",
    "Checkpoint",
    "CompletionFilter",
    "CompletionKey",
    "CompletionRow",
    "HoldExtension",
    "HoldLedger",
    "HoldPlacement",
    "IssuedKey",
    "KeyRefusal",
    "KeyRow",
    "Ledger",
    "LimitsChange",
    "Located",
    "Placed",
    "PolicyChange",
    "Principal",
    "RateState",
    "RememberedCancellation",
    "Settlement",
    "TeamLimits",
    "TeamPolicy",
    "TeamState",
    "Unchanged",
]


@dataclass(frozen=True, slots=True)
class CompletionKey:
    """How a client names a completion: the team is its key's, the dialect its route's."""

    team: str
    dialect: Dialect
    wire_id: str


@dataclass(frozen=True, slots=True)
class HoldPlacement:
    """Place a hold and, in the same transaction, write who carries the completion.

    Args:
        header: names the completion, its team, dialect, wire id, actor and the amount to hold;
            as it may be written down.
        expires_at_s: wall clock; past it the hold is void, whatever became of its owner.
    """

    header: CompletionHeader
    key_id: str
    expires_at_s: float
    idempotency: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """The hold is durable.

    `is_cancelled` says that a remembered cancellation waited for this wire id, and is now used up;
    `is_charged` that the team pays: of one that is exempt the ledger takes nothing, so nothing is what
    its records say.
    """

    is_cancelled: bool = False
    rate: RateState | None = None
    is_charged: bool = True


@dataclass(frozen=True, slots=True)
class HoldExtension:
    """Hold so much in all for a completion; what is held already makes it a repeat."""

    completion_id: str
    total_microcredits: int


NEVER_KEPT = -1
"""In place of a number of events: this completion's content may not be written down."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stretch of a running completion's log, kept in case it is lost.

    Args:
        first: the sequence of its first event.
        count: how many events it has; none where it is only asked how many are kept.
        events: `partial_log.packed` of them; empty where there are none.
    """

    completion_id: str
    first: int = 0
    count: int = 0
    events: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """Resolve a completion's hold and write its record, in one transaction.

    Made once by whoever carried the completion, however often it is then sent: encoding a record is not
    the work of the ledger's single writer. `charge_microcredits` is posted; where it is 0 and the
    completion did not complete, the hold is voided. `failure` is a failed one's code. `body` is the
    record as it is stored.
    """

    completion_id: str
    dialect: Dialect
    retention: Retention
    status: Status
    source: str | None
    failure: str | None
    tokens_output: int
    charge_microcredits: int
    absorbed_microcredits: int
    body: bytes

    @property
    def is_void(self) -> bool:
        return self.charge_microcredits == 0 and self.status is not Status.COMPLETED

    @classmethod
    def of(cls, record: CompletionRecord) -> Settlement:
        """Make it of a whole record; what is stored of that is `record.for_store()`.

        Costs an encoding of the record: some 2 us an event, so a long one is for a thread.
        Raises: IllegalTransition: the record is not terminal: the caller's bug.
        """
        finished = record.finished
        if finished is None:
            raise IllegalTransition("A settlement needs a terminal record.")
        return cls(
            completion_id=record.header.completion_id,
            dialect=record.header.dialect,
            retention=record.header.retention,
            status=finished.status,
            source=finished.source.value if finished.source else None,
            failure=finished.error.code.value if finished.error else None,
            tokens_output=finished.usage.completion_tokens + finished.usage.reasoning_tokens,
            charge_microcredits=finished.charge.total_microcredits,
            absorbed_microcredits=finished.charge.absorbed_microcredits,
            body=record.for_store().to_bytes(),
        )


@dataclass(frozen=True, slots=True)
class Located:
    """Where a completion is, or was: settled ones are in the store, the others with their actor."""

    completion_id: str
    actor: str
    node_id: str
    is_settled: bool


@dataclass(frozen=True, slots=True)
class RememberedCancellation:
    wire_id: str
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class CompletionRow:
    """A line of the list of completions. `status` is `pending`, `connecting`, ... or a terminal state.

    `shared_with` says how many others its process carries beside it.
    """

    id: str
    wire_id: str
    team: str
    dialect: str
    model: str
    status: str
    source: str | None
    node_id: str
    actor: str
    pid: int
    created_at: float
    tokens_output: int
    charge_microcredits: int
    readers: int
    tags: tuple[tuple[str, str], ...] = ()
    shared_with: int = 0


@dataclass(frozen=True, slots=True)
class CompletionFilter:
    """Members that are None match everything."""

    team: str | None = None
    model: str | None = None
    dialect: str | None = None
    status: str | None = None
    node_id: str | None = None
    tag: tuple[str, str] | None = None


class HoldLedger(Protocol):
    """What a carrier needs of the ledger: the calls that follow a completion's money, and its log."""

    async def place(self, placement: HoldPlacement) -> Placed:
        """Place a hold durably. The same again, while its completion runs, is answered as the first time.

        Raises:
            InsufficientCredit, RateLimited, CompletionIdInUse, IdempotencyConflict, AlreadyStarted,
            Unauthenticated, InvalidRequest: nothing is held by this call. AlreadyStarted is also said of
                a start that another actor had before.
            LedgerBusy: nothing is held. Overloaded otherwise: the hold may exist, or come to exist, and the
                caller makes sure that it does not by `settle`.
        Cancel: the hold may have been placed; the caller settles it.
        """
        ...

    async def extend(self, extension: HoldExtension) -> int:
        """Extend an open hold durably; return what is held in all.

        Raises:
            InsufficientCredit: the team has not so much; what was held is held.
            CompletionNotFound: there is no such hold, or it was resolved.
        Cancel: the hold may have been extended.
        """
        ...

    async def checkpoint(self, actor: str, stretches: list[Checkpoint]) -> dict[str, int]:
        """Keep more of the logs of what that actor carries, for the records of what may be lost with it.

        The actor asks while it lives; once it is dead, and they have time for it, replicas that have
        copies. A stretch that does not follow what is kept is not taken.

        Returns: how many events are kept of each completion, `NEVER_KEPT` of one whose content is not
            written down. One that is not here has ended, or is another actor's.
        """
        ...

    async def settle(self, settlement: Settlement) -> CompletionRecord | None:
        """Resolve the hold and keep the record; durable when it returns.

        Returns: None where the caller's record stands, else the one that does (a loss that was declared
            meanwhile), which the caller must adopt.
        Raises:
            IllegalTransition: more is charged than was held: the caller's bug.
            CompletionNotFound: there is a charge, and never was a hold: the caller's bug.
        """
        ...


class Ledger(HoldLedger, Protocol):
    """Everything that our processes ask of the ledger."""

    # What became of completions.

    async def find(self, key: CompletionKey) -> Located | None:
        """Return where a completion is; None where it is unknown, deleted, or its record evicted."""
        ...

    async def find_by_id(self, completion_id: str) -> Located | None:
        """Return where a completion is; None where it is unknown or its record was evicted."""
        ...

    async def find_started(self, key: CompletionKey, again: IdempotencyKey) -> Located | None:
        """Return the completion that a start is taken for, None where it starts anew.

        Args: key: its wire id is what the client chose, where it chose one.
        Raises: IdempotencyConflict, CompletionIdInUse: the key or the id is another start's.
        """
        ...

    async def record(self, completion_id: str) -> CompletionRecord:
        """Raises: CompletionNotFound: unknown, still running, or its record was evicted."""
        ...

    async def open_completions(self) -> list[Located]:
        """Return every completion that runs, as committed."""
        ...

    async def lose(self, actor: str) -> list[str]:
        """Fail the open completions of a dead actor; return their ids. Idempotent.

        What was kept of their logs is in their records.
        """
        ...

    async def lose_completions(self, completion_ids: list[str]) -> list[str]:
        """Fail those of these completions that are open; return their ids. Idempotent."""
        ...

    async def delete(self, key: CompletionKey) -> None:
        """Drop the content of a settled completion; `find` by its key finds it no more.

        Raises:
            CompletionNotFound: unknown, or its content was dropped already.
            NotCancellable: it runs: cancel it first.
        """
        ...

    async def remember_cancellation(self, key: CompletionKey) -> RememberedCancellation:
        """Keep a cancellation for a completion that is yet to start.

        Raises:
            CompletionIdInUse: it has started meanwhile: cancel it.
            RateLimited: the team has as many waiting as it may.
            InvalidRequest: no completion can have such a name.
        """
        ...

    async def list_completions(
        self, where: CompletionFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[CompletionRow], str | None]:
        """Return a page, newest first, and the cursor of the next, None at the end.

        Raises: InvalidRequest: the limit is not 1 to 1,000, or the cursor is not one of ours.
        """
        ...

    # Teams, keys and credit.

    async def authenticate(self, digests: list[str]) -> list[Principal | KeyRefusal]:
        """Return whose keys these are, each by its SHA-256 in hex.

        For many at once: who has no key can make any number of them up, and a call costs the ledger
        hundreds of times what a key in it does.
        """
        ...

    async def draw_request(self, team: str) -> RateState | None:
        """Take one request from a team's bucket; None where it has no limit.

        Raises: RateLimited; CompletionNotFound: no such team.
        """
        ...

    async def balance(self, team: str) -> Balance:
        """Return a team's balance as committed. Raises: CompletionNotFound: no such team."""
        ...

    async def create_team(
        self,
        team: str,
        organization: str,
        *,
        credits_microcredits: int,
        limits: LimitsChange = LIMITS_UNCHANGED,
        policy: PolicyChange = POLICY_UNCHANGED,
    ) -> TeamState:
        """Create a team with its first credits; of one that exists, change what is said of it.

        Returns: what stands.
        Raises: InvalidRequest: it exists with another organization, or a member is out of range.
        """
        ...

    async def create_key(self, team: str, name: str) -> IssuedKey:
        """Make a key; its secret is in the answer and nowhere else.

        Raises: CompletionNotFound: no such team.
        """
        ...

    async def list_keys(self, team: str | None) -> list[KeyRow]:
        """Return the keys of a team, or of all, oldest first."""
        ...

    async def revoke_key(self, key_id: str) -> None:
        """Revoke a key; again is no error. Raises: CompletionNotFound: no such key."""
        ...

    async def grant_credits(
        self, team: str, amount_microcredits: int, grant_id: str | None = None
    ) -> Balance:
        """Add credits; once per grant id, where the caller gives one.

        Raises:
            CompletionNotFound: no such team.
            InvalidRequest: the amount is out of range.
            IdempotencyConflict: the id stands for another grant.
        """
        ...

    # The ledger itself.

    async def audit(self) -> dict[str, Any]:
        """Check balances, holds, completions and records against the journal; see `store.audit`."""
        ...

    async def describe(self) -> dict[str, Any]:
        """Return counters: what is open, what waits, how much is kept."""
        ...
