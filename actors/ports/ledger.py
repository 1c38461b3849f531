"""The ledger as its callers see it: messages and the port. The rules are `actors.core.money.rules`'s.

Two implementations: `ledger_actor` (Ray, durable) and `testing.InMemoryLedger`. Every call that
moves money carries the completion's id as its idempotency key: the same call again gives the same
answer and moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

from actors.core.record import CompletionHeader, CompletionRecord
from actors.core.request import Dialect, IdempotencyKey

__all__ = [
    "LIMITS_UNCHANGED",
    "POLICY_UNCHANGED",
    "Balance",
    "CompletionKey",
    "HoldExtension",
    "HoldLedger",
    "HoldPlacement",
    "LimitsChange",
    "Located",
    "Placed",
    "PolicyChange",
    "Principal",
    "RateState",
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
class TeamLimits:
    """None means no limit. `requests_per_minute` is a bucket of that size, refilled evenly."""

    requests_per_minute: int | None = None
    completions_concurrent: int | None = None

    def of(self, _limits: TeamLimits) -> TeamLimits:
        """Return what stands after these were set: all of them, whatever there was."""
        return self


class Unchanged(Enum):
    """What is not said, where None says that there is none."""

    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class LimitsChange:
    """What an administrator says of a team's limits. None takes a limit away."""

    requests_per_minute: int | Unchanged | None = Unchanged.UNCHANGED
    completions_concurrent: int | Unchanged | None = Unchanged.UNCHANGED

    def of(self, limits: TeamLimits) -> TeamLimits:
        """Return the limits that stand after the change."""
        said: dict[str, Any] = {
            "requests_per_minute": self.requests_per_minute,
            "completions_concurrent": self.completions_concurrent,
        }
        changes = {name: value for name, value in said.items() if not isinstance(value, Unchanged)}
        return replace(limits, **changes)


LIMITS_UNCHANGED = LimitsChange()


@dataclass(frozen=True, slots=True)
class TeamPolicy:
    """What the runtime does for a team.

    Args:
        stores_content: False keeps receipt, usage and charge of its completions alone; neither input
            nor output is then written to any disk. What was answered once cannot be shown again: a
            GET after the end, and an idempotent replay, have the receipt alone.
        native_passthrough: whether it may reach responses that were not created here at a provider
            that it names.
    """

    stores_content: bool = True
    native_passthrough: bool = False


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What an administrator says of a team's policy. None leaves a member as it is."""

    stores_content: bool | None = None
    native_passthrough: bool | None = None

    def of(self, policy: TeamPolicy) -> TeamPolicy:
        """Return the policy that stands after the change."""
        said = {
            "stores_content": self.stores_content,
            "native_passthrough": self.native_passthrough,
        }
        return replace(policy, **{name: value for name, value in said.items() if value is not None})


POLICY_UNCHANGED = PolicyChange()


@dataclass(frozen=True, slots=True)
class TeamState:
    """What stands of a team after it was made or changed."""

    limits: TeamLimits
    policy: TeamPolicy


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose key it is."""

    team: str
    organization: str
    key_id: str
    limits: TeamLimits = TeamLimits()
    policy: TeamPolicy = TeamPolicy()


@dataclass(frozen=True, slots=True)
class Balance:
    """Micro-credits; available = credits - held."""

    credits_microcredits: int
    held_microcredits: int
    billing_mode: str = "metered"

    @property
    def available_microcredits(self) -> int:
        return self.credits_microcredits - self.held_microcredits


@dataclass(frozen=True, slots=True)
class RateState:
    """The team's request bucket after a draw; `reset_at_s` is when it would be full again."""

    limit: int
    remaining: int
    reset_at_s: float


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


@dataclass(frozen=True, slots=True)
class Settlement:
    """Resolve a completion's hold and write its record, in one transaction.

    Posts `record.finished.charge.total_microcredits`; where that is 0 and the completion did not
    complete the hold is voided. The record is the whole one; whoever writes it down keeps
    `record.for_store()`.
    """

    record: CompletionRecord


@dataclass(frozen=True, slots=True)
class Located:
    """Where a completion is, or was: settled ones are in the store, the others with their actor."""

    completion_id: str
    actor: str
    node_id: str
    is_settled: bool


class HoldLedger(Protocol):
    """What a driver needs of the ledger."""

    async def place(self, placement: HoldPlacement) -> Placed:
        """Place a hold durably.

        Raises:
            InsufficientCredit, RateLimited, CompletionIdInUse, IdempotencyConflict,
            Unauthenticated: nothing is held.
            Overloaded: the ledger is away; the hold may exist, and then the caller voids it by
                `settle` or it expires.
        Cancel: the hold may have been placed; the caller settles it.
        """
        ...

    async def extend(self, extension: HoldExtension) -> int:
        """Extend an open hold durably; return what is held in all.

        Raises:
            InsufficientCredit: the team has not so much; what was held is held.
            CompletionNotFound: there is no such hold, or it was resolved.
            Overloaded: the ledger is away; call again, it is idempotent.
        Cancel: the hold may have been extended.
        """
        ...

    async def settle(self, settlement: Settlement) -> CompletionRecord:
        """Resolve the hold and keep the record; durable when it returns.

        Returns: the record that stands: the caller's, or an earlier one (a loss that was declared
            meanwhile), which the caller must adopt.
        Raises:
            Overloaded: the ledger is away; call again, it is idempotent.
        """
        ...
