"""Teams, keys, credits, and cancellations that wait for a completion of their name."""

from __future__ import annotations

import hashlib
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
from actors.ledger.memory import Memory
from actors.ledger.store import accounts, claims, records
from actors.ledger.store.accounts import KeyOwner, TeamRow
from actors.ledger.store.transaction import Transaction
from actors.ports.ledger import (
    LIMITS_UNCHANGED,
    POLICY_UNCHANGED,
    Balance,
    CompletionKey,
    IssuedKey,
    LimitsChange,
    PolicyChange,
    RememberedCancellation,
    TeamLimits,
    TeamPolicy,
    TeamState,
)

__all__ = [
    "CANCELLATIONS_MAX",
    "CANCELLATION_KEPT_S",
    "create_key",
    "create_team",
    "ensure_demo",
    "grant_credits",
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
    memory: Memory,
    transaction: Transaction,
    *,
    team: str,
    organization: str,
    billing_mode: BillingMode | None,
    credits_microcredits: int,
    limits: LimitsChange,
    policy: PolicyChange,
) -> TeamState:
    """Create a team with its first credits; of one that exists, change what is said of it.

    Returns: what stands.
    Raises: InvalidRequest: it exists with another organization, or the credits are out of range.
    """
    standing = memory.teams.get(team)
    if standing is not None:
        if standing.organization != organization:
            raise InvalidRequest("The team belongs to another organization.", param="organization")
        row = replace(
            standing, limits=limits.of(standing.limits), policy=policy.of(standing.policy)
        )
        billing_mode = billing_mode or memory.account(team).billing_mode
        accounts.set_team(transaction.connection, row, billing_mode)
        memory.accounts.open_account(team, billing_mode=billing_mode)
        memory.teams[team] = row
        return TeamState(row.limits, row.policy)
    if not 0 <= credits_microcredits <= AMOUNT_MICROCREDITS_MAX:
        raise InvalidRequest(_OUT_OF_RANGE, param="credits")
    row = TeamRow(team, organization, limits.of(TeamLimits()), policy.of(TeamPolicy()))
    billing_mode = billing_mode or BillingMode.METERED
    accounts.insert_team(transaction.connection, row, billing_mode, now_s=transaction.now_s)
    memory.accounts.open_account(team, billing_mode=billing_mode)
    memory.teams[team] = row
    if credits_microcredits:
        _grant(memory, transaction, team, credits_microcredits, f"\x1ffirst/{team}")
    return TeamState(row.limits, row.policy)


def create_key(
    memory: Memory, transaction: Transaction, *, team: str, name: str, secret: str
) -> IssuedKey:
    """Make a key of a new secret, which is in the answer and nowhere else.

    Raises: CompletionNotFound: no such team.
    """
    if team not in memory.teams:
        raise CompletionNotFound
    digest = hashlib.sha256(secret.encode()).hexdigest()
    owner = memory.owners.get(digest)  # There where this is made again.
    if owner is None:
        owner = _put_key(memory, transaction, digest, team, name)
    return IssuedKey(owner.key_id, secret, team)


def revoke_key(memory: Memory, transaction: Transaction, *, key_id: str) -> None:
    """Revoke a key; again is no error.

    Raises: CompletionNotFound: no such key.
    """
    owner = memory.owners_by_id.get(key_id)
    if owner is None:
        raise CompletionNotFound
    accounts.revoke_key(transaction.connection, key_id, now_s=transaction.now_s)
    memory.put_owner(replace(owner, is_revoked=True))


def grant_credits(
    memory: Memory, transaction: Transaction, *, team: str, amount_microcredits: int, grant_id: str
) -> Balance:
    """Add credits to a team, once per grant id.

    Raises:
        CompletionNotFound: no such team.
        InvalidRequest: the amount is out of range.
        IdempotencyConflict: the id stands for another grant.
    """
    if team not in memory.teams:
        raise CompletionNotFound
    _grant(memory, transaction, team, amount_microcredits, grant_id)
    account = memory.account(team)
    return Balance(
        account.credits_microcredits, account.held_microcredits, account.billing_mode.value
    )


