"""What the ledger's rules are about: a team's account, and what is held of it for a completion."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Account", "BillingMode", "Hold", "HoldState"]


class BillingMode(StrEnum):
    METERED = "metered"
    EXEMPT = "exempt"  # never blocked and never charged


class HoldState(StrEnum):
    """NONE is the state of an id that was never placed; no hold is ever kept in it."""

    NONE = "none"
    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"
    EXPIRED = "expired"


@dataclass(slots=True)
class Account:
    team: str
    billing_mode: BillingMode = BillingMode.METERED
    credits_microcredits: int = 0
    held_microcredits: int = 0
    holds_open: int = 0

    @property
    def available_microcredits(self) -> int:
        return self.credits_microcredits - self.held_microcredits


@dataclass(slots=True)
class Hold:
    """`amount_microcredits` is what was asked for when it was placed, `extended_microcredits` what was
    since; an exempt hold keeps nothing of either from use."""

    hold_id: str
    team: str
    amount_microcredits: int
    expires_at_s: float
    billing_mode: BillingMode = BillingMode.METERED
    state: HoldState = HoldState.PENDING
    posted_microcredits: int = 0
    extended_microcredits: int = 0

    @property
    def total_microcredits(self) -> int:
        """What may be posted."""
        return self.amount_microcredits + self.extended_microcredits

    @property
    def reserved_microcredits(self) -> int:
        """What the hold keeps, or kept while it was open, from being spent."""
        return 0 if self.billing_mode is BillingMode.EXEMPT else self.total_microcredits

    @property
    def charged_microcredits(self) -> int:
        """What the post took from the account; 0 before it."""
        return 0 if self.billing_mode is BillingMode.EXEMPT else self.posted_microcredits
