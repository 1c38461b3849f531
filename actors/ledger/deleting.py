"""What a DELETE does: the record gives way to one without content, the row is marked.

Money is not touched. Eviction, which is not the owner's wish but time's, is `upkeep`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors import CompletionNotFound
from actors.ledger.memory import Memory
from actors.ledger.store import records
from actors.ledger.store.transaction import Transaction

__all__ = ["Remains", "delete"]


@dataclass(frozen=True, slots=True)
class Remains:
    """What stays of a settled completion: `body` is its record without content, as it is stored."""

    completion_id: str
    body: bytes


def delete(memory: Memory, transaction: Transaction, *, remains: Remains) -> None:
    """Put the remains in the record's place, and hide the completion from its owner.

    Raises: CompletionNotFound: it was deleted or evicted meanwhile.
    """
    transaction.flush()
    size = records.size_of(transaction.connection, remains.completion_id)
    if size is None:
        raise CompletionNotFound
    records.put_remains(
        transaction.connection, remains.completion_id, remains.body, now_s=transaction.now_s
    )
    memory.records_bytes += len(remains.body) - size
