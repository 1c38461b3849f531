"""Bugs to plant in what is kept of texts whose owners die; see `planted`."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import patch

from actors.completion.checkpointer import Checkpointer
from actors.ledger import checkpointing
from actors.ledger.store.transaction import Transaction
from actors.registry import deaths
from actors.registry.probes import Probes


def first_mirror_stands() -> Any:
    """Whoever comes first is taken, also where another has more."""
    return patch.object(
        checkpointing,
        "_follows",
        lambda stretch, kept, _settings: stretch.count > 0 and kept.count == 0,
    )


def verdict_at_once() -> Any:
    """Nobody who mirrors it has time to say so."""
    return patch.object(deaths, "_WITNESS_S", 0.0)


def checkpoints_dropped() -> Any:
    async def dropped(checkpointer: Checkpointer, _drivers: Any) -> None:
        checkpointer._called_at_s = asyncio.get_running_loop().time()

    return patch.object(Checkpointer, "_keep", dropped)


def checkpoints_stay() -> Any:
    """They are not removed with the settlement."""
    return patch.object(Transaction, "drop_checkpoints", lambda _transaction, _completion_id: None)


def finished_is_witnessed() -> Any:
    """A witness is believed of what has its record already."""
    checkpoint = checkpointing.checkpoint

    def believed(memory: Any, transaction: Any, *, stretches: Any, **others: Any) -> Any:
        counts = checkpoint(memory, transaction, stretches=stretches, **others)
        for stretch in stretches:
            if stretch.completion_id not in memory.open:
                counts[stretch.completion_id] = stretch.count
                if stretch.count:
                    transaction.add_checkpoint(stretch)
        return counts

    return patch.object(checkpointing, "checkpoint", believed)


def hung_is_not_looked_for() -> Any:
    async def nothing(_probes: Probes, _carriers: Any) -> list[str]:
        return []

    return patch.object(Probes, "look", nothing)
