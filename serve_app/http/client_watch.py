"""Whether the client is still there, and why a request's task was cancelled.

Owns ASGI's `receive` once the body is read. One task waits for `http.disconnect` and, when it comes,
cancels the task that serves the request; so a reader that waits for a quiet completion learns of it
at once, streaming or not.

    WATCHING, JUDGING --http.disconnect--> GONE
                      --receive() failed-> LOST    the channel to the proxy broke: nobody left
                      --close()----------> CLOSED
    WATCHING          --departure()------> JUDGING the serving task is cancelled already

A `CancelledError` in the serving task may be ours (GONE, LOST) or the server's: a disconnect that it
saw first, a timeout, a shutdown. `departure` tells them apart: only a disconnect that was seen, on a
replica that does not drain, means that the client left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from enum import Enum
from typing import Any

from starlette.types import Receive

from actors.ports.runtime import ReaderLeft

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
    GONE = "gone"
    LOST = "lost"
    CLOSED = "closed"


_LIVE = (_WatchState.WATCHING, _WatchState.JUDGING)


class ClientWatch:
    """Make it in the task that serves the request, after the body was read."""

    def __init__(self, receive: Receive, *, is_draining: Callable[[], bool]) -> None:
        serving = asyncio.current_task()
        assert serving is not None, "requests are served by tasks"
        self._receive = receive
        self._is_draining = is_draining
        self._serving: asyncio.Task[Any] = serving
        self._state = _WatchState.WATCHING
        self._has_interrupted = False
        self._task = asyncio.ensure_future(self._watch())

    def __repr__(self) -> str:
        return f"<ClientWatch {self._state.value}>"

    async def departure(self) -> ReaderLeft:
        """Return why the serving task was cancelled; call it when that was seen.

        Cancel: the answer is lost; the caller takes DETACHED.
        """
        if self._state is _WatchState.WATCHING:
            self._state = _WatchState.JUDGING
            await asyncio.wait({self._task}, timeout=_VERDICT_TIMEOUT_S)
        if self._state is _WatchState.GONE and not self._is_draining():
            return ReaderLeft.CLIENT_GONE
        return ReaderLeft.DETACHED

    def absorb(self) -> bool:
        """Take back the cancel that this watch made; return whether it was the only one."""
        if not self._has_interrupted:
            return False
        self._has_interrupted = False
        return self._serving.uncancel() == 0

    def close(self) -> None:
        """Stop watching; nothing is interrupted any more. Idempotent."""
        if self._state in _LIVE:
            self._state = _WatchState.CLOSED
        self._task.cancel()

    async def _watch(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            after = await self._disconnected()
            before = self._state
            if before in _LIVE:
                self._state = after
            if before is _WatchState.WATCHING:
                self._has_interrupted = True
                self._serving.cancel()

    async def _disconnected(self) -> _WatchState:
        try:
            for _ in range(_MESSAGES_MAX):
                if (await self._receive())["type"] == "http.disconnect":
                    return _WatchState.GONE
        except Exception:
            # Serve raises what broke its channel to the proxy here, of any type.
            _log.info("the channel to the client broke", exc_info=True)
        return _WatchState.LOST
