"""How an open completion is closed: its hold given back, its record written, what was kept of it removed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from actors.core.completion.partial_log import lost_record
from actors.core.errors import Failure
from actors.core.events import Event
from actors.core.money.rules import BillingMode, Hold, LedgerResult
from actors.core.record import CompletionHeader
from actors.core.request import Dialect, Retention
from actors.ledger.memory import Memory
from actors.ledger.store.transaction import Transaction
from actors.ports.ledger import Settlement
from actors.settings import Settings

__all__ = ["close", "give_back", "lost_settlement"]

_TTL_S_MAX: Mapping[Dialect | Retention, float] = {
    Dialect.MESSAGES: 3_600.0,
    Retention.BRIEF: 600.0,
}
"""What is kept for less than `record_ttl_s`: by contract of the dialect, or by the caller's wish."""


def lost_settlement(
    header: CompletionHeader, events: Sequence[Event], failure: Failure, hold: Hold, now_s: float
) -> Settlement:
    """Return the settlement of a completion that is lost with these events in its log."""
    record = lost_record(
        header,
        events,
        failure,
        held_microcredits=hold.total_microcredits,
        is_charged=hold.billing_mode is not BillingMode.EXEMPT,
        now_s=now_s,
    )
    return Settlement.of(record)


def give_back(memory: Memory, transaction: Transaction, completion_id: str) -> Hold:
    """Give back the hold of an open completion; return it as it was."""
    hold = memory.hold(completion_id)
    transaction.touch(memory.account(hold.team))
    result = memory.accounts.void(completion_id, now_s=transaction.now_s)
    if result is LedgerResult.HOLD_EXPIRED:
        result = memory.accounts.expire(completion_id, now_s=transaction.now_s)
    assert result is LedgerResult.CREATED, f"An open hold can be given back, not {result}."
    return hold


def close(
    memory: Memory, transaction: Transaction, settled: Settlement, settings: Settings
) -> None:
    """Write the record of a completion whose hold was resolved just now."""
    hold = memory.hold(settled.completion_id)
    limits = (_TTL_S_MAX.get(kind, math.inf) for kind in (settled.dialect, settled.retention))
    is_response = settled.dialect is Dialect.RESPONSES and settled.retention is Retention.FULL
    # Later requests refer to its items for as long as that.
    ttl_s = settings.responses_ttl_s if is_response else 0.0
    kept_for_s = min(max(settings.record_ttl_s, ttl_s), *limits)
    transaction.add_entries(memory.accounts.take_entries())
    transaction.add_resolution(hold)
    transaction.add_record(settled, hold, kept_for_s=kept_for_s)
    if memory.kept.pop(settled.completion_id, None) is not None:
        transaction.drop_checkpoints(settled.completion_id)
    memory.records_bytes += len(settled.body)
    memory.accounts.forget_hold(settled.completion_id)
    del memory.open[settled.completion_id]
