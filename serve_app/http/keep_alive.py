"""Keep-alives for a quiet stream, and a bound for one that stands still, at no cost to a busy one.

One timer per stream, armed anew only when it fires: a write just notes its time. The comment is
written by a task of its own, and only while the stream itself writes nothing; the stream waits for
that task before its next write, so nothing is ever written after the last byte.

    IDLE --write--> WRITING --it is out--> IDLE
         --the timer fires, and nothing was written for the interval--> a comment

A write that waits for `stall_s`, of a comment or of the stream, is for a reader that takes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum

__all__ = ["KeepAlive"]


class _State(Enum):
    IDLE = "idle"
    WRITING = "writing"
    CLOSED = "closed"


class KeepAlive:
    """Made when the headers are out; `close` ends it.

    Args:
        write: writes a piece of the body, as `Exchange.write` does.
        comment: gives what to write; asked when it is due.
        interval_s: how long nothing may be written.
        on_stall: called, again and again, while a write has waited for `stall_s`.
    """

    def __init__(
        self,
        write: Callable[..., Awaitable[None]],
        comment: Callable[[], bytes],
        *,
        interval_s: float,
        stall_s: float,
        on_stall: Callable[[], None],
    ) -> None:
        self._write = write
        self._comment = comment
        self._interval_s = interval_s
        self._stall_s = stall_s
        self._on_stall = on_stall
        self._loop = asyncio.get_running_loop()
        self._state = _State.IDLE
        self._written_at_s = self._begun_at_s = self._loop.time()
        self._commenting: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(min(interval_s, stall_s), self._on_timer)

    def __repr__(self) -> str:
        return f"<KeepAlive {self._state.value}>"

    async def write(self, body: bytes, *, is_last: bool) -> None:
        """Write a piece of the stream, when no comment is being written. Cancel: it may be out or not."""
        if self._commenting is not None:
            await asyncio.wait({self._commenting})
        self._state = _State.WRITING
        self._begun_at_s = self._loop.time()
        await self._write(body, is_last=is_last)
        self._written_at_s = self._loop.time()
        self._state = _State.IDLE

    def close(self) -> None:
        """Write nothing any more. Idempotent."""
        self._state = _State.CLOSED
        self._timer.cancel()
        if self._commenting is not None:
            self._commenting.cancel()

    def _on_timer(self) -> None:
        now_s = self._loop.time()
        due_s = self._written_at_s + self._interval_s
        if self._state is _State.IDLE and now_s >= due_s and self._commenting is None:
            self._begun_at_s = now_s
            self._commenting = self._loop.create_task(self._comment_once(self._comment()))
        again_s = due_s if due_s > now_s else now_s + self._interval_s
        if self._state is _State.WRITING or self._commenting is not None:
            stalls_s = self._begun_at_s + self._stall_s
            if now_s >= stalls_s:
                self._on_stall()
            again_s = min(again_s, max(stalls_s, now_s + min(self._interval_s, self._stall_s)))
        self._timer = self._loop.call_at(again_s, self._on_timer)

    async def _comment_once(self, comment: bytes) -> None:
        try:
            await self._write(comment)
        except OSError:
            pass  # The client is gone; the stream learns of it by its watch or its own write.
        finally:
            self._commenting = None
            self._written_at_s = self._loop.time()
