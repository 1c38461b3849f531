"""Tells the registry what a carrier carries, after each change.

Nobody waits for it: replicas keep their slots, and the store knows what the registry has not heard of yet.
So news gathers for a moment, and what gathers is bounded: after a report that failed, or more news than
`_NEWS_MAX`, the next one says all that runs in place of what changed.
"""

from __future__ import annotations

import asyncio
import logging

from actors.completion.driver import CompletionDriver
from actors.core.errors import CompletionRuntimeError
from actors.ports.ledger import CompletionKey
from actors.ports.registry import Began, CarrierReport, Registry

__all__ = ["Reporter"]

_log = logging.getLogger(__name__)

_PAUSE_S = 0.05
"""What there is to report gathers for as long."""

_TIMEOUT_S = 5.0
"""A report that is not answered by then counts as lost; one that comes late is thrown away there."""

_NEWS_MAX = 1_000


class Reporter:
    """What runs at one carrier, and what of that the registry has not heard of.

    Args:
        actor: the carrier's name.
    """

    def __init__(self, actor: str) -> None:
        self._actor = actor
        self._running: dict[str, Began] = {}
        self._began: list[Began] = []
        self._ended: list[str] = []
        self._is_behind = False
        self._number = 0
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Reporter of {self._actor}, {self._number} reports>"

    def began(self, driver: CompletionDriver) -> None:
        header = driver.header
        key = CompletionKey(header.team, header.dialect, header.wire_id)
        began = self._running[header.completion_id] = Began(header.completion_id, key)
        self._began.append(began)
        self._changed()

    def ended(self, driver: CompletionDriver) -> None:
        self._running.pop(driver.header.completion_id, None)
        self._ended.append(driver.header.completion_id)
        self._changed()

    def whole(self) -> CarrierReport:
        """Return all that runs."""
        return CarrierReport(
            self._actor,
            self._number,
            len(self._running),
            began=tuple(self._running.values()),
            is_whole=True,
        )

    async def run(self, registry: Registry) -> None:
        """Report for ever."""
        while True:
            await self._news.wait()
            await asyncio.sleep(_PAUSE_S)
            self._news.clear()
            if not await self._report(registry):
                self._is_behind = True
                self._news.set()

    async def _report(self, registry: Registry) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await registry.report(self._next())
        except (CompletionRuntimeError, TimeoutError):
            return False  # It is being restarted: it is told all that runs then.
        except Exception:
            _log.exception("%s could not report", self._actor)
            return False
        return True

    def _next(self) -> CarrierReport:
        self._number += 1
        is_behind, self._is_behind = self._is_behind, False
        news = tuple(self._began), tuple(self._ended)
        self._began.clear()
        self._ended.clear()
        if is_behind:
            return self.whole()
        return CarrierReport(self._actor, self._number, len(self._running), *news)

    def _changed(self) -> None:
        if len(self._began) + len(self._ended) > _NEWS_MAX:
            self._began.clear()
            self._ended.clear()
            self._is_behind = True
        self._news.set()
