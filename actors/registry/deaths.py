"""What becomes of completions whose carrier is gone: the ledger is told to fail them.

A death is told by the cluster (`watch`). What nobody tells of is found by looking (`find_orphans`): an
open completion of a carrier that does not live, or that lives and does not carry it.

The ledger writes the record of what is lost with as much of the text as it keeps. So before it is told to,
there is a moment in which replicas, which have the same word of the death, offer it what they mirror.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from actors.core.errors import CompletionRuntimeError
from actors.ports.cluster import Cluster
from actors.ports.ledger import Checkpoint, CompletionKey, Located

__all__ = ["Deaths", "OpenCompletions"]

_AGAIN_S = 1.0
_WITNESS_S = 2.0
"""How long replicas have for it. One that is stopped for longer comes too late."""

_LOSE_PAUSE_S = 0.2
_LOSE_TRIES = 150
"""Half a minute of a ledger that is away; what is open then is found by the look for orphans."""

_log = logging.getLogger(__name__)


class OpenCompletions(Protocol):
    """What the registry needs of the ledger; see `actors.ports.ledger`."""

    async def checkpoint(self, actor: str, stretches: list[Checkpoint]) -> dict[str, int]: ...

    async def find(self, key: CompletionKey) -> Located | None: ...

    async def lose(self, actor: str) -> list[str]: ...

    async def lose_completions(self, completion_ids: list[str]) -> list[str]: ...

    async def open_completions(self) -> list[Located]: ...


class Deaths:
    """Args: carried: what a carrier carries, by id; None if it does not answer in time."""

    def __init__(
        self,
        cluster: Cluster,
        ledger: OpenCompletions,
        *,
        carried: Callable[[str], Awaitable[set[str] | None]],
    ) -> None:
        self._cluster = cluster
        self._ledger = ledger
        self._carried = carried
        self._missed: set[str] = set()  # completions that the last look missed at a living carrier

    async def watch(self, name: str) -> None:
        """Return when that carrier is dead."""
        while True:
            try:
                await self._cluster.died(name)
                return
            except CompletionRuntimeError:
                pass  # Out of reach is not dead: the cluster will say which.
            except Exception:
                _log.exception("%s could not be watched", name)
            await asyncio.sleep(_AGAIN_S)

    async def lose(self, name: str) -> None:
        """Fail what a dead carrier carried, once those who mirror it have had their time."""
        for _ in range(_LOSE_TRIES):
            try:
                await self._ledger.checkpoint(name, [])  # It hears, so whoever has a copy is heard.
                await asyncio.sleep(_WITNESS_S)
                await self._ledger.lose(name)
                return
            except CompletionRuntimeError:
                await asyncio.sleep(_LOSE_PAUSE_S)

    async def find_orphans(self) -> None:
        """Fail open completions that nobody carries: nobody else will settle them.

        What is open is read first: a completion that opens later, at a carrier that was started later,
        is not looked at. One whose carrier lives is failed only when two looks in a row have missed it
        there: its carrier may never have heard that its hold was placed, or may be about to.
        """
        opened = await self._ledger.open_completions()
        living = set(await self._cluster.living())
        asked = sorted({one.actor for one in opened} & living)
        answers = await asyncio.gather(*map(self._carried, asked))
        carried = dict(zip(asked, answers, strict=True))
        orphans: set[str] = set()
        missed: set[str] = set()
        for one in opened:
            there = carried.get(one.actor)
            if one.actor not in living:
                orphans.add(one.completion_id)
            elif there is not None and one.completion_id not in there:
                missed.add(one.completion_id)
        orphans |= missed & self._missed
        if orphans:
            await asyncio.sleep(_WITNESS_S)
            await self._ledger.lose_completions(sorted(orphans))
        self._missed = missed  # Not before: a look that failed is made again at once.
