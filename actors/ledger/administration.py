"""Teams, keys, credits, and cancellations that wait for a completion of their name."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace

from actors.core.errors import (
    CompletionIdInUse,
    CompletionNotFound,
    IdempotencyConflict,
    IllegalTransition,
    InvalidRequest,
    RateLimited,
)
from actors.core.money.rules import AMOUNT_MICROCREDITS_MAX, BillingMode, LedgerResult
from actors.ledger.books import Books
from actors.ledger.store import accounts, claims, records
from actors.ledger.store.accounts import KeyOwner, TeamRow
from actors.ledger.store.batch import Batch
from actors.ports.ledger import (
    POLICY_UNCHANGED,
    Balance,
    CompletionKey,
    LimitsChange,
    PolicyChange,
    TeamLimits,
    TeamPolicy,
    TeamState,
)
from actors.ports.runtime import IssuedKey, RememberedCancellation

__all__ = [
    "CANCELLATIONS_MAX",
    "CANCELLATION_KEPT_S",
    "create_key",
    "create_team",
    "ensure_demo",
    "grant_credits",
    "new_grant_id",
    "remember_cancellation",
    "revoke_key",
]

CANCELLATION_KEPT_S = 300.0
CANCELLATIONS_MAX = 1_000
"""Remembered cancellations that one team may have waiting."""

_OUT_OF_RANGE = "The amount of credits is out of range."

_DEMO = "demo"
_REPLACED = "demo (replaced)"
_DEMO_KEY_PREFIX = "key_demo_"


def create_team(
    books: Books,
    batch: Batch,
    *,
    team: str,
    organization: str,
    billing_mode: BillingMode | None,
    credits_microcredits: int,
    limits: TeamLimits | LimitsChange,
    policy: PolicyChange,
) -> TeamState:
    """Create a team with its first credits; of one that exists, change what is said of it.

    Returns: what stands.
    Raises:
        InvalidRequest: it exists with another organization, or the credits are out of range.
    """
    standing = books.teams.get(team)
    if standing is not None:
        if standing.organization != organization:
            raise InvalidRequest("The team belongs to another organization.", param="organization")
        row = replace(
            standing, limits=limits.of(standing.limits), policy=policy.of(standing.policy)
        )
        billing_mode = billing_mode or books.account(team).billing_mode
        accounts.set_team(batch.connection, row, billing_mode)
        books.ledger.open_account(team, billing_mode=billing_mode)
        books.teams[team] = row
        return TeamState(row.limits, row.policy)
    if not 0 <= credits_microcredits <= AMOUNT_MICROCREDITS_MAX:
        raise InvalidRequest(_OUT_OF_RANGE, param="credits")
    row = TeamRow(team, organization, limits.of(TeamLimits()), policy.of(TeamPolicy()))
    billing_mode = billing_mode or BillingMode.METERED
    accounts.insert_team(batch.connection, row, billing_mode, now_s=batch.now_s)
    books.ledger.open_account(team, billing_mode=billing_mode)
    books.teams[team] = row
    if credits_microcredits:
        _grant(books, batch, team, credits_microcredits, new_grant_id())
    return TeamState(row.limits, row.policy)


def create_key(books: Books, batch: Batch, *, team: str, name: str) -> IssuedKey:
    """Make a key. Its secret is in the answer and nowhere else.

    Raises: CompletionNotFound: no such team.
    """
    if team not in books.teams:
        raise CompletionNotFound
    secret = f"al_live_{secrets.token_hex(32)}"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    owner = _put_key(books, batch, digest, team, name)
    return IssuedKey(owner.key_id, secret, team)


def revoke_key(books: Books, batch: Batch, *, key_id: str) -> None:
    """Revoke a key; again is no error.

    Raises: CompletionNotFound: no such key.
    """
    owner = books.owners_by_id.get(key_id)
    if owner is None:
        raise CompletionNotFound
    accounts.revoke_key(batch.connection, key_id, now_s=batch.now_s)
    books.put_owner(replace(owner, is_revoked=True))


def grant_credits(
    books: Books, batch: Batch, *, team: str, amount_microcredits: int, grant_id: str
) -> Balance:
    """Add credits to a team, once per grant id.

    Raises:
        CompletionNotFound: no such team.
        InvalidRequest: the amount is out of range.
        IdempotencyConflict: the id stands for another grant.
    """
    if team not in books.teams:
        raise CompletionNotFound
    _grant(books, batch, team, amount_microcredits, grant_id)
    account = books.account(team)
    return Balance(
        account.credits_microcredits, account.held_microcredits, account.billing_mode.value
    )


def new_grant_id() -> str:
    """Return an id for a grant whose caller names none; such a grant is never recognised again."""
    return f"grant_{secrets.token_hex(12)}"


def ensure_demo(
    books: Books,
    batch: Batch,
    *,
    row: TeamRow,
    credits_microcredits: int,
    key_digest: str,
) -> None:
    """Create the demo team once, with its credits, and see that the given key is its demo key.

    A key that was the demo key before is good no more. One that was revoked stays revoked: whoever did
    that meant it; one that only another took the place of comes back.
    """
    if row.team not in books.teams:
        create_team(
            books,
            batch,
            team=row.team,
            organization=row.organization,
            billing_mode=BillingMode.METERED,
            credits_microcredits=credits_microcredits,
            limits=row.limits,
            policy=POLICY_UNCHANGED,
        )
    batch.flush()  # The team's keys may be of this very batch.
    given = books.owners.get(key_digest)
    rows = accounts.list_keys(batch.connection, row.team)
    before = [key for key in rows if key.key_id.startswith(_DEMO_KEY_PREFIX)]
    if not before:  # Made by an earlier version, which gave it an id like any other's.
        before = [key for key in rows[:1] if key.name == _DEMO]
    for key in before:
        if key.revoked_at_s is None and (given is None or key.key_id != given.key_id):
            accounts.replace_key(batch.connection, key.key_id, _REPLACED, now_s=batch.now_s)
            books.put_owner(replace(books.owners_by_id[key.key_id], is_revoked=True))
    if given is None:
        _put_key(books, batch, key_digest, row.team, _DEMO, prefix=_DEMO_KEY_PREFIX)
    elif any(key.key_id == given.key_id and key.name == _REPLACED for key in rows):
        accounts.revive_key(batch.connection, given.key_id, _DEMO)
        books.put_owner(replace(given, is_revoked=False))


def remember_cancellation(
    books: Books, batch: Batch, *, key: CompletionKey
) -> RememberedCancellation:
    """Keep a cancellation for a completion that is yet to start; again keeps it for longer.

    Raises:
        CompletionIdInUse: it has started meanwhile, so it can be cancelled.
        CompletionNotFound: no such team.
        RateLimited: the team has as many waiting as it may.
    """
    if key.team not in books.teams:
        raise CompletionNotFound
    batch.flush()  # The completion may be of this very batch.
    if records.find(batch.connection, key) is not None:
        raise CompletionIdInUse(key.wire_id)
    waiting = {
        name: expires_at_s
        for name, expires_at_s in books.tombstones.get(key.team, {}).items()
        if expires_at_s > batch.now_s
    }
    if key not in waiting and len(waiting) >= CANCELLATIONS_MAX:
        retry_after_s = min(waiting.values()) - batch.now_s
        raise RateLimited(scope="requests", retry_after_s=retry_after_s)
    expires_at_s = batch.now_s + CANCELLATION_KEPT_S
    claims.put_tombstone(batch.connection, key, expires_at_s=expires_at_s)
    waiting[key] = expires_at_s
    books.tombstones[key.team] = waiting
    return RememberedCancellation(key.wire_id, expires_at_s)


def _put_key(
    books: Books, batch: Batch, digest: str, team: str, name: str, *, prefix: str = "key_"
) -> KeyOwner:
    owner = KeyOwner(f"{prefix}{secrets.token_hex(12)}", digest, team, is_revoked=False)
    accounts.insert_key(batch.connection, owner, name, now_s=batch.now_s)
    books.put_owner(owner)
    return owner


def _grant(books: Books, batch: Batch, team: str, amount_microcredits: int, grant_id: str) -> None:
    batch.flush()  # The same grant may be of this very batch.
    made = accounts.find_grant(batch.connection, grant_id)
    if made is not None:
        books.ledger.restore_grant(grant_id, *made)
    batch.touch(books.account(team))
    result = books.ledger.grant(grant_id, team, amount_microcredits, now_s=batch.now_s)
    if made is not None or result is LedgerResult.CREATED:
        books.ledger.forget_grant(grant_id)
    batch.add_entries(books.ledger.take_entries())
    match result:
        case LedgerResult.CREATED | LedgerResult.EXISTS:
            return
        case LedgerResult.EXISTS_WITH_DIFFERENT_TEAM | LedgerResult.EXISTS_WITH_DIFFERENT_AMOUNT:
            raise IdempotencyConflict("The idempotency key stands for another grant.")
        case (
            LedgerResult.AMOUNT_NEGATIVE
            | LedgerResult.AMOUNT_ABOVE_MAX
            | LedgerResult.EXCEEDS_CREDITS_MAX
        ):
            raise InvalidRequest(_OUT_OF_RANGE, param="amount")
    raise IllegalTransition(f"A grant cannot be refused with {result}.")
