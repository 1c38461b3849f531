"""A replica's copy of one completion's log, and the readers that share it.

An event is decoded once per replica, however many read it. The copy grows to the log's own bound and goes
with its last reader. It ends with the log's own end, or *breaks*: its readers are told by an error that
nobody can say how the completion ended, or that there is none.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from actors.core.errors import CompletionRuntimeError
from actors.core.events import Event, Finished
from actors.ports.runtime import ReaderLeft

__all__ = ["Mirror", "MirrorSubscription"]


class Mirror:
    """The events so far, dense from the first. Args: carrier: where it is read; "" for the store."""

    def __init__(self, completion_id: str, carrier: str = "") -> None:
        self.completion_id = completion_id
        self.carrier = carrier
        self.events: list[Event] = []
        self.error: CompletionRuntimeError | None = (
            None  # what its readers are told after the events
        )
        self.readers = 0
        self.lost_at_s = -math.inf  # by the loop's time: when a reader was lost here
        self.attaching: asyncio.Task[bool] | None = None  # None where the start itself attached
        self.is_starting = False  # its start was not answered yet: the carrier may not have it
        self.is_ending = False  # the store is asked for its end
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Mirror {self.completion_id} {len(self.events)} events, {self.readers} readers>"

    @property
    def is_finished(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], Finished)

    @property
    def is_over(self) -> bool:
        """Whether nothing will come any more."""
        return self.error is not None or self.is_finished

    def receive(self, first: int, events: Sequence[Event]) -> bool:
        """Add events; repeats are dropped. False if some are missing in between: attach again."""
        have = len(self.events)
        if first > have:
            return False
        news = events[have - first :]
        if news and not self.is_over:
            self.extend(news)
        return True

    def extend(self, events: Sequence[Event]) -> None:
        """Add events, at least one, and wake the readers."""
        self.events.extend(events)
        self._wake()

    def break_off(self, error: CompletionRuntimeError) -> None:
        """Tell the readers so once they have read what there is."""
        self.error = error
        self._wake()

    async def changed(self) -> None:
        """Wait for the next event, or for the break. Cancel: nothing is lost."""
        await self._news.wait()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class MirrorSubscription:
    """A reader of a mirror; see `actors.ports.runtime.Subscription`."""

    def __init__(self, mirror: Mirror, *, on_close: Callable[[Mirror, ReaderLeft], None]) -> None:
        self._mirror = mirror
        self._on_close: Callable[[Mirror, ReaderLeft], None] | None = on_close
        self._read = 0
        mirror.readers += 1

    @property
    def completion_id(self) -> str:
        return self._mirror.completion_id

    async def read(self) -> Sequence[Event]:
        mirror = self._mirror
        if self._read == len(mirror.events):
            if mirror.is_finished:
                raise EOFError("the terminal event was read")
            if mirror.error is None:
                await mirror.changed()
            if mirror.error is not None and self._read == len(mirror.events):
                raise mirror.error.with_traceback(None)  # It is raised once for each reader.
        events = mirror.events[self._read :]
        self._read += len(events)
        return events

    async def aclose(self, reason: ReaderLeft) -> None:
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            self._mirror.readers -= 1
            on_close(self._mirror, reason)
