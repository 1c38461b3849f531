"""The end of a completion's money, as its owner tells it.

It resolves the hold and writes the record in one transaction, and the first one stands: who comes later is
given the record that does. What nobody tells the end of is `losing`'s.
"""

from __future__ import annotations

from actors.core.errors import CompletionNotFound, IllegalTransition
from actors.core.money.rules import LedgerResult
from actors.core.record import CompletionRecord
from actors.ledger.closing import close, give_back, lost_settlement
from actors.ledger.losing import HOLD_EXPIRED
from actors.ledger.memory import Memory
from actors.ledger.store import records
from actors.ledger.store.transaction import Transaction
from actors.ports.ledger import Settlement
from actors.settings import Settings

__all__ = ["settle"]


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
        return _standing(memory, transaction, settled)
    transaction.touch(memory.account(completion.key.team))
    if settled.is_void:
        result = memory.accounts.void(settled.completion_id, now_s=transaction.now_s)
    else:
        result = memory.accounts.post(
            settled.completion_id, settled.charge_microcredits, now_s=transaction.now_s
        )
    if result is LedgerResult.HOLD_EXPIRED:
        return _too_late(memory, transaction, settled, settings)
    if result is not LedgerResult.CREATED:
        raise IllegalTransition(f"{settled.completion_id} cannot be settled: {result}.")
    close(memory, transaction, settled, settings)
    return None


def _standing(memory: Memory, transaction: Transaction, settled: Settlement) -> bytes | None:
    transaction.flush()  # The record that stands may be of this very transaction.
    stored = records.find_record(transaction.connection, settled.completion_id)
    if stored is None and settled.charge_microcredits > 0:
        raise CompletionNotFound
    # Without a hold there is nothing to resolve: it is how a caller makes sure that there is none. It may
    # have overtaken the hold on another connection, which is refused then.
    if stored is None:
        memory.give_up(settled.completion_id)
    if stored is None or stored.body is None or stored.body == settled.body:
        return None
    return stored.body


def _too_late(
    memory: Memory, transaction: Transaction, settled: Settlement, settings: Settings
) -> bytes:
    """Fail a completion whose hold has expired, with all of the log that its owner tells."""
    record = CompletionRecord.from_bytes(settled.body)
    hold = give_back(memory, transaction, settled.completion_id)
    failed = lost_settlement(
        record.header, record.events[:-1], HOLD_EXPIRED, hold, transaction.now_s
    )
    close(memory, transaction, failed, settings)
    return failed.body
