"""Keeps the logs of what a carrier carries at the ledger, so that little of a text dies with its process.

One call each second for all streams, sooner where one has much that is not kept; off the path of a token.

Rules:
- One call is under way at a time, and nothing is queued: what is not kept yet is in the logs. A ledger that
  is slow or away is told more with the next call, a bounded piece at a time.
- The ledger says how much it has; what a lost answer took is not sent again.
- What the ledger does not know as open was given its verdict: its upstream is closed, and the verdict stands.
- Whoever has not reached the ledger for `_ALONE_S_MAX` is cut off: everybody else takes it for dead, or
  soon will, so it closes its upstreams. A ledger that answers, and cannot write, is reached.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from actors.completion.driver import CompletionDriver
from actors.core.completion.partial_log import packed
from actors.core.errors import (
    ActorAway,
    CompletionRuntimeError,
    Failure,
    FailureCode,
    OtherDeploy,
    Overloaded,
)
from actors.core.request import Retention
from actors.ports.ledger import Checkpoint, HoldLedger

__all__ = ["Checkpointer"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.25
_PERIOD_S = 1.0
_UNKEPT_BYTES = 64 * 1024
"""A stream that has as much does not wait for the second to pass."""

_EVENTS_MAX = 2_000
_CALL_CHARACTERS = 2 * 1024**2
"""What one call carries, but for the last stretch in it; the rest goes with the next."""

_ALONE_S_MAX = 30.0

_VERDICT = Failure(
    FailureCode.COMPLETION_LOST, "The process that carried this completion was taken for dead."
)
_ALONE = Failure(
    FailureCode.COMPLETION_LOST,
    "The process that carried this completion was cut off from the ledger.",
)


class Checkpointer:
    """Args:
    actor: the carrier's name.
    running: what it carries now.
    """

    def __init__(
        self,
        actor: str,
        ledger: HoldLedger,
        *,
        running: Callable[[], Sequence[CompletionDriver]],
    ) -> None:
        self._actor = actor
        self._ledger = ledger
        self._running = running
        self._began = asyncio.Event()
        self._kept: dict[str, int] = {}  # events, by completion, as the ledger said last
        self._kept_bytes: dict[str, int] = {}
        self._called_at_s = 0.0
        self._reached_at_s = 0.0
        self._is_away = False

    def __repr__(self) -> str:
        return f"<Checkpointer of {self._actor}, {len(self._kept)} logs>"

    def began(self) -> None:
        """There is something to keep."""
        if not self._began.is_set():
            self._reached_at_s = self._called_at_s = asyncio.get_running_loop().time()
            self._began.set()

    async def run(self) -> None:
        """Keep for ever."""
        while True:
            await self._began.wait()
            await asyncio.sleep(_LOOK_S)
            drivers = [driver for driver in self._running() if driver.is_streaming]
            self._forget_others(drivers)
            if drivers and self._is_due(drivers):
                await self._keep(drivers)
            elif not self._running():
                self._began.clear()

    def _is_due(self, drivers: Sequence[CompletionDriver]) -> bool:
        if asyncio.get_running_loop().time() - self._called_at_s >= _PERIOD_S:
            return True
        return not self._is_away and any(
            driver.completion.log.size_bytes - self._kept_bytes.get(_id(driver), 0) >= _UNKEPT_BYTES
            for driver in drivers
        )

    async def _keep(self, drivers: Sequence[CompletionDriver]) -> None:
        now_s = asyncio.get_running_loop().time
        self._called_at_s = now_s()
        sizes = {_id(driver): driver.completion.log.size_bytes for driver in drivers}
        stretches = self._stretches(drivers)
        try:
            kept = await self._ledger.checkpoint(self._actor, stretches)
        except Exception as error:
            self._tell(error)
            if isinstance(error, Overloaded) and not isinstance(error, ActorAway | OtherDeploy):
                self._reached_at_s = (
                    now_s()
                )  # It answers, and cannot write: it gives no verdict either.
            if now_s() - self._reached_at_s >= _ALONE_S_MAX:
                for driver in drivers:
                    driver.fail(_ALONE)
            return
        self._is_away = False
        self._reached_at_s = now_s()
        for driver, stretch in zip(drivers, stretches, strict=True):
            count = kept.get(stretch.completion_id)
            if count is None:
                driver.fail(_VERDICT)
                continue
            self._kept[stretch.completion_id] = max(0, min(count, len(driver.completion.log)))
            if stretch.first + stretch.count == len(driver.completion.log):
                self._kept_bytes[stretch.completion_id] = sizes[stretch.completion_id]

    def _stretches(self, drivers: Sequence[CompletionDriver]) -> list[Checkpoint]:
        """Return the next of each log; an empty one asks whether the completion is open still."""
        room = _CALL_CHARACTERS
        stretches: list[Checkpoint] = []
        for driver in drivers:
            completion_id, log = _id(driver), driver.completion.log
            first = self._kept.get(completion_id, 0)
            stretch = Checkpoint(completion_id, first)
            if room > 0 and driver.header.retention is Retention.FULL and len(log) > first:
                events = log.read_after(first - 1, _EVENTS_MAX)
                stretch = Checkpoint(completion_id, first, len(events), packed(events))
                room -= len(stretch.events)
            stretches.append(stretch)
        return stretches

    def _forget_others(self, drivers: Sequence[CompletionDriver]) -> None:
        living = {_id(driver) for driver in drivers}
        for known in (self._kept, self._kept_bytes):
            for completion_id in known.keys() - living:
                del known[completion_id]

    def _tell(self, error: Exception) -> None:
        """Log once until it goes well again."""
        if not self._is_away:
            is_ours = isinstance(error, CompletionRuntimeError)
            _log.warning("%s: the ledger keeps no logs now", self._actor, exc_info=not is_ours)
        self._is_away = True


def _id(driver: CompletionDriver) -> str:
    return driver.header.completion_id
