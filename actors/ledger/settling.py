"""The end of a completion's money: settled by its owner, lost with it, or expired.

Each way resolves the hold and writes the record in one transaction, and the first one stands: who
comes later is given the record that does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from actors.core.errors import CompletionNotFound, Failure, FailureCode, IllegalTransition
from actors.core.events import Charge, Finished, FinishReason, Status, Usage
from actors.core.money.rules import LedgerResult
from actors.core.record import CompletionHeader, CompletionRecord, Timeline
from actors.core.request import Dialect, Retention
from actors.ledger.memory import Memory
from actors.ledger.store import records
from actors.ledger.store.transaction import Transaction
from actors.ports.ledger import Settlement
from actors.settings import Settings

__all__ = ["LOST_MAX", "expire", "lose", "lose_actor", "settle"]

LOST_MAX = 256
"""Completions that one operation fails; who has more to fail asks again."""

_TTL_S_MAX: Mapping[Dialect | Retention, float] = {
    Dialect.MESSAGES: 3_600.0,
    Retention.BRIEF: 600.0,
}
"""What is kept for less than `record_ttl_s`: by contract of the dialect, or by the caller's wish."""

_OWNER_DIED = Failure(
    FailureCode.COMPLETION_LOST, "The process that carried this completion ended without a word."
)
_HOLD_EXPIRED = Failure(
    FailureCode.COMPLETION_LOST, "The completion was not settled before its hold expired."
)


def settle(
    memory: Memory, transaction: Transaction, *, settled: Settlement, settings: Settings
) -> bytes | None:
    """Post or void a completion's hold, and keep its record.

    Returns: None where the caller's record stands, else the body of the one that does.
    Raises:
        IllegalTransition: more is charged than was held: the caller's bug. The hold stays open.
        CompletionNotFound: there is a charge, and never was a hold: the caller's bug.
    """
    completion = memory.open.get(settled.completion_id)
    if completion is None:
        return _standing(transaction, settled)
    transaction.touch(memory.account(completion.key.team))
    if settled.is_void:
        result = memory.accounts.void(settled.completion_id, now_s=transaction.now_s)
    else:
        result = memory.accounts.post(
            settled.completion_id, settled.charge_microcredits, now_s=transaction.now_s
        )
    if result is LedgerResult.HOLD_EXPIRED:
        lost = _lose(memory, transaction, [settled.completion_id], _HOLD_EXPIRED, settings)
        return lost[0].body
    if result is not LedgerResult.CREATED:
        raise IllegalTransition(f"{settled.completion_id} cannot be settled: {result}.")
    _close(memory, transaction, settled, settings)
    return None


def lose(
    memory: Memory, transaction: Transaction, *, completion_ids: Sequence[str], settings: Settings
) -> list[str]:
    """Fail those of these completions that are open, at most `LOST_MAX`; return their ids."""
    found = [found for found in dict.fromkeys(completion_ids) if found in memory.open]
    return _ids(_lose(memory, transaction, found[:LOST_MAX], _OWNER_DIED, settings))


def lose_actor(
    memory: Memory, transaction: Transaction, *, actor: str, settings: Settings
) -> list[str]:
    """Fail at most `LOST_MAX` open completions of an actor; return their ids."""
    found = [found for found, open_ in memory.open.items() if open_.located.actor == actor]
    return _ids(_lose(memory, transaction, found[:LOST_MAX], _OWNER_DIED, settings))


def expire(memory: Memory, transaction: Transaction, *, settings: Settings) -> list[str]:
    """Fail at most `LOST_MAX` completions whose hold is past its expiry; return their ids."""
    due = memory.accounts.holds_due(transaction.now_s, limit=LOST_MAX)
    return _ids(_lose(memory, transaction, due, _HOLD_EXPIRED, settings))


def _standing(transaction: Transaction, settled: Settlement) -> bytes | None:
    transaction.flush()  # The record that stands may be of this very transaction.
    stored = records.find_record(transaction.connection, settled.completion_id)
    if stored is None and settled.charge_microcredits > 0:
        raise CompletionNotFound
    # Without a hold there is nothing to resolve: it is how a caller makes sure that there is none.
    if stored is None or stored.body is None or stored.body == settled.body:
        return None
    return stored.body


def _lose(
    memory: Memory,
    transaction: Transaction,
    completion_ids: Sequence[str],
    failure: Failure,
    settings: Settings,
) -> list[Settlement]:
    """Fail completions that are open."""
    if not completion_ids:
        return []
    transaction.flush()  # Their headers may be of this very transaction.
    lost = []
    for header in records.headers(transaction.connection, completion_ids):
        transaction.touch(memory.account(header.team))
        result = memory.accounts.void(header.completion_id, now_s=transaction.now_s)
        if result is LedgerResult.HOLD_EXPIRED:
            result = memory.accounts.expire(header.completion_id, now_s=transaction.now_s)
        assert result is LedgerResult.CREATED, f"An open hold can be given back, not {result}."
        held_microcredits = memory.hold(header.completion_id).total_microcredits
        record = _lost_record(header, failure, transaction.now_s, held_microcredits)
        settled = Settlement.of(record)
        _close(memory, transaction, settled, settings)
        lost.append(settled)
    assert len(lost) == len(completion_ids), "Every open completion has its header in the store."
    return lost


def _close(
    memory: Memory, transaction: Transaction, settled: Settlement, settings: Settings
) -> None:
    hold = memory.hold(settled.completion_id)
    limits = (_TTL_S_MAX.get(kind, math.inf) for kind in (settled.dialect, settled.retention))
    is_response = settled.dialect is Dialect.RESPONSES and settled.retention is Retention.FULL
    # Later requests refer to its items for as long as that.
    ttl_s = settings.responses_ttl_s if is_response else 0.0
    kept_for_s = min(max(settings.record_ttl_s, ttl_s), *limits)
    transaction.add_entries(memory.accounts.take_entries())
    transaction.add_resolution(hold)
    transaction.add_record(settled, hold, kept_for_s=kept_for_s)
    memory.records_bytes += len(settled.body)
    memory.accounts.forget_hold(settled.completion_id)
    del memory.open[settled.completion_id]


def _lost_record(
    header: CompletionHeader, failure: Failure, now_s: float, held_microcredits: int
) -> CompletionRecord:
    is_extended = held_microcredits > header.hold_microcredits
    charge = Charge(held_microcredits=held_microcredits if is_extended else 0)
    finished = Finished(
        Status.FAILED, FinishReason.ERROR, None, failure, Usage(), charge, finished_at_s=now_s
    )
    return CompletionRecord(header, (finished,), Timeline(finished_at_s=now_s))


def _ids(lost: Sequence[Settlement]) -> list[str]:
    return [settled.completion_id for settled in lost]
