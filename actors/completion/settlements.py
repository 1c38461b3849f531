"""The end of a completion on its way to the ledger: how it is sent, and what stands where it could not be."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from actors.core.errors import Failure, FailureCode
from actors.core.events import Charge, Finished, FinishReason, Status
from actors.core.money.holds import HoldState
from actors.core.record import CompletionRecord
from actors.ports.ledger import Settlement

__all__ = ["expired", "hold_state", "packed"]

_EVENTS_INLINE_MAX = 1_000
"""Records up to this length are encoded on the loop (some 2 ms); longer ones in a thread."""


async def packed(record: CompletionRecord, thread: Executor | None) -> Settlement:
    """Encode a record, once for all tries to settle it: a long one where it does not hold up the loop.

    Args: thread: None is the loop's own.
    """
    if len(record.events) <= _EVENTS_INLINE_MAX:
        return Settlement.of(record)
    return await asyncio.get_running_loop().run_in_executor(thread, Settlement.of, record)


def hold_state(end: Finished) -> HoldState:
    """Return what became of the hold of a completion that ended so."""
    if end.status is Status.COMPLETED or end.charge.total_microcredits:
        return HoldState.POSTED
    return HoldState.VOIDED


def expired(record: CompletionRecord) -> CompletionRecord:
    """What stands when the ledger stayed away until the hold expired: nothing was charged."""
    end = record.finished
    assert end is not None
    failure = Failure(FailureCode.COMPLETION_LOST, "The ledger was away until the hold expired.")
    lost = Finished(
        Status.FAILED,
        FinishReason.ERROR,
        None,
        failure,
        end.usage,
        Charge(
            absorbed_microcredits=end.charge.total_microcredits + end.charge.absorbed_microcredits,
            held_microcredits=end.charge.held_microcredits,
        ),
        finished_at_s=end.finished_at_s,
    )
    return CompletionRecord(record.header, (*record.events[:-1], lost), record.timeline)
