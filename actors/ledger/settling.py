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
from actors.ledger.books import Books
from actors.ledger.settlement import PackedSettlement
from actors.ledger.store import records
from actors.ledger.store.batch import Batch
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
    books: Books, batch: Batch, *, settled: PackedSettlement, settings: Settings
) -> bytes | None:
    """Post or void a completion's hold, and keep its record.

    Returns: None where the caller's record stands, else the body of the one that does.
    Raises:
        IllegalTransition: more is charged than was held: the caller's bug. The hold stays open.
        CompletionNotFound: there is a charge, and never was a hold: the caller's bug.
    """
    completion = books.open.get(settled.completion_id)
    if completion is None:
        return _standing(batch, settled)
    batch.touch(books.account(completion.key.team))
    if settled.is_void:
        result = books.ledger.void(settled.completion_id, now_s=batch.now_s)
    else:
        result = books.ledger.post(
            settled.completion_id, settled.charge_microcredits, now_s=batch.now_s
        )
    if result is LedgerResult.HOLD_EXPIRED:
        lost = _lose(books, batch, [settled.completion_id], _HOLD_EXPIRED, settings)
        return lost[0].body
    if result is not LedgerResult.CREATED:
        raise IllegalTransition(f"{settled.completion_id} cannot be settled: {result}.")
    _close(books, batch, settled, settings)
    return None


def lose(
    books: Books, batch: Batch, *, completion_ids: Sequence[str], settings: Settings
) -> list[str]:
    """Fail those of these completions that are open, at most `LOST_MAX`; return their ids."""
    found = [found for found in dict.fromkeys(completion_ids) if found in books.open]
    return _ids(_lose(books, batch, found[:LOST_MAX], _OWNER_DIED, settings))


def lose_actor(books: Books, batch: Batch, *, actor: str, settings: Settings) -> list[str]:
    """Fail at most `LOST_MAX` open completions of an actor; return their ids."""
    found = [found for found, open_ in books.open.items() if open_.located.actor == actor]
    return _ids(_lose(books, batch, found[:LOST_MAX], _OWNER_DIED, settings))


def expire(books: Books, batch: Batch, *, settings: Settings) -> list[str]:
    """Fail at most `LOST_MAX` completions whose hold is past its expiry; return their ids."""
    due = books.ledger.holds_due(batch.now_s, limit=LOST_MAX)
    return _ids(_lose(books, batch, due, _HOLD_EXPIRED, settings))


def _standing(batch: Batch, settled: PackedSettlement) -> bytes | None:
    batch.flush()  # The record that stands may be of this very batch.
    stored = records.find_record(batch.connection, settled.completion_id)
    if stored is None and settled.charge_microcredits > 0:
        raise CompletionNotFound
    # Without a hold there is nothing to resolve: it is how a caller makes sure that there is none.
    if stored is None or stored.body is None or stored.body == settled.body:
        return None
    return stored.body


def _lose(
    books: Books,
    batch: Batch,
    completion_ids: Sequence[str],
    failure: Failure,
    settings: Settings,
) -> list[PackedSettlement]:
    """Fail completions that are open."""
    if not completion_ids:
        return []
    batch.flush()  # Their headers may be of this very batch.
    lost = []
    for header in records.headers(batch.connection, completion_ids):
        batch.touch(books.account(header.team))
        result = books.ledger.void(header.completion_id, now_s=batch.now_s)
        if result is LedgerResult.HOLD_EXPIRED:
            result = books.ledger.expire(header.completion_id, now_s=batch.now_s)
        assert result is LedgerResult.CREATED, f"An open hold can be given back, not {result}."
        held_microcredits = books.hold(header.completion_id).total_microcredits
        record = _lost_record(header, failure, batch.now_s, held_microcredits)
        settled = PackedSettlement.of(Settlement(record))
        _close(books, batch, settled, settings)
        lost.append(settled)
    assert len(lost) == len(completion_ids), "Every open completion has its header in the store."
    return lost


def _close(books: Books, batch: Batch, settled: PackedSettlement, settings: Settings) -> None:
    hold = books.hold(settled.completion_id)
    limits = (_TTL_S_MAX.get(kind, math.inf) for kind in (settled.dialect, settled.retention))
    is_response = settled.dialect is Dialect.RESPONSES and settled.retention is Retention.FULL
    # Later requests refer to its items for as long as that.
    ttl_s = settings.responses_ttl_s if is_response else 0.0
    kept_for_s = min(max(settings.record_ttl_s, ttl_s), *limits)
    batch.add_entries(books.ledger.take_entries())
    batch.add_resolution(hold)
    batch.add_record(settled, hold, kept_for_s=kept_for_s)
    books.records_bytes += len(settled.body)
    books.ledger.forget_hold(settled.completion_id)
    del books.open[settled.completion_id]


def _lost_record(
    header: CompletionHeader, failure: Failure, now_s: float, held_microcredits: int
) -> CompletionRecord:
    is_extended = held_microcredits > header.hold_microcredits
    charge = Charge(held_microcredits=held_microcredits if is_extended else 0)
    finished = Finished(
        Status.FAILED, FinishReason.ERROR, None, failure, Usage(), charge, finished_at_s=now_s
    )
    return CompletionRecord(header, (finished,), Timeline(finished_at_s=now_s))


def _ids(lost: Sequence[PackedSettlement]) -> list[str]:
    return [settled.completion_id for settled in lost]
