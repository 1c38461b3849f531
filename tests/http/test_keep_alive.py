"""Keep-alive comments: only into silence, never beside a write, never after the end."""

from __future__ import annotations

import asyncio

from serve_app.http.keep_alive import KeepAlive
from tests.http.rig import until

COMMENT = b": keep-alive\n\n"
INTERVAL_S = 0.01


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
        keep_alive = KeepAlive(body.write, lambda: COMMENT, interval_s=INTERVAL_S)
        await until(lambda: body.written == [COMMENT] * 3, "three comments")
        keep_alive.close()

    asyncio.run(run())


def test_a_write_that_waits_is_left_alone() -> None:
    async def run() -> None:
        body = _Body()
        keep_alive = KeepAlive(body.write, lambda: COMMENT, interval_s=INTERVAL_S)
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
        keep_alive = KeepAlive(body.write, lambda: COMMENT, interval_s=INTERVAL_S)
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
        keep_alive = KeepAlive(body.write, lambda: COMMENT, interval_s=INTERVAL_S)
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

        keep_alive = KeepAlive(write, lambda: COMMENT, interval_s=INTERVAL_S)
        await until(lambda: len(tried) == 2, "two tries")
        keep_alive.close()

    asyncio.run(run())
