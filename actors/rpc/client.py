"""The end of a direct connection that calls."""

from __future__ import annotations

import asyncio
import itertools
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp

from actors.core.errors import ActorAway
from actors.rpc.frames import (
    CLOSE_TIMEOUT_S,
    HEARTBEAT_S,
    STOP,
    UNBOUNDED,
    Endpoint,
    Kind,
    Outbox,
)

__all__ = ["DirectClient"]

_CONNECT_TIMEOUT_S = 5.0
_TRIES = 2

_ITEMS_MAX = 64
"""Items of a stream that its reader has not taken; then nothing more is read from the connection. So a
reader must not wait for another call before it takes the next."""


class _Broken(Exception):
    """The connection ended; what was asked may have been done."""


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
                    heartbeat=HEARTBEAT_S,
                    max_msg_size=UNBOUNDED,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
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
        self._outbox = Outbox(socket.send_bytes)
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[int, asyncio.Queue[tuple[Kind, Any]]] = {}
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
        items: asyncio.Queue[tuple[Kind, Any]] = asyncio.Queue(_ITEMS_MAX)
        self._ask(number, method, arguments)
        self._streams[number] = items
        kind = Kind.ITEM
        try:
            while True:
                kind, value = await items.get()
                if kind is Kind.END:
                    return
                if kind is Kind.ERROR:
                    raise value
                yield value
        finally:
            del self._streams[number]
            if kind is Kind.ITEM and not self.is_broken:
                self._ask(number, STOP, ())
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
                await items.put((Kind(kind), value))
        elif not future.done():
            if kind == Kind.ANSWER:
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
            items.put_nowait((Kind.ERROR, _Broken()))
