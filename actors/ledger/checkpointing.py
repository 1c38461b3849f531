"""What is kept of the logs of what runs, so that a text outlives the process that was writing it.

Whoever has a log sends the next stretch of it, and is told how many events are kept: so a call that is
made again, or two that have the same log, write nothing twice and leave no gap. What is kept goes with the
settlement. Nothing is taken of a completion that is not open, is not that actor's, or whose content is not
written down; nor more than `KEPT_PER_LOG_BYTE` times what a log may weigh.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.ledger.memory import Memory
from actors.ledger.store.checkpoints import KeptLog
from actors.ledger.store.transaction import Transaction
from actors.ports.ledger import NEVER_KEPT, Checkpoint
from actors.settings import Settings

__all__ = ["KEPT_PER_LOG_BYTE", "checkpoint"]

KEPT_PER_LOG_BYTE = 2
"""JSON takes more than the log counts; what is above that is no log of ours."""

_NOTHING = KeptLog(0, 0)


def checkpoint(
    memory: Memory,
    transaction: Transaction,
    *,
    actor: str,
    stretches: Sequence[Checkpoint],
    settings: Settings,
) -> dict[str, int]:
    """Keep what follows what is kept; return how many events are kept of each."""
    counts: dict[str, int] = {}
    for stretch in stretches:
        completion = memory.open.get(stretch.completion_id)
        if completion is None or completion.located.actor != actor:
            continue
        kept = memory.kept.get(stretch.completion_id, _NOTHING)
        if not completion.keeps_text:
            counts[stretch.completion_id] = NEVER_KEPT
            continue
        if _follows(stretch, kept, settings):
            transaction.add_checkpoint(stretch)
            kept = KeptLog(kept.count + stretch.count, kept.characters + len(stretch.events))
            memory.kept[stretch.completion_id] = kept
        counts[stretch.completion_id] = kept.count
    return counts


def _follows(stretch: Checkpoint, kept: KeptLog, settings: Settings) -> bool:
    size = kept.characters + len(stretch.events)
    is_within = size <= KEPT_PER_LOG_BYTE * settings.log_bytes_max
    return stretch.count > 0 and stretch.first == kept.count and is_within
