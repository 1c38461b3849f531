"""What a replica knows of a completion whose carrier has it no more: its mirror, offered to the ledger.

Readers have been shown that text, so the record of the loss is to have it. The ledger is told only what it
does not have, and nothing of what may not be written down. It waits a moment before it writes the record
(see `actors.registry.deaths`), and does not wait for a replica that comes later.
"""

from __future__ import annotations

import asyncio
import logging

from actors.core.completion.partial_log import packed
from actors.core.errors import CompletionRuntimeError
from actors.ports.ledger import NEVER_KEPT, Checkpoint, Ledger
from actors.replica.mirror import Mirror
from actors.replica.records import POLL_S

__all__ = ["testify"]

_log = logging.getLogger(__name__)

_EVENTS_MAX = 2_000
"""In one call."""


async def testify(ledger: Ledger, mirror: Mirror, *, timeout_s: float) -> None:
    """Offer the mirror; a ledger that is away is asked again, for a bounded time."""
    now_s = asyncio.get_running_loop().time
    deadline_s = now_s() + timeout_s
    events = mirror.events
    stretch = Checkpoint(mirror.completion_id)
    while True:
        try:
            counts = await ledger.checkpoint(mirror.carrier, [stretch])
        except CompletionRuntimeError:
            if now_s() > deadline_s:
                return
            await asyncio.sleep(POLL_S)
            continue
        except Exception:
            # Its readers must be told the end all the same.
            _log.exception("%s could not be offered", mirror)
            return
        kept = counts.get(mirror.completion_id, NEVER_KEPT)
        was_refused = stretch.count > 0 and kept <= stretch.first
        if was_refused or not 0 <= kept < len(events) or mirror.is_over:
            return
        following = events[kept : kept + _EVENTS_MAX]
        stretch = Checkpoint(mirror.completion_id, kept, len(following), packed(following))
