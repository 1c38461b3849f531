"""Whether the client is still there, and why a request's task was cancelled.

Owns ASGI's `receive` once the body is read. One task waits for `http.disconnect` and, when it comes,
cancels the task that serves the request; so a reader that waits for a quiet completion learns of it
at once, streaming or not.

    WATCHING --http.disconnect, or receive() failed, or took_nothing()--> ENDED
                                               the serving task is cancelled
             --departure()--> JUDGING          it is cancelled already: why?
             --close()------> CLOSED

A `CancelledError` in the serving task may be ours (ENDED) or the server's: a disconnect that it saw
first, a timeout, a shutdown. `departure` tells them apart, and whether the client has left at all: see
`serve_app.http.leaving`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from enum import Enum
from typing import Any

from starlette.types import Receive

from actors.core.completion.readers import Departure, ReaderEnd
from actors.ports.runtime import ReaderLeft
from serve_app.http.leaving import Leaving

__all__ = ["ClientWatch"]

_VERDICT_TIMEOUT_S = 0.05
"""How long a disconnect may lag behind the cancel that it caused. Behind HAProxy it comes first; the
Python proxy tells both at once."""

_MESSAGES_MAX = 1_000
"""After the body there is nothing to come but the disconnect; a server that repeats itself is broken."""

_log = logging.getLogger(__name__)


class _WatchState(Enum):
    WATCHING = "watching"
    JUDGING = "judging"
    ENDED = "ended"
    CLOSED = "closed"


class ClientWatch:
    """Make it in the task that serves the request, after the body was read.

    Args:
        worker: the proxy's that carried the request, as its header has it.
        peer: the address that the request came from.
    """

    def __init__(
        self,
        receive: Receive,
        leaving: Leaving,
        *,
        worker: str | None = None,
        peer: str | None = None,
    ) -> None:
        serving = asyncio.current_task()
        assert serving is not None, "requests are served by tasks"
        self._receive = receive
        self._leaving = leaving
        self._worker = worker
        self._peer = peer
        self._serving: asyncio.Task[Any] = serving
        self._state = _WatchState.WATCHING
        self._end = ReaderEnd.INTERRUPTED  # until something else was seen
        self._has_interrupted = False
        leaving.saw(worker)
        leaving.clock.enter()
        self._task = asyncio.get_running_loop().create_task(self._watch())
        self._task.add_done_callback(lambda _task: leaving.clock.leave())

    def __repr__(self) -> str:
        return f"<ClientWatch {self._state.value}>"

    def departure(self) -> Coroutine[Any, Any, ReaderLeft]:
        """Return what to await for why the serving task was cancelled; call it when that was seen.

        Awaiting it takes a moment, and the server may cancel the serving task again meanwhile: so it is
        another task that should.
        """
        if self._state is _WatchState.WATCHING:
            self._state = _WatchState.JUDGING
        return self._departure()

    def took_nothing(self) -> None:
        """The client has let what is written to it stand still for too long: it is as good as lost."""
        self._ended(ReaderEnd.TOOK_NOTHING)

    def absorb(self) -> bool:
        """Take back the cancel that this watch made; return whether it was the only one."""
        if not self._has_interrupted:
            return False
        self._has_interrupted = False
        return self._serving.uncancel() == 0

    def close(self) -> None:
        """Stop watching; nothing is interrupted any more. Idempotent."""
        if self._state is _WatchState.WATCHING:
            self._state = _WatchState.CLOSED
        if self._state is not _WatchState.JUDGING:
            self._task.cancel()

    async def _departure(self) -> ReaderLeft:
        if self._state is _WatchState.JUDGING:
            await asyncio.wait({self._task}, timeout=_VERDICT_TIMEOUT_S)
            self._task.cancel()
        departure = await self._leaving.judge(self._end, self._worker, self._peer)
        is_gone = departure is Departure.CLIENT_GONE
        return ReaderLeft.CLIENT_GONE if is_gone else ReaderLeft.DETACHED

    async def _watch(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._ended(await self._disconnected())

    def _ended(self, end: ReaderEnd) -> None:
        if self._state in (_WatchState.WATCHING, _WatchState.JUDGING):
            self._end = end
        if self._state is _WatchState.WATCHING:
            self._state = _WatchState.ENDED
            self._has_interrupted = True
            self._serving.cancel()

    async def _disconnected(self) -> ReaderEnd:
        try:
            for _ in range(_MESSAGES_MAX):
                if (await self._receive())["type"] == "http.disconnect":
                    return ReaderEnd.DISCONNECT
        except Exception:
            # Serve raises what broke its channel to the proxy here, of any type.
            _log.info("the channel to the client broke", exc_info=True)
        return ReaderEnd.BROKEN
