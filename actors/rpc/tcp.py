"""The connections between our processes: TCP, frames behind their length, and a proof before anything else.

Both ends prove that they know the deploy's token, and neither says it; nothing is decoded before that.
All of it has a fixed size:

    server   MAGIC, its nonce
    client   MAGIC, its nonce, its fingerprint, proof of the client
    server   verdict, its fingerprint, proof of the server (zeros where it refuses)

A fingerprint stands for what the two would say to each other (`actors.rpc.contracts`). Then each frame is
four bytes of length and as many bytes; one of no bytes is a heartbeat.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from enum import IntEnum
from typing import Any, cast

from actors.ports.transport import (
    Address,
    Connection,
    ConnectionLost,
    ConnectionRefused,
    FrameRefused,
)

__all__ = ["TcpTransport"]

_log = logging.getLogger(__name__)

_MAGIC = b"midstrm1"
_NONCE_BYTES = 32
_DIGEST_BYTES = 32
_HELLO_BYTES = len(_MAGIC) + _NONCE_BYTES
_CLAIM_BYTES = _HELLO_BYTES + 2 * _DIGEST_BYTES
_VERDICT_BYTES = 1 + 2 * _DIGEST_BYTES

_CONNECT_TIMEOUT_S = 5.0
_UNPROVEN_MAX = 128
"""Connections that have not proven the token yet; the next is closed at once."""

_HEARTBEAT_S = 5.0
_SILENCE_S_MAX = 15.0
"""A process may be stopped for so long before its connections end."""

_FRAME_BYTES_MAX = 64 * 1024**2
_OUTBOX_BYTES_MAX = 128 * 1024**2
_OUTBOX_RESERVE_BYTES = 1024**2
"""What is left to short frames when the outbox is full: the word that something did not go."""
_SHORT_FRAME_BYTES = 4096
_DRAINED_BYTES = 256 * 1024
_INBOX_BYTES_MAX = 8 * 1024**2
"""Frames that nobody has received yet; then nothing more is read from the socket."""

_HEAD_BYTES = 4
_HEARTBEAT = bytes(_HEAD_BYTES)


class _Verdict(IntEnum):
    """What the server says of a claim."""

    WELCOME = 0
    OTHER_DEPLOY = 1
    OTHER_VERSION = 2


_REFUSALS = {
    _Verdict.OTHER_DEPLOY: "The process there is of another deploy.",
    _Verdict.OTHER_VERSION: "The process there is of another version of Midstream.",
}


class TcpTransport:
    """Connections of one deploy.

    Args:
        token: the deploy's secret; in no log and no repr.
        fingerprint: 32 bytes; see `actors.rpc.contracts.fingerprint`.
    """

    def __init__(self, token: str, fingerprint: bytes) -> None:
        self._token = token.encode()
        self._fingerprint = fingerprint
        self._unproven = 0

    def __repr__(self) -> str:
        return f"<TcpTransport {self._fingerprint.hex()[:8]}>"

    async def connect(self, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        connection: TcpConnection | None = None
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(
                    TcpConnection, address.host, address.port
                )
                await self._claim(connection)
                return connection
        except BaseException as error:
            if connection is not None:
                connection.abort()
            if isinstance(error, OSError | TimeoutError):
                raise ConnectionLost from None
            raise

    async def listen(
        self, host: str, serve: Callable[[Connection], Awaitable[None]]
    ) -> TcpListener:
        listener = TcpListener(host, self._admit, serve)
        await listener.start()
        return listener

    async def _claim(self, connection: TcpConnection) -> None:
        """Prove ourselves, and have the server do so."""
        hello = await connection.exactly(_HELLO_BYTES)
        if hello[: len(_MAGIC)] != _MAGIC:
            raise ConnectionRefused(_REFUSALS[_Verdict.OTHER_VERSION])
        theirs, ours = hello[len(_MAGIC) :], secrets.token_bytes(_NONCE_BYTES)
        proof = self._proof(b"client", theirs, ours, self._fingerprint)
        connection.write(_MAGIC + ours + self._fingerprint + proof)
        said = await connection.exactly(_VERDICT_BYTES)
        if said[0] in _REFUSALS:
            raise ConnectionRefused(_REFUSALS[_Verdict(said[0])])
        fingerprint = said[1 : 1 + _DIGEST_BYTES]
        proof = self._proof(b"server", ours, theirs, fingerprint)
        if not hmac.compare_digest(proof, said[1 + _DIGEST_BYTES :]):
            raise ConnectionRefused(_REFUSALS[_Verdict.OTHER_DEPLOY])
        connection.begin()

    async def _admit(self, connection: TcpConnection) -> bool:
        """Return whether who connected has proven itself; it is told so, and why not."""
        if self._unproven >= _UNPROVEN_MAX:
            return False
        self._unproven += 1
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                ours = secrets.token_bytes(_NONCE_BYTES)
                connection.write(_MAGIC + ours)
                verdict, theirs = self._judge(await connection.exactly(_CLAIM_BYTES), ours)
        except (TimeoutError, ConnectionLost):
            return False
        finally:
            self._unproven -= 1
        if verdict is not _Verdict.WELCOME:
            _log.warning("a caller was refused: %s", verdict.name)
            connection.write(bytes([verdict]) + bytes(2 * _DIGEST_BYTES))
            return False
        proof = self._proof(b"server", theirs, ours, self._fingerprint)
        connection.write(bytes([verdict]) + self._fingerprint + proof)
        connection.begin()
        return True

    def _judge(self, claim: bytes, ours: bytes) -> tuple[_Verdict, bytes]:
        """Return the verdict and the client's nonce."""
        theirs = claim[len(_MAGIC) : _HELLO_BYTES]
        fingerprint = claim[_HELLO_BYTES : _HELLO_BYTES + _DIGEST_BYTES]
        proof = self._proof(b"client", ours, theirs, fingerprint)
        if claim[: len(_MAGIC)] != _MAGIC:
            return _Verdict.OTHER_VERSION, theirs
        if not hmac.compare_digest(proof, claim[_HELLO_BYTES + _DIGEST_BYTES :]):
            return _Verdict.OTHER_DEPLOY, theirs
        if fingerprint != self._fingerprint:
            return _Verdict.OTHER_VERSION, theirs
        return _Verdict.WELCOME, theirs

    def _proof(self, role: bytes, asked: bytes, asker: bytes, fingerprint: bytes) -> bytes:
        return hmac.digest(self._token, role + asked + asker + fingerprint, hashlib.sha256)


