"""What grows with time and has to go: records past their time or above their size, old claims.

Each pass is bounded and says whether there is more; entries of the journal are never removed.
"""

from __future__ import annotations

from actors.ledger.memory import Memory
from actors.ledger.store import claims, fence, records
from actors.ledger.store.transaction import Transaction
from actors.settings import Settings

__all__ = ["PASS_MAX", "give_sign", "remove_claims", "remove_records"]

PASS_MAX = 256
"""Rows of a kind that one pass removes, so that placements never wait long behind it."""


def give_sign(_memory: Memory, transaction: Transaction) -> None:
    """Say in the store that its ledger lives."""
    fence.give_sign(transaction.connection)


def remove_records(memory: Memory, transaction: Transaction, *, settings: Settings) -> int:
    """Drop the content of records past their expiry, and of the oldest ones above the size.

    Returns: how many were dropped; below `PASS_MAX` there is nothing more to do for now.
    """
    transaction.flush()  # What was settled in this very transaction counts too.
    dropped = records.records_past_expiry(transaction.connection, transaction.now_s, limit=PASS_MAX)
    if len(dropped) < PASS_MAX:
        excess = (
            memory.records_bytes - sum(size for _, size in dropped) - settings.records_bytes_max
        )
        dropped += _oldest_above(transaction, excess, {name for name, _ in dropped})
    if dropped:
        records.evict(
            transaction.connection, [name for name, _ in dropped], now_s=transaction.now_s
        )
        memory.records_bytes -= sum(size for _, size in dropped)
    return len(dropped)


def remove_claims(memory: Memory, transaction: Transaction) -> int:
    """Remove idempotency keys and remembered cancellations past their expiry; return how many."""
    for team, waiting in list(memory.tombstones.items()):
        for key in [
            key for key, expires_at_s in waiting.items() if expires_at_s <= transaction.now_s
        ]:
            del waiting[key]
        if not waiting:
            del memory.tombstones[team]
    return claims.remove_past_expiry(transaction.connection, transaction.now_s, limit=PASS_MAX)


def _oldest_above(
    transaction: Transaction, excess: int, dropped: set[str]
) -> list[tuple[str, int]]:
    """Return the oldest records that together have at least `excess` bytes, or a pass of them."""
    found: list[tuple[str, int]] = []
    if excess <= 0:
        return found
    for name, size in records.oldest_records(transaction.connection, limit=PASS_MAX):
        if excess <= 0:
            break
        if name not in dropped:
            found.append((name, size))
            excess -= size
    return found
