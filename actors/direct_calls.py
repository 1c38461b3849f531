"""Calls between two processes of the runtime on a connection of their own, beside Ray.

Ray places actors, names them, restarts them and says which are dead; a call through it costs a
millisecond of CPU on its two sides, which is more than a completion's own work. So what is called for
every completion goes over one kept WebSocket per pair of processes. Its address and its token come from
the actor, through Ray: who may not call the actor cannot connect, and what is read from a peer without
the token is nothing.

A message is a list of pickled frames, all that one turn of the loop had to say:

    (number, method, arguments)   to the server; `STOP` as the method ends a stream
    (number, kind, value)         back: an answer, an error of ours, a stream's item or its end

A call whose connection broke is made once more on a new one, so every method must be safe to repeat.
Order between calls is not promised. No Ray here.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
import pickle
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import aiohttp
from aiohttp import web

from actors.core.errors import CompletionRuntimeError, Overloaded
from actors.directory import ActorAway

__all__ = ["DirectClient", "DirectServer", "Endpoint"]

_log = logging.getLogger(__name__)

_PATH = "/calls"
_STOP = "STOP"

_HEARTBEAT_S = 10.0
"""How often each side asks whether the other is there; half of it without an answer ends the connection."""

_CONNECT_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 0.1
_TRIES = 2

_CALLS_MAX = 10_000
"""Calls of one caller that run at once; the next is `Overloaded`."""

_ITEMS_MAX = 64
"""Items of a stream that its reader has not taken; then nothing more is read from the connection. So a
reader must not wait for another call before it takes the next."""

_UNBOUNDED = 0
"""What a message may weigh: its sender is one of ours, and bounds the bodies and logs that it sends."""

Calls = Mapping[str, Callable[..., Awaitable[Any]]]
Streams = Mapping[str, Callable[..., AsyncIterator[Any]]]


class _Kind(IntEnum):
    ANSWER = 0
    ERROR = 1
    ITEM = 2
    END = 3


class _Broken(Exception):
    """The connection ended; what was asked may have been done."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a process listens, and what opens it."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Endpoint({self.url})"


class _Outbox:
    """What waits to be written to one socket; what comes while one message is written is the next."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._frames: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None

    def put(self, frame: bytes) -> None:
        self._frames.append(frame)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def drained(self) -> None:
        """Wait until all that was put has been written, or never will be. Cancel: it is written."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write(self) -> None:
        try:
            while self._frames:
                frames, self._frames = self._frames, []
                await self._send(pickle.dumps(frames))
        except (OSError, RuntimeError, aiohttp.ClientError):
            self._frames.clear()  # It is closed: whoever reads it learns so, and tells the rest.
        finally:
            self._writing = None