class TcpListener:
    """A port that takes connections, and gives those that proved themselves to `serve`."""

    def __init__(
        self,
        host: str,
        admit: Callable[[TcpConnection], Coroutine[Any, Any, bool]],
        serve: Callable[[Connection], Awaitable[None]],
    ) -> None:
        self._host = host
        self._admit = admit
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._proving: set[asyncio.Task[bool]] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accepted, self._host, 0)

    @property
    def address(self) -> Address:
        assert self._server is not None
        return Address(self._host, self._server.sockets[0].getsockname()[1])

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._proving:
            task.cancel()

    def _accepted(self) -> TcpConnection:
        connection = TcpConnection()
        task = asyncio.get_running_loop().create_task(self._serve_one(connection))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return connection

    async def _serve_one(self, connection: TcpConnection) -> None:
        proving = asyncio.get_running_loop().create_task(self._admit(connection))
        self._proving.add(proving)
        try:
            await asyncio.wait({proving})
            if not proving.cancelled() and proving.result():
                await self._serve(connection)
        finally:
            self._proving.discard(proving)
            connection.end()


class TcpConnection(asyncio.Protocol):
    """One connection: raw bytes until `begin`, frames from then on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_lost = False
        self._has_begun = False
        self._buffer = bytearray()
        self._inbox: deque[bytes] = deque()
        self._inbox_bytes = 0
        self._is_paused = False
        self._arrival: asyncio.Future[None] | None = None
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._is_writable = asyncio.Event()
        self._is_writable.set()
        self._beat: asyncio.TimerHandle | None = None
        self._heard_s = 0.0

    def __repr__(self) -> str:
        return f"<TcpConnection {'lost' if self._is_lost else 'open'}>"

    # The handshake.

    async def exactly(self, size: int) -> bytes:
        """Return the next bytes, so many. Raises: ConnectionLost."""
        while len(self._buffer) < size:
            await self._arrived()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._is_lost:
            self._transport.write(data)

    def begin(self) -> None:
        """Read and write frames from now on."""
        self._has_begun = True
        self._heard_s = self._loop.time()
        self._beat = self._loop.call_later(_HEARTBEAT_S, self._keep_alive)
        self._split()
        if not self._inbox:
            self._resume()

    # The port.

    def send(self, frame: bytes) -> None:
        if self._is_lost or self._transport is None:
            raise ConnectionLost
        if len(frame) > _FRAME_BYTES_MAX:
            raise FrameRefused(f"{len(frame)} bytes are more than a frame may have.")
        waiting = self._outbox_bytes + self._transport.get_write_buffer_size() + len(frame)
        if waiting > _OUTBOX_BYTES_MAX:
            if len(frame) > _SHORT_FRAME_BYTES:
                raise FrameRefused("Too much waits to be written already.")
            if waiting > _OUTBOX_BYTES_MAX + _OUTBOX_RESERVE_BYTES:
                self.abort()
                raise ConnectionLost
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(len(frame).to_bytes(_HEAD_BYTES, "big"))
        self._outbox.append(frame)
        self._outbox_bytes += len(frame)

    async def drained(self) -> None:
        if self._outbox_bytes > _DRAINED_BYTES:
            self._flush()
        await self._is_writable.wait()
        if self._is_lost:
            raise ConnectionLost

    async def receive(self) -> bytes:
        while not self._inbox:
            await self._arrived()
        frame = self._inbox.popleft()
        self._inbox_bytes -= len(frame)
        if not self._inbox:
            self._resume()
        return frame

    async def aclose(self) -> None:
        self.end()

    def end(self) -> None:
        """Close it; what was sent is still written, where the other end takes it at once."""
        self._flush()
        if self._transport is not None:
            if self._transport.get_write_buffer_size():
                self._transport.abort()
            else:
                self._transport.close()
        self._lose()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._lose()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Ray's actors run on uvloop, whose transports are no heirs of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_DRAINED_BYTES)
        self._wake()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._has_begun:
            self._heard_s = self._loop.time()
            self._split()
        elif len(self._buffer) > _CLAIM_BYTES:
            # Who has not been let in has nothing more to say; our own may be ahead of us by a frame.
            self._pause()
        self._wake()

    def pause_writing(self) -> None:
        self._is_writable.clear()

    def resume_writing(self) -> None:
        self._is_writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose()

    # Their parts.

    async def _arrived(self) -> None:
        if self._is_lost:
            raise ConnectionLost
        self._arrival = self._loop.create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _split(self) -> None:
        """Cut whole frames off the buffer."""
        buffer, start, end = self._buffer, 0, len(self._buffer)
        while end - start >= _HEAD_BYTES:
            size = int.from_bytes(buffer[start : start + _HEAD_BYTES], "big")
            if size > _FRAME_BYTES_MAX:
                _log.error("a process of the runtime sent a frame of %d bytes", size)
                self.abort()
                return
            if end - start - _HEAD_BYTES < size:
                break
            start += _HEAD_BYTES
            if size:
                self._inbox.append(bytes(buffer[start : start + size]))
                self._inbox_bytes += size
            start += size
        if start:
            del buffer[:start]
        if self._inbox_bytes > _INBOX_BYTES_MAX:
            self._pause()

    def _pause(self) -> None:
        if not self._is_paused and self._transport is not None and not self._is_lost:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and self._transport is not None and not self._is_lost:
            self._is_paused = False
            self._transport.resume_reading()

    def _flush(self) -> None:
        if self._outbox and self._transport is not None and not self._is_lost:
            self._transport.write(b"".join(self._outbox))
        self._outbox.clear()
        self._outbox_bytes = 0

    def _keep_alive(self) -> None:
        now_s = self._loop.time()
        if not self._is_paused and now_s - self._heard_s > _SILENCE_S_MAX:
            self.abort()
            return
        self.write(_HEARTBEAT)
        self._beat = self._loop.call_later(_HEARTBEAT_S, self._keep_alive)

    def _lose(self) -> None:
        self._is_lost = True
        self._is_writable.set()
        if self._beat is not None:
            self._beat.cancel()
        self._wake()
