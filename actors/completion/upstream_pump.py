"""Reads one upstream into the machine: every end of it is an input, none an exception.

It owns the connection from its opening to its close and the one task that reads it. It decides nothing:
what came goes through the driver's door, and what that says is not read on before it was held for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from actors.core.completion.transitions import (
    DeltasReceived,
    Input,
    UpstreamFailed,
    UpstreamFinished,
    UpstreamOpened,
)
from actors.core.errors import Failure, FailureCode, UpstreamError
from actors.core.request import StartCommand
from actors.ports.provider import Provider, UpstreamStream

__all__ = ["UpstreamPump"]

_log = logging.getLogger(__name__)

_END_GRACE_S = 5.0
"""How long a provider that gave its finish reason may take for its usage and the end of the stream."""

_CLOSE_TIMEOUT_S = 1.0
"""A close is local work; one that takes longer is given up, and the connection left to the kernel."""

_OUR_BUG = Failure(FailureCode.INTERNAL, "The runtime failed while reading the answer.")

_CUT_SHORT = Failure(
    FailureCode.UPSTREAM_UNAVAILABLE, "The provider ended the stream before the answer was whole."
)


class UpstreamPump:
    """One request to a provider.

    Args:
        feed: takes each input.
        waits_for_hold: whether what came is not held for yet; `wake` says that it may have changed.
    """

    __slots__ = (
        "_command",
        "_feed",
        "_is_closing",
        "_may_read",
        "_provider",
        "_reading",
        "_waits_for_hold",
    )

    def __init__(
        self,
        command: StartCommand,
        provider: Provider,
        *,
        feed: Callable[[Input], None],
        waits_for_hold: Callable[[], bool],
    ) -> None:
        self._command = command
        self._provider = provider
        self._feed = feed
        self._waits_for_hold = waits_for_hold
        self._may_read: asyncio.Future[None] | None = None  # there while it waits for the hold
        self._is_closing = False
        self._reading: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the provider was asked at all."""
        return self._reading is not None

    def open(self, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        """Ask the provider, in a task of the caller's. Call once."""
        self._reading = spawn(self._run())

    def wake(self) -> None:
        if self._may_read is not None and not self._may_read.done():
            self._may_read.set_result(None)

    async def close(self) -> None:
        """Stop reading and close the connection; returns when that is done, or was given up.

        What is closing already is let be: a provider may be told to stop there, and that must not be cut.
        """
        reading = self._reading
        if reading is None:
            return
        if not self._is_closing:
            reading.cancel()
        _, late = await asyncio.wait({reading}, timeout=_CLOSE_TIMEOUT_S)
        for task in late:
            _log.warning("%s: its connection does not close", self._command.completion_id)
            task.cancel()

    async def _run(self) -> None:
        upstream: UpstreamStream | None = None
        try:
            upstream = self._provider.open(self._command)
            await upstream.connect()
            self._feed(UpstreamOpened())
            await self._read(upstream)
        except UpstreamError as error:
            self._feed(UpstreamFailed(error.failure))
        except Exception:
            # A bug of ours must not leave a completion running for ever with its hold.
            _log.exception("reading %s failed", self._command.completion_id)
            self._feed(UpstreamFailed(_OUR_BUG))
        finally:
            self._is_closing = True
            if upstream is not None:
                await self._close(upstream)

    async def _close(self, upstream: UpstreamStream) -> None:
        try:
            await upstream.aclose()
        except Exception:
            # The answer stands however its connection ends.
            _log.exception("closing the upstream of %s failed", self._command.completion_id)

    async def _read(self, upstream: UpstreamStream) -> None:
        finished: UpstreamFinished | None = None
        try:
            async with asyncio.timeout(None) as end:
                async for batch in upstream.batches():
                    if batch.events or batch.running is not None:
                        self._feed(DeltasReceived(batch.events, batch.running))
                    await self._held_for()
                    if batch.failure is not None:
                        self._feed(UpstreamFailed(batch.failure))
                        return
                    if batch.finish_reason is not None:
                        finished = UpstreamFinished(batch.finish_reason, batch.stop_sequence)
                        end.reschedule(asyncio.get_running_loop().time() + _END_GRACE_S)
                    if batch.is_end:
                        break
        except TimeoutError:
            # The answer is whole, only its end is late: the completion does not fail for that.
            await self._held_for()
        self._feed(finished or UpstreamFailed(_CUT_SHORT))

    async def _held_for(self) -> None:
        while self._waits_for_hold():  # The machine's timer bounds it.
            self._may_read = asyncio.get_running_loop().create_future()
            try:
                await self._may_read
            finally:
                self._may_read = None
