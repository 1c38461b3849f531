"""Teams, their keys and their credit, as whoever asks the ledger sees them: values alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Any

__all__ = [
    "LIMITS_UNCHANGED",
    "POLICY_UNCHANGED",
    "Balance",
    "IssuedKey",
    "KeyRefusal",
    "KeyRow",
    "LimitsChange",
    "PolicyChange",
    "Principal",
    "RateState",
    "TeamLimits",
    "TeamPolicy",
    "TeamState",
    "Unchanged",
]


@dataclass(frozen=True, slots=True)
class TeamLimits:
    """None means no limit. `requests_per_minute` is a bucket of that size, refilled evenly."""

    requests_per_minute: int | None = None
    completions_concurrent: int | None = None


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


class KeyRefusal(StrEnum):
    """Why a key is nobody's."""

    INVALID = "invalid"
    REVOKED = "revoked"


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
class IssuedKey:
    """A new key; the only time that `secret` is seen."""

    key_id: str
    secret: str
    team: str


@dataclass(frozen=True, slots=True)
class KeyRow:
    key_id: str
    team: str
    name: str
    created_at_s: float
    revoked_at_s: float | None