def ensure_demo(
    memory: Memory,
    transaction: Transaction,
    *,
    row: TeamRow,
    credits_microcredits: int,
    key_digest: str,
) -> None:
    """Create the demo team once, with its credits, and see that the given key is its demo key.

    A key that was the demo key before is good no more. One that was revoked stays revoked: whoever did
    that meant it; one that only another took the place of comes back.
    """
    if row.team not in memory.teams:
        create_team(
            memory,
            transaction,
            team=row.team,
            organization=row.organization,
            billing_mode=BillingMode.METERED,
            credits_microcredits=credits_microcredits,
            limits=LIMITS_UNCHANGED,
            policy=POLICY_UNCHANGED,
        )
    transaction.flush()  # The team's keys may be of this very transaction.
    given = memory.owners.get(key_digest)
    rows = accounts.list_keys(transaction.connection, row.team)
    before = [key for key in rows if key.key_id.startswith(_DEMO_KEY_PREFIX)]
    if not before:  # Made by an earlier version, which gave it an id like any other's.
        before = [key for key in rows[:1] if key.name == _DEMO]
    for key in before:
        if key.revoked_at_s is None and (given is None or key.key_id != given.key_id):
            accounts.replace_key(
                transaction.connection, key.key_id, _REPLACED, now_s=transaction.now_s
            )
            memory.put_owner(replace(memory.owners_by_id[key.key_id], is_revoked=True))
    if given is None:
        _put_key(memory, transaction, key_digest, row.team, _DEMO, prefix=_DEMO_KEY_PREFIX)
    elif any(key.key_id == given.key_id and key.name == _REPLACED for key in rows):
        accounts.revive_key(transaction.connection, given.key_id, _DEMO)
        memory.put_owner(replace(given, is_revoked=False))


def remember_cancellation(
    memory: Memory, transaction: Transaction, *, key: CompletionKey
) -> RememberedCancellation:
    """Keep a cancellation for a completion that is yet to start; again keeps it for longer.

    Raises:
        CompletionIdInUse: it has started meanwhile, so it can be cancelled.
        CompletionNotFound: no such team.
        RateLimited: the team has as many waiting as it may.
    """
    if key.team not in memory.teams:
        raise CompletionNotFound
    transaction.flush()  # The completion may be of this very transaction.
    if records.find(transaction.connection, key) is not None:
        raise CompletionIdInUse(key.wire_id)
    waiting = {
        name: expires_at_s
        for name, expires_at_s in memory.tombstones.get(key.team, {}).items()
        if expires_at_s > transaction.now_s
    }
    if key not in waiting and len(waiting) >= CANCELLATIONS_MAX:
        retry_after_s = min(waiting.values()) - transaction.now_s
        raise RateLimited(scope="requests", retry_after_s=retry_after_s)
    expires_at_s = transaction.now_s + CANCELLATION_KEPT_S
    claims.put_tombstone(transaction.connection, key, expires_at_s=expires_at_s)
    waiting[key] = expires_at_s
    memory.tombstones[key.team] = waiting
    return RememberedCancellation(key.wire_id, expires_at_s)


def _put_key(
    memory: Memory,
    transaction: Transaction,
    digest: str,
    team: str,
    name: str,
    *,
    prefix: str = "key_",
) -> KeyOwner:
    # Of the digest, which nobody sees: the id says nothing of the secret.
    name_of_it = hashlib.sha256(f"id of {digest}".encode()).hexdigest()[:24]
    owner = KeyOwner(f"{prefix}{name_of_it}", digest, team, is_revoked=False)
    accounts.insert_key(transaction.connection, owner, name, now_s=transaction.now_s)
    memory.put_owner(owner)
    return owner


def _grant(
    memory: Memory, transaction: Transaction, team: str, amount_microcredits: int, grant_id: str
) -> None:
    transaction.flush()  # The same grant may be of this very transaction.
    made = accounts.find_grant(transaction.connection, grant_id)
    if made is not None:
        memory.accounts.restore_grant(grant_id, *made)
    transaction.touch(memory.account(team))
    result = memory.accounts.grant(grant_id, team, amount_microcredits, now_s=transaction.now_s)
    if made is not None or result is LedgerResult.CREATED:
        memory.accounts.forget_grant(grant_id)
    transaction.add_entries(memory.accounts.take_entries())
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
