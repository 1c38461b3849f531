"""The near end of a channel: one stream of batches for all completions that a replica reads here.

It keeps a cursor per completion and no events; the far end, `actors.replica.mirrors`, has copies of the
logs for the replica's readers.

A channel is leased: its stream of batches ends after `CHANNEL_LEASE_S`, and a replica that still reads
opens it again, saying what it reads and how far it has come. So whatever happened between two leases (a
batch that went into a stream which nobody read any more, a replica that was taken for dead) is made good
by the next one. A replica that does not come back within `CHANNEL_REOPEN_S` has died or been cut off: its
readers are lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from actors.core.completion.event_log import EventLog
from actors.core.events import Finished
from actors.ports.carrier import ABSENT, CHANNEL_LEASE_S, ChannelBatch

__all__ = ["CHANNEL_REOPEN_S", "ChannelSource"]

CHANNEL_REOPEN_S = 2.0

_FLUSH_PAUSE_S = 0.002
_FLUSH_PAUSE_PER_COMPLETION_S = 0.000_2
_FLUSH_PAUSE_S_MAX = 0.05
_SHARED_FROM = 8
_FLUSH_PAUSE_SHARED_S = 0.008
"""After a flush, events gather for so long: at once when idle, in batches when busy. A batch is a call
between processes however little is in it; the more completions share the channel, the more of them have
something to say in the same pause. The longer one from eight on takes a sixth of the CPU of a token at 8
streams of 30 tokens/s, a tenth at 16, for 4 ms."""

_STARTED_WAIT_S = 0.02
"""How long `Started` alone waits for what comes next: an answer that begins at once travels with it, and
one that does not holds back nobody's first frame."""

_EVENTS_PER_FLUSH = 2_000
"""Per completion and flush; the rest goes with the next, so one long replay delays nobody."""


class LogOwner(Protocol):
    """Whoever owns the logs that a channel reads."""

    def log_of(self, completion_id: str) -> EventLog | None: ...

    def delivered(self, completion_id: str) -> None:
        """The terminal event of that completion was handed to the channel."""
        ...


class ChannelSource:
    """The near end: cursors of one replica's readers, and the stream of what they have not seen.

    Args:
        owner: where the logs are.
        on_lost: called when the lease ran out and nobody came back.
    """

    def __init__(self, owner: LogOwner, *, on_lost: Callable[[ChannelSource], None]) -> None:
        self._owner = owner
        self._on_lost = on_lost
        self._cursors: dict[str, int] = {}
        self._dirty: dict[str, None] = {}
        self._unnamed: set[str] = set()
        self._wake = asyncio.Event()
        self._opening = 0
        self._started_wait: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._watch_from_now()

    def __repr__(self) -> str:
        return f"<ChannelSource {len(self._cursors)} completions>"

    @property
    def completions(self) -> tuple[str, ...]:
        return tuple(self._cursors)

    def attach(self, completion_id: str, cursor: int) -> None:
        """Begin after that sequence; -1 for the whole log. Attaching again moves the cursor."""
        if self._watch is not None:
            # Who attaches is about to open the channel: that call may arrive a moment later.
            self._unwatch()
            self._watch_from_now()
        self._cursors[completion_id] = cursor
        self._unnamed.discard(completion_id)
        self.mark(completion_id)

    def left(self, reading: Mapping[str, int]) -> set[str]:
        """Return what is attached and neither this lease nor the one before names: its detach was lost.

        Once is not enough: the call that attached it may have overtaken the one that opens the lease.
        """
        unnamed = self._cursors.keys() - reading.keys()
        left = unnamed & self._unnamed
        self._unnamed = unnamed - left
        return left

    def detach(self, completion_id: str) -> None:
        self._cursors.pop(completion_id, None)
        self._dirty.pop(completion_id, None)

    def mark(self, completion_id: str) -> None:
        """Say that the completion's log may have grown; what this channel has or reads not is ignored."""
        cursor, log = self._cursors.get(completion_id), self._owner.log_of(completion_id)
        if cursor is None or log is None or len(log) <= cursor + 1:
            return
        self._dirty[completion_id] = None
        if len(log) > 1 or log.finished is not None:
            self._wake.set()
        elif self._started_wait is None:
            loop = asyncio.get_running_loop()
            self._started_wait = loop.call_later(_STARTED_WAIT_S, self._wake.set)

    async def batches(self, reading: Mapping[str, int]) -> AsyncIterator[ChannelBatch]:
        """Yield what is new until the lease ends; opening again ends an earlier stream.

        Args:
            reading: what the replica reads here, and the sequence of the last event it has of each.
                What it says nothing of stays attached, until `left` tells that it was left.
        """
        self._opening += 1
        opening = self._opening
        self._unwatch()
        loop = asyncio.get_running_loop()
        lease_end_s = loop.time() + CHANNEL_LEASE_S
        absent = self._renew(reading)
        try:
            if absent:
                yield absent
            while opening == self._opening and await self._has_news(lease_end_s):
                if opening != self._opening:
                    return
                batch = self._collect()
                if batch:  # What was to be sent may have been taken off.
                    yield batch
                await asyncio.sleep(self._pause_s())
        finally:
            if opening == self._opening:
                self._watch_from_now()

    def _renew(self, reading: Mapping[str, int]) -> ChannelBatch:
        """Put every cursor to where the replica is; return what it reads that is not here."""
        absent: ChannelBatch = []
        for completion_id, cursor in reading.items():
            if self._owner.log_of(completion_id) is None:
                self.detach(completion_id)
                absent.append((completion_id, ABSENT, []))
            else:
                self._cursors[completion_id] = cursor
                self.mark(completion_id)
        return absent

    def _pause_s(self) -> float:
        sharing = len(self._cursors)
        least_s = _FLUSH_PAUSE_S if sharing < _SHARED_FROM else _FLUSH_PAUSE_SHARED_S
        pause_s = _FLUSH_PAUSE_S + sharing * _FLUSH_PAUSE_PER_COMPLETION_S
        return min(max(least_s, pause_s), _FLUSH_PAUSE_S_MAX)

    async def _has_news(self, lease_end_s: float) -> bool:
        """Wait for something to send; False when the lease has ended."""
        left_s = lease_end_s - asyncio.get_running_loop().time()
        if left_s <= 0:
            return False
        if self._dirty:
            return True
        self._wake.clear()
        try:
            async with asyncio.timeout(left_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def _collect(self) -> ChannelBatch:
        batch: ChannelBatch = []
        if self._started_wait is not None:
            self._started_wait.cancel()
            self._started_wait = None
        dirty, self._dirty = self._dirty, {}
        for completion_id in dirty:
            log = self._owner.log_of(completion_id)
            cursor = self._cursors.get(completion_id)
            if log is None or cursor is None:
                continue
            events = log.read_after(cursor, _EVENTS_PER_FLUSH)
            if not events:
                continue
            batch.append((completion_id, cursor + 1, list(events)))
            self._cursors[completion_id] = cursor + len(events)
            if isinstance(events[-1], Finished):
                self.detach(completion_id)
                self._owner.delivered(completion_id)
            elif cursor + len(events) < len(log) - 1:
                self._dirty[completion_id] = None
        return batch

    def _watch_from_now(self) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(CHANNEL_REOPEN_S, self._on_lost, self)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
