"""What a reader's end was, as this replica can know it: its client's leaving, or a loss.

The rule is `actors.core.completion.readers`'; here is what it asks for: whether this replica drains,
whether it was stopped or starved until a moment ago, and whether the proxy's worker that carried the
request lives a moment later. A proxy that dies closes all its connections, and each looks like a client
that leaves: so the rule is asked only when a dying process has had the time to be gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from actors.core.completion.readers import Departure, ProxyLife, ReaderEnd, Witness, departure_of

__all__ = ["Leaving", "LifeOfWorkers", "StallClock"]

_CONFIRM_S = 0.1
"""From a disconnect until the proxy's worker is looked for."""

_TICK_S = 0.5
_STALL_S = 2.0
"""A loop that has not run for so long was stopped, or starved. A client's own leaving in that time is
taken for a loss, which costs `reader_grace_s` of its completion."""

_AFTER_STALL_S = 3.0
"""How long afterwards what ends may have ended for that: the proxy had given this replica up."""


class LifeOfWorkers(Protocol):
    """See `serve_app.http.proxy_workers`."""

    def saw(self, name: str | None) -> None: ...

    async def life(self, name: str | None, peer: str | None) -> ProxyLife: ...


class StallClock:
    """Whether this process's loop has just stood still; it ticks while anything is watched."""

    def __init__(self) -> None:
        self._watched = 0
        self._ticked_at_s = 0.0
        self._doubted_until_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<StallClock of {self._watched}>"

    def enter(self) -> None:
        """Something is watched from now on; `leave` ends that."""
        self._watched += 1
        if self._timer is None:
            self._ticked_at_s = asyncio.get_running_loop().time()
            self._wait()

    def leave(self) -> None:
        self._watched -= 1
        self.has_stalled()  # What is asked next must hear of it although nothing ticks any more.
        if not self._watched and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def has_stalled(self) -> bool:
        """Whether it stands just after a stall, or what ran until now was one."""
        now_s = asyncio.get_running_loop().time()
        if self._timer is not None and now_s - self._ticked_at_s >= _STALL_S:
            self._doubted_until_s = now_s + _AFTER_STALL_S
        return now_s < self._doubted_until_s

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self.has_stalled()
        self._ticked_at_s = asyncio.get_running_loop().time()
        self._wait()


class Leaving:
    """One per application; `judge` is asked once per reader's end.

    Args:
        is_draining: whether this replica is being shut down.
        workers: the proxy's; None where what stands in front has none.
    """

    def __init__(
        self, is_draining: Callable[[], bool], workers: LifeOfWorkers | None = None
    ) -> None:
        self._is_draining = is_draining
        self._workers = workers
        self.clock = StallClock()

    def saw(self, worker: str | None) -> None:
        """A request came by that worker of the proxy."""
        if self._workers is not None:
            self._workers.saw(worker)

    async def judge(self, end: ReaderEnd, worker: str | None, peer: str | None) -> Departure:
        """Return what the end was that was seen just now.

        Args:
            worker, peer: see `ProxyWorkers.life`.
        """
        witness, life = self._witness(), ProxyLife.NONE
        if departure_of(end, witness, ProxyLife.LIVES) is Departure.LOST:
            return Departure.LOST
        if self._workers is not None and worker is not None:
            self.clock.enter()
            try:
                await asyncio.sleep(_CONFIRM_S)
                life = await self._workers.life(worker, peer)
                witness = self._witness()
            finally:
                self.clock.leave()
        return departure_of(end, witness, life)

    def _witness(self) -> Witness:
        if self._is_draining():
            return Witness.DRAINING
        return Witness.STALLED if self.clock.has_stalled() else Witness.WELL
