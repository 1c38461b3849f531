"""A chat stream read from its socket, cheaply enough for thousands in one process.

Each is a connection of its own, read to its end. It keeps every word and when it came, and holds the
frames' numbers against each other as they come; nothing else is done per token. Times are
`time.time()`, to be held against the upstream's, which runs on the same machine.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from array import array
from collections.abc import Mapping
from sys import intern
from typing import Any
from urllib.parse import urlsplit

from tests.support.instance import DEMO_KEY

__all__ = ["RawStream", "SlowStream", "open_raw"]

_BUFFER_BYTES = 4_096


class RawStream(asyncio.Protocol):
    """One stream. `error` is "" for as long as nothing is wrong with it."""

    def __init__(self, request: bytes, tag: str) -> None:
        self.tag = tag
        self.status = 0
        self.completion_id = ""
        self.words: list[str] = []
        self.times = array("d")
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] = {}
        self.is_done = False
        self.error = ""
        self.posted_at = 0.0
        self.ended_at = 0.0
        loop = asyncio.get_running_loop()
        self.has_begun: asyncio.Future[None] = loop.create_future()
        self.has_ended: asyncio.Future[None] = loop.create_future()
        self._request = request
        self._number = -1
        self._raw = b""
        self._body = b""
        self._transport: asyncio.Transport | None = None

    @property
    def is_live(self) -> bool:
        return self.has_begun.done() and not self.has_ended.done()

    def close(self) -> None:
        """Leave, as a client that has gone."""
        if self._transport is not None:
            self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.posted_at = time.time()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._raw += data
        if not self.status and not self._read_head():
            return
        if self.status == 200:
            self._take_chunks()
            self._take_frames(now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended_at = self.ended_at or time.time()
        if self.status not in (0, 200):
            self._fail(f"{self.status}: {self._raw[:300]!r}")
        elif not self.is_done:
            self._fail(f"the connection ended before the stream did: {exc}")
        for waiter in (self.has_begun, self.has_ended):
            if not waiter.done():
                waiter.set_result(None)

    # The bytes.

    def _read_head(self) -> bool:
        head, found, rest = self._raw.partition(b"\r\n\r\n")
        if not found:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in _split(lines)}
        self.status = int(first.split()[1])
        self.completion_id = headers.get("midstream-completion-id", "")
        if self.status == 200 and headers.get("transfer-encoding") != "chunked":
            self._fail("the answer is not chunked")
        self._raw = rest
        return True

    def _take_chunks(self) -> None:
        raw, start = self._raw, 0
        while (end := raw.find(b"\r\n", start)) >= 0:
            size = int(raw[start:end], 16)
            after = end + 2 + size
            if len(raw) < after + 2:
                break
            self._body += raw[end + 2 : after]
            start = after + 2
            if size == 0:
                self._has_read_all()
                break
        self._raw = raw[start:]

    def _take_frames(self, now: float) -> None:
        *frames, self._body = self._body.split(b"\n\n")
        for frame in frames:
            for line in frame.split(b"\n"):
                if line.startswith(b"data: "):
                    self._take(line[6:], now)
                elif line.startswith(b"id: "):
                    self._follow(int(line[4:]))

    def _follow(self, number: int) -> None:
        # The frames after the last event (usage, for one) have its number.
        if number not in (self._number, self._number + 1):
            self._fail(f"frame {number} came after {self._number}")
        self._number = number

    def _take(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self.is_done, self.ended_at = True, now
            return
        frame = json.loads(data)
        if "error" in frame:
            self._fail(str(frame["error"])[:300])
        self.usage = frame.get("usage") or self.usage
        for choice in frame.get("choices", ()):
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            if word := choice["delta"].get("content"):
                self.words.append(intern(word))
                self.times.append(now)
                if not self.has_begun.done():
                    self.has_begun.set_result(None)

    def _has_read_all(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def _fail(self, words: str) -> None:
        self.error = self.error or words


class SlowStream(RawStream):
    """Reads slowly: for each word that it got it reads nothing for so many seconds."""

    def __init__(self, request: bytes, tag: str, *, pause_s: float) -> None:
        super().__init__(request, tag)
        self._pause_s = pause_s

    def data_received(self, data: bytes) -> None:
        before = len(self.words)
        super().data_received(data)
        transport = self._transport
        if transport is not None and not transport.is_closing() and len(self.words) > before:
            transport.pause_reading()
            pause_s = self._pause_s * (len(self.words) - before)
            asyncio.get_running_loop().call_later(pause_s, self._resume)

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


async def open_raw(
    url: str,
    body: dict[str, Any] | None,
    *,
    tag: str = "",
    key: str = DEMO_KEY,
    pause_s: float = 0.0,
    more: Mapping[str, str] | None = None,
) -> RawStream:
    """Ask on a connection of its own; with a body by POST, without one by GET.

    Args:
        tag: becomes the request's `X-Request-Id`.
        pause_s: of a slow reader, which has a small receive buffer too.
        more: headers.
    """
    parts = urlsplit(url)
    path = parts.path + ("?" + parts.query if parts.query else "")
    request = _request(path, body, tag, key, more or {})
    connection = socket.socket()
    connection.setblocking(False)
    if pause_s:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_connect(connection, (parts.hostname, parts.port))
        stream = SlowStream(request, tag, pause_s=pause_s) if pause_s else RawStream(request, tag)
        await loop.create_connection(lambda: stream, sock=connection)
    except BaseException:
        connection.close()
        raise
    return stream


def _request(
    path: str, body: dict[str, Any] | None, tag: str, key: str, more: Mapping[str, str]
) -> bytes:
    data = b"" if body is None else json.dumps({**body, "stream": True}).encode()
    lines = [
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
        "Host: midstream",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        f"X-Request-Id: {tag}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in more.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def _split(lines: list[str]) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in lines]
