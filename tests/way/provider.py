"""A provider on a socket, for one request at a time, that speaks when it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

__all__ = ["SpokenProvider", "listening"]

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class SpokenProvider:
    """Args: url: where it listens."""

    def __init__(self) -> None:
        self.url = ""
        self._asked = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None

    async def asked(self) -> None:
        """Wait until a whole request has come."""
        await self._asked.wait()
        self._asked.clear()

    def begin(self) -> None:
        self._write(_HEAD)

    def say(self, delta: dict[str, Any], finish_reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}
        self._send(json.dumps(chunk))

    def end(self) -> None:
        self._send("[DONE]")
        self._write(b"0\r\n\r\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # Its client is done.
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
                await reader.readexactly(int(fields[b"content-length"]))
                self._asked.set()

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            await self._writer.wait_closed()

    def _send(self, data: str) -> None:
        frame = b"data: " + data.encode() + b"\n\n"
        self._write(b"%x\r\n%b\r\n" % (len(frame), frame))

    def _write(self, data: bytes) -> None:
        assert self._writer is not None, "nobody asked yet"
        self._writer.write(data)


@asynccontextmanager
async def listening() -> AsyncIterator[SpokenProvider]:
    provider = SpokenProvider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    provider.url = f"http://{host}:{port}"
    try:
        yield provider
    finally:
        await provider.close()
        server.close()
        await server.wait_closed()