class DirectServer:
    """Answers the calls of processes that have its token, on a port of its own.

    Args:
        calls: by name; what they raise of ours reaches the caller as itself.
        streams: by name; closed when the caller stops reading or its connection ends. Calls go on.
    """

    def __init__(self, calls: Calls, streams: Streams) -> None:
        self._calls = calls
        self._streams = streams
        self._token = secrets.token_hex(32)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str) -> Endpoint:
        """Listen on that address; return how to reach it."""
        app = web.Application()
        app.router.add_get(_PATH, self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_TIMEOUT_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, 0)
        await site.start()
        port = self._runner.addresses[0][1]
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return Endpoint(f"http://{authority}{_PATH}", self._token)

    async def stop(self) -> None:
        """End every connection; calls that run are not waited for."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        offered = request.headers.get("Authorization", "")
        if not hmac.compare_digest(offered.encode(), f"Bearer {self._token}".encode()):
            return web.Response(status=401)
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, max_msg_size=_UNBOUNDED, compress=False
        )
        await socket.prepare(request)
        await _Caller(self._calls, self._streams, socket).serve()
        return socket


class _Caller:
    """One connection, as its server sees it."""

    def __init__(self, calls: Calls, streams: Streams, socket: web.WebSocketResponse) -> None:
        self._calls = calls
        self._streams = streams
        self._socket = socket
        self._outbox = _Outbox(socket.send_bytes)
        self._running: set[asyncio.Task[None]] = set()
        self._streaming: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        try:
            async for message in self._socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    break
                for frame in pickle.loads(message.data):
                    self._take(*pickle.loads(frame))
        finally:
            for task in self._streaming.values():
                task.cancel()

    def _take(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        if method == _STOP:
            streaming = self._streaming.get(number)
            if streaming is not None:
                streaming.cancel()
        elif len(self._running) >= _CALLS_MAX:
            self._tell(number, _Kind.ERROR, Overloaded("Too many calls at once."))
        elif method in self._streams:
            task = self._spawn(self._stream(number, self._streams[method](*arguments)))
            self._streaming[number] = task
            task.add_done_callback(lambda _: self._streaming.pop(number, None))
        else:
            self._spawn(self._answer(number, self._calls[method](*arguments)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _answer(self, number: int, answer: Awaitable[Any]) -> None:
        try:
            self._tell(number, _Kind.ANSWER, await answer)
        except (Exception, asyncio.CancelledError) as error:
            # Nobody cancels a call here: something that it waited for was cancelled, and the caller
            # must be told, or it would wait for as long as the connection stands.
            self._tell(number, _Kind.ERROR, _ours(error))

    async def _stream(self, number: int, items: AsyncIterator[Any]) -> None:
        try:
            async for item in items:
                self._tell(number, _Kind.ITEM, item)
                await self._outbox.drained()
            self._tell(number, _Kind.END, None)
        except Exception as error:
            self._tell(number, _Kind.ERROR, _ours(error))
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()

    def _tell(self, number: int, kind: _Kind, value: Any) -> None:
        self._outbox.put(pickle.dumps((number, int(kind), value)))


def _ours(error: BaseException) -> CompletionRuntimeError:
    if isinstance(error, CompletionRuntimeError):
        return error
    _log.error("a call failed", exc_info=error)
    return Overloaded(f"An actor failed: {type(error).__name__}.")


class DirectClient:
    """The caller's side: connects when it is first asked, and again after a connection broke.

    Args:
        find: asks, through Ray, where the process listens now; raises what its absence means
            (`CarrierLost`, `ActorAway`), which is then what the call raises.
    """

    def __init__(self, find: Callable[[], Awaitable[Endpoint]]) -> None:
        self._find = find
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<DirectClient {self._connection!r}>"

    @property
    def is_idle(self) -> bool:
        """Whether it can be closed without failing a call; streams are not counted."""
        connection = self._connection
        return self._connecting is None and (connection is None or connection.is_idle)

    async def call(self, method: str, *arguments: Any) -> Any:
        """Return what the method returns.

        Raises: what it raised, if that is ours; Overloaded otherwise. ActorAway: its process could
            not be reached, and the call may have been made. Whatever `find` raises.
        Cancel: the call goes on over there.
        """
        for _ in range(_TRIES):
            connection = await self._connected()
            with suppress(_Broken):
                return await connection.call(method, arguments)
        raise ActorAway("The connection to an actor of the runtime broke.")

    async def stream(self, method: str, *arguments: Any) -> AsyncIterator[Any]:
        """Yield what the method yields. Raises as `call`, but is not made again."""
        connection = await self._connected()
        try:
            async for item in connection.stream(method, arguments):
                yield item
        except _Broken:
            await self._connected()  # It may be dead, and Ray know so: then that is what is raised.
            raise ActorAway("The connection to an actor of the runtime broke.") from None

    async def aclose(self) -> None:
        """Break the connection for good: who waits, or comes later, is told `ActorAway`. Idempotent."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._connection is not None:
            await self._connection.aclose()

    async def _connected(self) -> _Connection:
        if self._is_closed:  # Nobody would close what is opened now.
            raise ActorAway("The connection to an actor of the runtime was closed.")
        connection = self._connection
        if connection is not None and not connection.is_broken:
            return connection
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connect_ended)
        # Waited for and not awaited: a caller that is cancelled must not take the connection from the
        # others, and a closing that cancels it must not look as if the callers had been cancelled.
        connecting = self._connecting
        await asyncio.wait({connecting})
        if connecting.cancelled():
            raise ActorAway("The connection to an actor of the runtime was closed.")
        return connecting.result()

    def _connect_ended(self, task: asyncio.Task[_Connection]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # Marked as seen: all who waited may have left.

    async def _connect(self) -> _Connection:
        endpoint = await self._find()
        session = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                socket = await session.ws_connect(
                    endpoint.url,
                    headers={"Authorization": f"Bearer {endpoint.token}"},
                    heartbeat=_HEARTBEAT_S,
                    max_msg_size=_UNBOUNDED,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_STOP_TIMEOUT_S),
                )
        except (aiohttp.ClientError, OSError):
            await session.close()
            raise ActorAway("An actor of the runtime could not be reached.") from None
        except BaseException:
            await session.close()
            raise
        # Kept here, not by whoever waits: from now on it is `aclose` that closes it.
        self._connection = _Connection(session, socket)
        return self._connection


