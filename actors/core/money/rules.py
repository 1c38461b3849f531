"""The rules of credit: what may happen to a team's money, and what may not.

This file owns every decision about a balance. It does not know how anything is stored, who may use
a key, what a completion is beyond its id, or what time it is: `now_s` is an argument.

Rules (the habits are TigerBeetle's):

1. An account is two integers in micro-credits: what the team has (`credits`) and what open holds
   keep from being spent (`held`). Neither is ever below 0, and a metered account never holds more
   than it has, so a post cannot overdraw.
2. A hold has the id of its completion. It is placed once and resolved once: posted (in whole or in
   part; the rest returns), voided, or expired. Its states are NONE -> PENDING -> {POSTED, VOIDED, EXPIRED}.
   While it is pending it may be extended to a new total; it never shrinks, so an extension to what is
   held already, or to less, is a repeat.
3. Nothing is updated in the journal: each operation that took effect appends one immutable
   `journal.Entry`, and a resolve is a new entry that carries the hold's id. The balances are a
   fold over the entries.
4. An expected outcome is a value, not an error. The same operation again gives `exists` and moves
   nothing; the same id with another content says what differs.
5. Results are declared in order of precedence: where several apply, the first is given.
6. Past its expiry a hold can only expire. Until that was done its amount stays held.
7. A hold remembers the billing mode it was placed under. An exempt hold reserves nothing and costs
   nothing, whatever is posted; its entries are there, with amount 0.

Every operation checks first and mutates afterwards; a refused one changes nothing.

Source: https://docs.tigerbeetle.com/develop/two-phase-transfers, read 2026-11-22.
"""

from __future__ import annotations

from enum import StrEnum

from actors.core.money.holds import Account, BillingMode, Hold, HoldState
from actors.core.money.journal import Entry, EntryKind

__all__ = [
    "AMOUNT_MICROCREDITS_MAX",
    "Account",
    "Accounts",
    "BillingMode",
    "Hold",
    "HoldState",
    "LedgerResult",
]

AMOUNT_MICROCREDITS_MAX = 2**53 - 1
"""The largest amount and balance: exact in a JSON number, and far inside a 64-bit column."""


class LedgerResult(StrEnum):
    """What became of an operation, in order of precedence."""

    CREATED = "created"
    EXISTS = "exists"
    EXISTS_WITH_DIFFERENT_TEAM = "exists_with_different_team"
    EXISTS_WITH_DIFFERENT_AMOUNT = "exists_with_different_amount"
    AMOUNT_NEGATIVE = "amount_negative"
    AMOUNT_ABOVE_MAX = "amount_above_max"
    ACCOUNT_NOT_FOUND = "account_not_found"
    HOLD_NOT_FOUND = "hold_not_found"
    HOLD_ALREADY_POSTED = "hold_already_posted"
    HOLD_ALREADY_VOIDED = "hold_already_voided"
    HOLD_EXPIRED = "hold_expired"
    HOLD_NOT_DUE = "hold_not_due"
    EXCEEDS_HOLD_AMOUNT = "exceeds_hold_amount"
    EXCEEDS_CREDITS = "exceeds_credits"
    EXCEEDS_CREDITS_MAX = "exceeds_credits_max"


_RESOLVED: dict[HoldState, LedgerResult] = {
    HoldState.POSTED: LedgerResult.HOLD_ALREADY_POSTED,
    HoldState.VOIDED: LedgerResult.HOLD_ALREADY_VOIDED,
    HoldState.EXPIRED: LedgerResult.HOLD_EXPIRED,
}

_RESOLVES: dict[EntryKind, HoldState] = {
    EntryKind.POST: HoldState.POSTED,
    EntryKind.VOID: HoldState.VOIDED,
    EntryKind.EXPIRE: HoldState.EXPIRED,
}


