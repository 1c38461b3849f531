"""The record of a completion that has ended, or is about to: the store's word."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from actors.core.errors import CompletionNotFound, Overloaded
from actors.core.record import CompletionRecord
from actors.ports.ledger import Ledger, Located

__all__ = ["LOSS_TIMEOUT_S", "POLL_S", "settled_record"]

LOSS_TIMEOUT_S = 30.0
"""How long the store is waited for to say how a completion ended whose carrier has it no more."""

POLL_S = 0.1


async def settled_record(
    ledger: Ledger, find: Callable[[], Awaitable[Located | None]]
) -> CompletionRecord:
    """Return the stored record, waiting for one that is about to be settled or declared lost.

    Args:
        find: looks the completion up in the store.

    Raises: CompletionNotFound: there is none. Overloaded: it is still open after `LOSS_TIMEOUT_S`.
    """
    now_s = asyncio.get_running_loop().time
    deadline_s = now_s() + LOSS_TIMEOUT_S
    while True:
        located = await find()
        if located is None:
            raise CompletionNotFound
        if located.is_settled:
            return await ledger.record(located.completion_id)
        if now_s() > deadline_s:
            raise Overloaded("The completion's owner is lost; it is being settled.")
        await asyncio.sleep(POLL_S)
