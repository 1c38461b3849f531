"""The end of a completion that nobody tells: its owner is dead, or its hold has expired.

It fails, and nothing is charged. What was kept of its log is in its record: that is read and encoded beside
the writer, which takes it where nothing was added meanwhile, and says otherwise which have to be read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from actors.core.completion.partial_log import joined
from actors.core.errors import Failure, FailureCode
from actors.ledger.closing import close, give_back, lost_settlement
from actors.ledger.memory import Memory
from actors.ledger.store import checkpoints, records
from actors.ledger.store.transaction import Transaction
from actors.ports.ledger import Settlement
from actors.settings import Settings

__all__ = [
    "HOLD_EXPIRED",
    "LOST_MAX",
    "OWNER_DIED",
    "READ_MAX",
    "KeptRecord",
    "Losses",
    "due",
    "lose",
    "of_actor",
    "read_kept",
    "those",
]

LOST_MAX = 256
"""Completions that one operation fails; who has more to fail asks again."""

READ_MAX = 16
"""Of which the logs are read at once: each may have as many bytes as a log may."""

OWNER_DIED = Failure(
    FailureCode.COMPLETION_LOST, "The process that carried this completion ended without a word."
)
HOLD_EXPIRED = Failure(
    FailureCode.COMPLETION_LOST, "The completion was not settled before its hold expired."
)


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """The record of a loss, made of the so many events that were kept when it was read."""

    settlement: Settlement
    count: int
    held_microcredits: int


@dataclass(slots=True)
class Losses:
    """What one operation came to: ids of those that it failed, and of those that must be read first.

    `has_more` says that it did not look at all.
    """

    lost: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    has_more: bool = False


# Whose end is to be told. Each returns ids of open completions.


def of_actor(memory: Memory, _now_s: float, *, actor: str) -> list[str]:
    return [found for found, open_ in memory.open.items() if open_.located.actor == actor]


def those(memory: Memory, _now_s: float, *, completion_ids: Sequence[str]) -> list[str]:
    return [found for found in dict.fromkeys(completion_ids) if found in memory.open]


def due(memory: Memory, now_s: float) -> list[str]:
    """Those whose hold is past its expiry, not all of them."""
    return memory.accounts.holds_due(now_s, limit=LOST_MAX + 1)


def lose(
    memory: Memory,
    transaction: Transaction,
    *,
    completion_ids: Sequence[str],
    failure: Failure,
    read: Mapping[str, KeptRecord],
    settings: Settings,
) -> Losses:
    """Fail at most `LOST_MAX` of these open completions. Args: read: what was read of their logs."""
    losses = Losses(has_more=len(completion_ids) > LOST_MAX)
    bare: list[str] = []
    for completion_id in completion_ids[:LOST_MAX]:
        known = read.get(completion_id)
        if completion_id not in memory.kept:
            bare.append(completion_id)
        elif known is not None and _is_current(memory, known):
            give_back(memory, transaction, completion_id)
            close(memory, transaction, known.settlement, settings)
            losses.lost.append(completion_id)
        else:
            losses.unread.append(completion_id)
    if bare:
        transaction.flush()  # Their headers may be of this very transaction.
    for header in records.headers(transaction.connection, bare) if bare else ():
        hold = give_back(memory, transaction, header.completion_id)
        settled = lost_settlement(header, (), failure, hold, transaction.now_s)
        close(memory, transaction, settled, settings)
        losses.lost.append(header.completion_id)
    assert len(losses.lost) + len(losses.unread) == len(completion_ids[:LOST_MAX]), (
        "Every open completion has its header in the store."
    )
    return losses


def read_kept(
    connection: Connection, completion_ids: Sequence[str], failure: Failure, now_s: float
) -> dict[str, KeptRecord]:
    """Return the records of the loss of those of these completions that are open, and kept in part."""
    kept = {
        completion_id: (count, joined(stretches))
        for completion_id, count, stretches in checkpoints.stretches(connection, completion_ids)
    }
    made: dict[str, KeptRecord] = {}
    for header, hold in checkpoints.load_losses(connection, list(kept)):
        count, events = kept[header.completion_id]
        settlement = lost_settlement(header, events, failure, hold, now_s)
        made[header.completion_id] = KeptRecord(settlement, count, hold.total_microcredits)
    return made


def _is_current(memory: Memory, known: KeptRecord) -> bool:
    completion_id = known.settlement.completion_id
    is_whole = memory.kept[completion_id].count == known.count
    return is_whole and memory.hold(completion_id).total_microcredits == known.held_microcredits
