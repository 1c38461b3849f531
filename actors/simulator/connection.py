"""One request's connection: its body, its client's leaving, and plain answers.

Owns what the simulator needs of ASGI beside the stream itself. One task per request waits on
`receive` while the answer is made, so that the log has a disconnect at the very moment it is seen.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Send

from actors.simulator.log import ClosedBy, RequestEntry

__all__ = ["BODY_BYTES_MAX", "BodyTooLarge", "SimulatedConnection", "Headers", "read_body"]

BODY_BYTES_MAX = 32 * 1024 * 1024  # three times what the runtime itself accepts

Headers = Sequence[tuple[bytes, bytes]]


class BodyTooLarge(Exception):
    """The body is longer than `BODY_BYTES_MAX`."""


async def read_body(receive: Receive) -> bytes | None:
    """Return the request's body, None where the client left before its end.

    Raises: BodyTooLarge: the rest of it is not read.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > BODY_BYTES_MAX:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return b"".join(chunks)


class SimulatedConnection:
    """The client's end of a request whose body was read.

    `close` is owed in every case. What is sent after the client left goes nowhere.
    """

    def __init__(self, entry: RequestEntry, receive: Receive, send: Send) -> None:
        self.entry = entry
        self._receive = receive
        self._send = send
        self._wake: asyncio.Future[None] | None = None
        self._watch = asyncio.ensure_future(self._watch_receive())

    def close(self) -> None:
        """Stop watching. What was not ended by the client was ended by the server."""
        self.entry.close(ClosedBy.SERVER, at=time.time())
        self._watch.cancel()

    def detach(self) -> RequestEntry:
        """Give the log's entry away, to an answer that goes on without this connection."""
        entry, self.entry = self.entry, replace(self.entry)
        return entry

    def wake(self) -> None:
        """End a `wait` now."""
        if self._wake is not None:
            _resolve(self._wake)

    async def start(self, status: int, headers: Headers) -> None:
        await self._send(
            {"type": "http.response.start", "status": status, "headers": list(headers)}
        )

    async def write(self, body: bytes, *, is_last: bool = False) -> None:
        """Hand bytes to the transport; waits while it is full."""
        await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})

    async def answer(
        self, status: int, body: bytes, content_type: str, headers: Headers = ()
    ) -> None:
        """Send a whole answer."""
        length = str(len(body)).encode()
        described = [(b"content-type", content_type.encode()), (b"content-length", length)]
        await self.start(status, [*described, *headers])
        await self.write(body, is_last=True)

    async def answer_json(self, status: int, value: Mapping[str, Any]) -> None:
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        await self.answer(status, body.encode("utf-8", "replace"), "application/json")

    async def wait(self, delay_s: float) -> None:
        """Wait, at most until the client leaves.

        Cancel: nothing is left behind.
        """
        if not self.entry.is_open:
            return
        loop = asyncio.get_running_loop()
        self._wake = wake = loop.create_future()
        timer = loop.call_later(delay_s, _resolve, wake)
        try:
            await wake
        finally:
            timer.cancel()

    async def _watch_receive(self) -> None:
        # A server says "disconnect" after a whole answer too; by then the log has its end.
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.entry.close(ClosedBy.CLIENT, at=time.time())
        self.wake()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
