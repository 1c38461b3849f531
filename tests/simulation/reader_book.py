"""Who reads a completion, who left and whose connection was lost, as the clients know it.

Held against it: a completion is cancelled as left by its clients only when one of them left, or when nobody
has read it for the grace; never while it is read, nor while one that was lost may come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from unittest.mock import patch

from actors.completion.driver import CompletionDriver
from actors.core.completion.readers import Departure
from actors.core.completion.transitions import StreamState
from actors.core.events import CancelSource
from tests.simulation.network import Network
from tests.simulation.processes import SimProcess
from tests.simulation.world import World

__all__ = ["READER_GRACE_S", "ReaderBook"]

READER_GRACE_S = 12.0
"""Longer than a replica stands still: its readers are back by then."""

_SURE_S = 4.0
"""Until a lost reader was awaited in vain, at the earliest: less than the grace, which may have begun for
the completion's owner before the client knew of anything."""

_ILL_S = 25.0
"""How long after a stall or a silence a replica's readers may have been lost for their owner already."""


class ReaderBook:
    def __init__(self, world: World, broken: Callable[[str], None]) -> None:
        self._world = world
        self._broken = broken
        self.network: Network
        self._left: set[str] = set()
        self._lost_at_s: dict[str, float] = {}
        self._unread_since_s: dict[str, float] = {}

    def left(self, completion_id: str) -> None:
        """A client that read it, or waited for its start, wants it no more."""
        self._left.add(completion_id)

    def lost(self, completion_id: str, replica: SimProcess) -> None:
        """A client that read it at a replica that is well lost its connection."""
        now_s = self._world.now_s
        silent_s = self.network.silent_at_s.get(replica.name, -inf)
        if not replica.loop.is_frozen and now_s - max(silent_s, replica.thawed_at_s) > _ILL_S:
            self._lost_at_s[completion_id] = now_s

    def forget(self, completion_id: str) -> None:
        self._left.discard(completion_id)
        self._lost_at_s.pop(completion_id, None)
        self._unread_since_s.pop(completion_id, None)

    @contextmanager
    def watching(self) -> Iterator[None]:
        cancel, reader_left = CompletionDriver.cancel, CompletionDriver.reader_left

        def cancelled(driver: CompletionDriver, source: CancelSource) -> None:
            stream = driver.completion.stream
            if source is CancelSource.CLIENT_DISCONNECT and not (
                stream.is_terminal or stream is StreamState.CANCELLING
            ):
                self._check(driver)
            cancel(driver, source)

        def one_left(driver: CompletionDriver, channel: str, departure: Departure) -> None:
            if driver.readers._channels == {channel}:
                self._unread_since_s[driver.header.completion_id] = self._world.now_s
            reader_left(driver, channel, departure)

        with (
            patch.object(CompletionDriver, "cancel", cancelled),
            patch.object(CompletionDriver, "reader_left", one_left),
        ):
            yield

    def _check(self, driver: CompletionDriver) -> None:
        name, now_s = driver.header.completion_id, self._world.now_s
        unread_s = now_s - self._unread_since_s.get(name, now_s)
        lost_s = now_s - self._lost_at_s.get(name, -inf)
        if len(driver.readers):
            self._broken(f"{name} is cancelled as left while it is read")
        if name not in self._left and unread_s < READER_GRACE_S - 0.01:
            self._broken(f"{name} is cancelled after {unread_s:.1f} s, and no client left it")
        if lost_s < _SURE_S:
            self._broken(f"{name} is cancelled {lost_s:.1f} s after a reader was lost")