class _Connection:
    """One connection, as its caller sees it."""

    def __init__(
        self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse
    ) -> None:
        self._session = session
        self._socket = socket
        self._outbox = _Outbox(socket.send_bytes)
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[int, asyncio.Queue[tuple[_Kind, Any]]] = {}
        self.is_broken = False
        self._reading = asyncio.get_running_loop().create_task(self._read())

    def __repr__(self) -> str:
        return f"<_Connection {len(self._calls)} calls, {len(self._streams)} streams>"

    @property
    def is_idle(self) -> bool:
        return not self._calls

    async def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._ask(number, method, arguments)
        self._calls[number] = future
        try:
            return await future
        finally:
            self._calls.pop(number, None)

    async def stream(self, method: str, arguments: tuple[Any, ...]) -> AsyncIterator[Any]:
        number = next(self._numbers)
        items: asyncio.Queue[tuple[_Kind, Any]] = asyncio.Queue(_ITEMS_MAX)
        self._ask(number, method, arguments)
        self._streams[number] = items
        kind = _Kind.ITEM
        try:
            while True:
                kind, value = await items.get()
                if kind is _Kind.END:
                    return
                if kind is _Kind.ERROR:
                    raise value
                yield value
        finally:
            del self._streams[number]
            if kind is _Kind.ITEM and not self.is_broken:
                self._ask(number, _STOP, ())
            while not items.empty():  # The reader may be waiting to add one.
                items.get_nowait()

    async def aclose(self) -> None:
        self._reading.cancel()
        await asyncio.wait({self._reading})

    def _ask(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        if self.is_broken:
            raise _Broken
        self._outbox.put(pickle.dumps((number, method, arguments)))

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    break
                for frame in pickle.loads(message.data):
                    await self._take(*pickle.loads(frame))
        finally:
            self._end()
            try:
                await self._socket.close()
            finally:  # Also when `aclose` meets it here: nobody else closes the session.
                await self._session.close()

    async def _take(self, number: int, kind: int, value: Any) -> None:
        future = self._calls.get(number)
        if future is None:
            items = self._streams.get(number)
            if items is not None:
                await items.put((_Kind(kind), value))
        elif not future.done():
            if kind == _Kind.ANSWER:
                future.set_result(value)
            else:
                future.set_exception(value)

    def _end(self) -> None:
        """Tell all who wait."""
        self.is_broken = True
        for future in self._calls.values():
            if not future.done():
                future.set_exception(_Broken())
        for items in self._streams.values():
            if items.full():
                items.get_nowait()
            items.put_nowait((_Kind.ERROR, _Broken()))
