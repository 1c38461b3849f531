"""A subscription to an answer: the one path of streaming and non-streaming callers.

`StreamReading` owns the subscription and closes it on every exit with the true reason. `collect` folds it
into a body; `EventStream` turns it into server-sent events. Starlette's `StreamingResponse` is not
used: it does not watch `receive()`, sends no keep-alives and does not close what it reads.

When an event stream's headers go out, and so which failures are still HTTP errors:

    ON_UPSTREAM  (create)    with the first event that shows that the provider answered, or the end,
                             or after `headers_after_s`; a failure before that is an HTTP error
    AT_ONCE      (re-attach) with the first frame after the cursor, or after `headers_after_s`; a
                             failure is a frame, but a cursor beyond the end is an HTTP error

A batch of events becomes one write. Nothing is buffered beyond it: while the client is slow, the
write waits, and nothing is read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any

from actors.core.errors import (
    CompletionRuntimeError,
    Failure,
    FailureCode,
    IllegalTransition,
    ReplayGap,
    UpstreamError,
)
from actors.core.events import Event, Finished, Started, Status
from actors.core.record import CompletionRecord
from actors.ports.runtime import ReaderLeft, Subscription
from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.base import Encoder, LivelyEncoder, RawHeaders
from serve_app.http.background import Background
from serve_app.http.client_watch import ClientWatch
from serve_app.http.exchange import Exchange
from serve_app.http.keep_alive import KeepAlive

__all__ = [
    "EventStream",
    "Opening",
    "StreamReading",
    "RecordSubscription",
    "StreamOptions",
    "collect",
]

_log = logging.getLogger(__name__)

_HEADERS: RawHeaders = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would hold frames back.
)

_EVENTS_PER_READ = 512
"""Of a settled record: what is encoded between two chances for others to run."""


class StreamReading:
    """One reader's hold on a subscription; a context manager that ends it.

    Leaving the context closes the subscription: FINISHED when the terminal event was read, else what
    the watch says of a cancelled task, else DETACHED. The close goes on if the task is cancelled again.
    """

    def __init__(
        self, subscription: Subscription, watch: ClientWatch, background: Background
    ) -> None:
        self._subscription = subscription
        self.watch = watch
        self._background = background
        self.finished: Finished | None = None

    async def read(self) -> Sequence[Event]:
        """Return the next events. Raises and is cancelled as `Subscription.read`."""
        events = await self._subscription.read()
        if type(events[-1]) is Finished:
            self.finished = events[-1]
        return events

    async def __aenter__(self) -> StreamReading:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.finished is not None:
            await self._subscription.aclose(ReaderLeft.FINISHED)
            return
        departure = self.watch.departure() if isinstance(error, asyncio.CancelledError) else None
        await self._background.finish(self._close(departure))

    async def _close(self, departure: Coroutine[Any, Any, ReaderLeft] | None) -> None:
        reason = ReaderLeft.DETACHED
        try:
            if departure is not None:
                reason = await departure
        finally:
            await self._subscription.aclose(reason)


class RecordSubscription:
    """A settled completion's events, read as if they came now. See `actors.ports.runtime.Subscription`."""

    def __init__(self, record: CompletionRecord) -> None:
        self._record = record
        self._next = 0

    @property
    def completion_id(self) -> str:
        return self._record.header.completion_id

    async def read(self) -> Sequence[Event]:
        await asyncio.sleep(0)
        events = self._record.events[self._next : self._next + _EVENTS_PER_READ]
        if not events:
            raise EOFError
        self._next += len(events)
        return events

    async def aclose(self, reason: ReaderLeft) -> None:
        """Nothing is held open."""


async def collect(reading: StreamReading) -> tuple[FoldedAnswer, Finished]:
    """Read to the end; return the answer.

    Raises:
        UpstreamError: the completion failed.
    Cancel: the reading's context says why and closes the subscription.
    """
    answer = FoldedAnswer()
    while reading.finished is None:
        for event in await reading.read():
            answer.observe(event)
    _raise_failure(reading.finished)
    return answer, reading.finished


def _raise_failure(finished: Finished) -> None:
    if finished.status is Status.FAILED:
        raise UpstreamError(finished.error or Failure(FailureCode.INTERNAL, "No reason was kept."))


