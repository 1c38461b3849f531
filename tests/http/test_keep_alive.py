"""Keep-alive comments: only into silence, never beside a write, never after the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serve_app.http.keep_alive import KeepAlive
from tests.http.rig import until
from tests.support.virtual_time import run_virtual

COMMENT = b": keep-alive\n\n"
INTERVAL_S = 0.01


def kept(
    write: Callable[..., Awaitable[None]],
    *,
    stall_s: float = 60.0,
    on_stall: Callable[[], None] = lambda: None,
) -> KeepAlive:
    return KeepAlive(
        write, lambda: COMMENT, interval_s=INTERVAL_S, stall_s=stall_s, on_stall=on_stall
    )


class _Body:
    """What was written; a write waits while the client is slow."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.started = 0
        self.writable = asyncio.Event()
        self.writable.set()

    async def write(self, piece: bytes, *, is_last: bool = False) -> None:
        self.started += 1
        await self.writable.wait()
        self.written.append(piece)


def test_silence_is_filled_again_and_again() -> None:
    async def run() -> None:
        body = _Body()
        keep_alive = kept(body.write)
        await until(lambda: body.written == [COMMENT] * 3, "three comments")
        keep_alive.close()

    asyncio.run(run())


def test_a_write_that_waits_is_left_alone() -> None:
    async def run() -> None:
        body = _Body()
        keep_alive = kept(body.write)
        body.writable.clear()
        writing = asyncio.ensure_future(keep_alive.write(b"text", is_last=False))
        await asyncio.sleep(5 * INTERVAL_S)
        assert body.started == 1
        body.writable.set()
        await writing
        await until(lambda: len(body.written) > 1, "a comment after the write")
        assert body.written[:2] == [b"text", COMMENT]
        keep_alive.close()

    asyncio.run(run())


def test_a_write_waits_for_a_comment_that_is_on_its_way() -> None:
    async def run() -> None:
        body = _Body()
        body.writable.clear()
        keep_alive = kept(body.write)
        await until(lambda: body.started, "a comment begins")
        writing = asyncio.ensure_future(keep_alive.write(b"text", is_last=False))
        await asyncio.sleep(5 * INTERVAL_S)
        assert body.started == 1  # a slow client gets one comment, not a heap of them
        body.writable.set()
        await writing
        assert body.written[:2] == [COMMENT, b"text"]
        keep_alive.close()

    asyncio.run(run())


def test_nothing_comes_after_the_end() -> None:
    async def run() -> None:
        body = _Body()
        body.writable.clear()
        keep_alive = kept(body.write)
        await until(lambda: body.started, "a comment begins")
        keep_alive.close()
        keep_alive.close()
        body.writable.set()
        await asyncio.sleep(5 * INTERVAL_S)
        assert body.written == []

    asyncio.run(run())


def test_a_client_that_is_gone_is_no_error_of_the_comment() -> None:
    async def run() -> None:
        tried = []

        async def write(piece: bytes) -> None:
            tried.append(piece)
            raise OSError

        keep_alive = kept(write)
        await until(lambda: len(tried) == 2, "two tries")
        keep_alive.close()

    asyncio.run(run())


@pytest.mark.parametrize("what", ["a comment", "the stream's own"])
def test_a_write_that_stands_still_is_told(what: str) -> None:
    async def run() -> float:
        stalled: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        now_s = asyncio.get_running_loop().time
        body = _Body()
        body.writable.clear()

        def stalls() -> None:
            if not stalled.done():
                stalled.set_result(now_s())

        keep_alive = kept(body.write, stall_s=5.0, on_stall=stalls)
        writing = None
        if what == "the stream's own":
            await asyncio.sleep(INTERVAL_S / 2)
            writing = asyncio.ensure_future(keep_alive.write(b"text", is_last=False))
        told_s = await stalled
        keep_alive.close()
        if writing is not None:
            writing.cancel()
        return told_s

    assert 5.0 <= run_virtual(run()) <= 5.0 + 2 * INTERVAL_S


def test_a_reader_that_takes_a_little_now_and_then_stands_not_still() -> None:
    async def run() -> None:
        body = _Body()
        told: list[str] = []
        keep_alive = kept(body.write, stall_s=5.0, on_stall=lambda: told.append("stalled"))
        for _ in range(10):
            body.writable.clear()
            writing = asyncio.ensure_future(keep_alive.write(b"text", is_last=False))
            await asyncio.sleep(4.9)
            body.writable.set()
            await writing
        await asyncio.sleep(60.0)  # Quiet, and every comment is taken.
        keep_alive.close()
        assert not told

    run_virtual(run())