class Accounts:
    """Teams' accounts and holds, and the entries that have not been taken away to be stored.

    Resolved holds and grants stay until they are forgotten, so that repeats are recognised; who
    forgets them answers the repeats from a store.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._holds: dict[str, Hold] = {}
        self._grants: dict[str, tuple[str, int]] = {}
        self._entries: list[Entry] = []

    def __repr__(self) -> str:
        return (
            f"<Accounts teams={len(self._accounts)} holds={len(self._holds)} "
            f"entries={len(self._entries)}>"
        )

    # What stands.

    def account(self, team: str) -> Account | None:
        """Return the account itself; only this class changes it."""
        return self._accounts.get(team)

    def hold(self, hold_id: str) -> Hold | None:
        """Return the hold itself; only this class changes it."""
        return self._holds.get(hold_id)

    def holds_due(self, now_s: float, *, limit: int) -> list[str]:
        """Return the ids of at most `limit` open holds that are past their expiry."""
        due: list[str] = []
        for hold in self._holds.values():
            if len(due) == limit:
                break
            if hold.state is HoldState.PENDING and hold.expires_at_s <= now_s:
                due.append(hold.hold_id)
        return due

    # Operations.

    def open_account(self, team: str, *, billing_mode: BillingMode) -> LedgerResult:
        """Open an account, or set the billing mode that its next holds are placed under."""
        standing = self._accounts.get(team)
        if standing is not None:
            standing.billing_mode = billing_mode
            return LedgerResult.EXISTS
        self._accounts[team] = Account(team, billing_mode)
        return LedgerResult.CREATED

    def grant(
        self, grant_id: str, team: str, amount_microcredits: int, *, now_s: float
    ) -> LedgerResult:
        """Add credits to an account."""
        standing = self._grants.get(grant_id)
        if standing is not None:
            return _repeat(standing, (team, amount_microcredits))
        if amount_microcredits < 0:
            return LedgerResult.AMOUNT_NEGATIVE
        if amount_microcredits > AMOUNT_MICROCREDITS_MAX:
            return LedgerResult.AMOUNT_ABOVE_MAX
        account = self._accounts.get(team)
        if account is None:
            return LedgerResult.ACCOUNT_NOT_FOUND
        if account.credits_microcredits + amount_microcredits > AMOUNT_MICROCREDITS_MAX:
            return LedgerResult.EXCEEDS_CREDITS_MAX
        # From here the grant must succeed.
        account.credits_microcredits += amount_microcredits
        self._grants[grant_id] = (team, amount_microcredits)
        self._entries.append(
            Entry(EntryKind.GRANT, team, amount_microcredits, now_s, grant_id=grant_id)
        )
        return LedgerResult.CREATED

    def place(
        self,
        hold_id: str,
        team: str,
        amount_microcredits: int,
        *,
        expires_at_s: float,
        now_s: float,
    ) -> LedgerResult:
        """Keep an amount from being spent until the hold is resolved."""
        standing = self._holds.get(hold_id)
        if standing is not None:
            return _repeat(
                (standing.team, standing.amount_microcredits), (team, amount_microcredits)
            )
        if amount_microcredits < 0:
            return LedgerResult.AMOUNT_NEGATIVE
        if amount_microcredits > AMOUNT_MICROCREDITS_MAX:
            return LedgerResult.AMOUNT_ABOVE_MAX
        account = self._accounts.get(team)
        if account is None:
            return LedgerResult.ACCOUNT_NOT_FOUND
        if expires_at_s <= now_s:
            return LedgerResult.HOLD_EXPIRED
        hold = Hold(hold_id, team, amount_microcredits, expires_at_s, account.billing_mode)
        # An exempt hold reserves nothing, so it passes even where an account has been overdrawn.
        if hold.reserved_microcredits > max(account.available_microcredits, 0):
            return LedgerResult.EXCEEDS_CREDITS
        # From here the placement must succeed.
        account.held_microcredits += hold.reserved_microcredits
        account.holds_open += 1
        self._holds[hold_id] = hold
        self._entries.append(
            Entry(EntryKind.PLACE, team, hold.reserved_microcredits, now_s, hold_id)
        )
        return LedgerResult.CREATED

    def extend(self, hold_id: str, total_microcredits: int, *, now_s: float) -> LedgerResult:
        """Hold so much in all, where less is held."""
        hold = self._holds.get(hold_id)
        if total_microcredits < 0:
            return LedgerResult.AMOUNT_NEGATIVE
        if total_microcredits > AMOUNT_MICROCREDITS_MAX:
            return LedgerResult.AMOUNT_ABOVE_MAX
        if hold is None:
            return LedgerResult.HOLD_NOT_FOUND
        if hold.state is not HoldState.PENDING:
            return _RESOLVED[hold.state]
        if hold.expires_at_s <= now_s:
            return LedgerResult.HOLD_EXPIRED
        more_microcredits = total_microcredits - hold.total_microcredits
        if more_microcredits <= 0:
            return LedgerResult.EXISTS
        account = self._accounts[hold.team]
        # The hold's own mode, as in a post: an exempt one reserves nothing.
        reserved_microcredits = 0 if hold.billing_mode is BillingMode.EXEMPT else more_microcredits
        if reserved_microcredits > max(account.available_microcredits, 0):
            return LedgerResult.EXCEEDS_CREDITS
        # From here the extension must succeed.
        hold.extended_microcredits += more_microcredits
        account.held_microcredits += reserved_microcredits
        self._entries.append(
            Entry(EntryKind.EXTEND, hold.team, reserved_microcredits, now_s, hold_id)
        )
        return LedgerResult.CREATED

    def post(self, hold_id: str, amount_microcredits: int, *, now_s: float) -> LedgerResult:
        """Charge at most what is held, and give the rest back."""
        hold = self._holds.get(hold_id)
        if hold is not None and hold.state is HoldState.POSTED:
            return _repeat((hold.team, hold.posted_microcredits), (hold.team, amount_microcredits))
        if amount_microcredits < 0:
            return LedgerResult.AMOUNT_NEGATIVE
        if amount_microcredits > AMOUNT_MICROCREDITS_MAX:
            return LedgerResult.AMOUNT_ABOVE_MAX
        if hold is None:
            return LedgerResult.HOLD_NOT_FOUND
        if hold.state is not HoldState.PENDING:
            return _RESOLVED[hold.state]
        if hold.expires_at_s <= now_s:
            return LedgerResult.HOLD_EXPIRED
        if amount_microcredits > hold.total_microcredits:
            return LedgerResult.EXCEEDS_HOLD_AMOUNT
        account = self._accounts[hold.team]
        # Rule 1 makes this impossible, unless the account was restored from an edited balance.
        if (
            hold.billing_mode is BillingMode.METERED
            and amount_microcredits > account.credits_microcredits
        ):
            return LedgerResult.EXCEEDS_CREDITS
        # From here the post must succeed.
        hold.posted_microcredits = amount_microcredits
        account.credits_microcredits -= hold.charged_microcredits
        self._resolve(hold, EntryKind.POST, hold.charged_microcredits, now_s)
        return LedgerResult.CREATED

    def void(self, hold_id: str, *, now_s: float) -> LedgerResult:
        """Give back the whole hold."""
        hold = self._holds.get(hold_id)
        if hold is None:
            return LedgerResult.HOLD_NOT_FOUND
        if hold.state is HoldState.VOIDED:
            return LedgerResult.EXISTS
        if hold.state is not HoldState.PENDING:
            return _RESOLVED[hold.state]
        if hold.expires_at_s <= now_s:
            return LedgerResult.HOLD_EXPIRED
        # From here the void must succeed.
        self._resolve(hold, EntryKind.VOID, hold.reserved_microcredits, now_s)
        return LedgerResult.CREATED

    def expire(self, hold_id: str, *, now_s: float) -> LedgerResult:
        """Give back a hold whose owner did not resolve it in time."""
        hold = self._holds.get(hold_id)
        if hold is None:
            return LedgerResult.HOLD_NOT_FOUND
        if hold.state is HoldState.EXPIRED:
            return LedgerResult.EXISTS
        if hold.state is not HoldState.PENDING:
            return _RESOLVED[hold.state]
        if hold.expires_at_s > now_s:
            return LedgerResult.HOLD_NOT_DUE
        # From here the expiry must succeed.
        self._resolve(hold, EntryKind.EXPIRE, hold.reserved_microcredits, now_s)
        return LedgerResult.CREATED

    def _resolve(self, hold: Hold, kind: EntryKind, amount_microcredits: int, now_s: float) -> None:
        account = self._accounts[hold.team]
        account.held_microcredits -= hold.reserved_microcredits
        account.holds_open -= 1
        hold.state = _RESOLVES[kind]
        self._entries.append(Entry(kind, hold.team, amount_microcredits, now_s, hold.hold_id))
        assert account.credits_microcredits >= 0, "An account never goes below zero."
        assert account.held_microcredits >= 0, "No more is given back than was held."
        assert account.holds_open >= 0, "No more holds are resolved than were placed."

    # What the shell does with it.

    def take_entries(self) -> list[Entry]:
        """Return the entries since the last call, in order; they are the caller's from here."""
        entries, self._entries = self._entries, []
        return entries

    def restore_account(self, account: Account) -> None:
        """Take over an account that was stored, without its holds: `held` starts from 0."""
        assert account.team not in self._accounts, "An account is restored once."
        account.held_microcredits = 0
        account.holds_open = 0
        self._accounts[account.team] = account

    def restore_hold(self, hold: Hold) -> None:
        """Take over a hold that was stored while it was open; its account was restored before."""
        assert hold.state is HoldState.PENDING, "Only open holds are restored."
        assert hold.hold_id not in self._holds, "A hold is restored once."
        account = self._accounts[hold.team]
        account.held_microcredits += hold.reserved_microcredits
        account.holds_open += 1
        self._holds[hold.hold_id] = hold

    def restore_grant(self, grant_id: str, team: str, amount_microcredits: int) -> None:
        """Take over a grant that was stored, so that its repeat is recognised."""
        self._grants[grant_id] = (team, amount_microcredits)

    def forget_hold(self, hold_id: str) -> None:
        """Drop a resolved hold: from here its id is unknown, so the store must be asked first."""
        assert self._holds[hold_id].state is not HoldState.PENDING, "An open hold is money."
        del self._holds[hold_id]

    def forget_grant(self, grant_id: str) -> None:
        """Drop a grant: from here its id is unknown, so the store must be asked first."""
        del self._grants[grant_id]

    def check(self) -> None:
        """Assert that the accounts agree with the open holds. Costs a pass over all of them."""
        held: dict[str, int] = {}
        holds_open: dict[str, int] = {}
        for hold in self._holds.values():
            if hold.state is HoldState.PENDING:
                held[hold.team] = held.get(hold.team, 0) + hold.reserved_microcredits
                holds_open[hold.team] = holds_open.get(hold.team, 0) + 1
        for team, account in self._accounts.items():
            assert account.held_microcredits == held.get(team, 0), f"{team}: held is not its holds."
            assert account.holds_open == holds_open.get(team, 0), f"{team}: holds are miscounted."
            assert 0 <= account.held_microcredits <= account.credits_microcredits, f"{account}"


def _repeat(standing: tuple[str, int], asked: tuple[str, int]) -> LedgerResult:
    if standing[0] != asked[0]:
        return LedgerResult.EXISTS_WITH_DIFFERENT_TEAM
    if standing[1] != asked[1]:
        return LedgerResult.EXISTS_WITH_DIFFERENT_AMOUNT
    return LedgerResult.EXISTS