class Opening(Enum):
    """When the headers go out; see the module."""

    ON_UPSTREAM = "on_upstream"
    AT_ONCE = "at_once"


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How one stream is served.

    Args:
        keep_alive: of an encoder that has none of its own.
        headers: beside those that every stream has.
        notice: bytes before the first frame.
        stall_s: how long the client may take nothing of what is written.
        frames_skipped: how many frames, from the first, the client has already.
    """

    keep_alive: bytes
    opening: Opening
    headers_after_s: float
    keep_alive_s: float
    stall_s: float
    headers: RawHeaders = ()
    notice: bytes = b""
    frames_skipped: int = 0


class EventStream:
    """Sends one reading's frames to one client."""

    def __init__(
        self, exchange: Exchange, reading: StreamReading, encoder: Encoder, options: StreamOptions
    ) -> None:
        self._exchange = exchange
        self._reading = reading
        self._encoder = encoder
        self._options = options
        self._frames_to_skip = options.frames_skipped
        self._held: list[bytes] = []  # Frames that wait for the headers.

    async def run(self) -> None:
        """Serve the stream to its end.

        Raises:
            CompletionRuntimeError: the headers are not out: answer with an HTTP error.
        Cancel: frames may be lost on the way out; the reading's context closes the subscription.
        """
        try:
            await self._open()
            await self._follow()
        except CompletionRuntimeError as error:
            await self._interrupt(error)
        except Exception:
            _log.exception("a stream broke")
            await self._interrupt(IllegalTransition("a stream broke"))

    async def _open(self) -> None:
        """Read until the headers may go out, and send them."""
        try:
            async with asyncio.timeout(self._options.headers_after_s):
                while not self._may_open(await self._read()):
                    pass
        except TimeoutError:
            if isinstance(self._encoder, LivelyEncoder):
                self._hold(self._encoder.opening())
        if self._reading.finished is not None and self._frames_to_skip:
            raise _beyond_the_end()
        await self._exchange.begin(200, (*_HEADERS, *self._options.headers))

    def _may_open(self, events: Sequence[Event]) -> bool:
        finished = self._reading.finished
        if self._options.opening is Opening.AT_ONCE:
            return bool(self._held) or finished is not None
        answered = any(type(event) not in (Started, Finished) for event in events)
        if finished is not None and not answered:
            _raise_failure(finished)
        return answered or finished is not None

    async def _read(self) -> Sequence[Event]:
        """Read once, and add the frames to those that are held."""
        events = await self._reading.read()
        for event in events:
            self._hold(self._encoder.encode(event))
        return events

    def _hold(self, frames: list[bytes]) -> None:
        """Keep frames until they may go out, but for those that the client has already."""
        self._held += frames
        if self._frames_to_skip:
            skipped = min(self._frames_to_skip, len(self._held))
            self._frames_to_skip -= skipped
            del self._held[:skipped]

    async def _follow(self) -> None:
        """Write the frames there are, and those that come, to the last one."""
        keep_alive = KeepAlive(
            self._exchange.write,
            self._keep_alive,
            interval_s=self._options.keep_alive_s,
            stall_s=self._options.stall_s,
            on_stall=self._reading.watch.took_nothing,
        )
        body = self._options.notice
        try:
            while True:
                body += self._take_frames()
                is_last = self._reading.finished is not None
                if body or is_last:
                    await keep_alive.write(body, is_last=is_last)
                if is_last:
                    return
                body = b""
                await self._read()
        finally:
            keep_alive.close()

    def _keep_alive(self) -> bytes:
        if isinstance(self._encoder, LivelyEncoder):
            return self._encoder.keep_alive()
        return self._options.keep_alive

    def _take_frames(self) -> bytes:
        if self._reading.finished is not None and self._frames_to_skip:
            return self._encoder.interrupted(_beyond_the_end())
        frames = b"".join(self._held)
        self._held.clear()
        return frames

    async def _interrupt(self, error: CompletionRuntimeError) -> None:
        if self._exchange.is_open:
            raise error
        await self._exchange.write(self._encoder.interrupted(error), is_last=True)


def _beyond_the_end() -> ReplayGap:
    return ReplayGap("The stream has fewer frames than that.")
