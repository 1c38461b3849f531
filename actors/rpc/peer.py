"""The end of a connection that calls.

A call whose connection broke is made once more on a new one, so every operation must be safe to repeat.
Order between calls is not promised. A caller that leaves takes nothing with it: what it asked goes on.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import msgspec

from actors.core.errors import ActorAway, CompletionRuntimeError, OtherDeploy, Overloaded
from actors.ports.transport import (
    Address,
    Connection,
    ConnectionLost,
    ConnectionRefused,
    FrameRefused,
    Transport,
)
from actors.rpc.codec import encode, error_from
from actors.rpc.contract import RemoteMethod
from actors.rpc.messages import CREDIT, CREDIT_ITEMS, STOP, Told, ToldKind, read_error, read_told

__all__ = ["Peer"]

_log = logging.getLogger(__name__)

_TRIES = 2


class Peer:
    """Another process of the deploy: connected to when it is first asked, and again after a break.

    Args:
        find: returns where the process listens now; raises what its absence means (`CarrierLost`,
            `ActorAway`), which is then what the call raises.
    """

    def __init__(self, transport: Transport, find: Callable[[], Awaitable[Address]]) -> None:
        self._transport = transport
        self._find = find
        self._line: _Line | None = None
        self._connecting: asyncio.Task[_Line] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Peer {self._line!r}>"

    @property
    def is_idle(self) -> bool:
        """Whether it can be closed without failing a call; streams are not counted."""
        return self._connecting is None and (self._line is None or not self._line.calls)

    async def call(self, method: RemoteMethod, arguments: tuple[Any, ...]) -> Any:
        """Return what the method returns.

        Raises: what it raised, if that is ours; Overloaded otherwise. ActorAway: its process could
            not be reached, and the call may have been made. OtherDeploy. Whatever `find` raises.
        Cancel: the call goes on over there.
        """
        for _ in range(_TRIES):
            line = self._line
            if line is None or line.is_lost:
                line = await self._connected()
            with suppress(ConnectionLost):
                return await line.call(method, arguments)
        raise ActorAway("The connection to an actor of the runtime broke.")

    async def stream(self, method: RemoteMethod, arguments: tuple[Any, ...]) -> AsyncIterator[Any]:
        """Yield what the method yields. Raises as `call`, but is not made again."""
        line = await self._connected()
        try:
            async with aclosing(line.stream(method, arguments)) as items:
                async for item in items:
                    yield item
        except ConnectionLost:
            await self._connected()  # It may be dead, and Ray know so: then that is what is raised.
            raise ActorAway("The connection to an actor of the runtime broke.") from None

    async def aclose(self) -> None:
        """Break the connection for good: who waits, or comes later, is told `ActorAway`. Idempotent."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._line is not None:
            await self._line.aclose()

    async def _connected(self) -> _Line:
        if self._is_closed:  # Nobody would close what is opened now.
            raise ActorAway("The connection to an actor of the runtime was closed.")
        line = self._line
        if line is not None and not line.is_lost:
            return line
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

    def _connect_ended(self, task: asyncio.Task[_Line]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # Marked as seen: all who waited may have left.

    async def _connect(self) -> _Line:
        address = await self._find()
        try:
            connection = await self._transport.connect(address)
        except ConnectionRefused as refused:
            raise OtherDeploy(str(refused)) from None
        except ConnectionLost:
            raise ActorAway("An actor of the runtime could not be reached.") from None
        # Kept here, not by whoever waits: from now on it is `aclose` that closes it.
        self._line = _Line(connection)
        return self._line


class _Stream:
    """A stream's items that its reader has not taken; never more than the credit that it was given."""

    def __init__(self, method: RemoteMethod) -> None:
        self.method = method
        self._told: deque[tuple[ToldKind, Any]] = deque()
        self._wake = asyncio.Event()

    def put(self, kind: ToldKind, value: Any) -> None:
        self._told.append((kind, value))
        self._wake.set()

    async def take(self) -> tuple[ToldKind, Any]:
        while not self._told:
            self._wake.clear()
            await self._wake.wait()
        return self._told.popleft()


class _Line:
    """One connection, as its caller sees it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.calls: dict[int, tuple[asyncio.Future[Any], RemoteMethod]] = {}
        self._streams: dict[int, _Stream] = {}
        self.is_lost = False
        self._loop = asyncio.get_running_loop()
        self._reading = self._loop.create_task(self._read())

    def __repr__(self) -> str:
        return f"<_Line {len(self.calls)} calls, {len(self._streams)} streams>"

    async def call(self, method: RemoteMethod, arguments: tuple[Any, ...]) -> Any:
        number = next(self._numbers)
        self._ask(number, method.name, arguments)
        future: asyncio.Future[Any] = self._loop.create_future()
        self.calls[number] = (future, method)
        try:
            return await future
        finally:
            self.calls.pop(number, None)

    async def stream(
        self, method: RemoteMethod, arguments: tuple[Any, ...]
    ) -> AsyncGenerator[Any, None]:
        number = next(self._numbers)
        self._ask(number, method.name, arguments)
        stream = self._streams[number] = _Stream(method)
        kind, taken = ToldKind.ITEM, 0
        try:
            while True:
                kind, value = await stream.take()
                if kind is ToldKind.END:
                    return
                if kind is ToldKind.ERROR:
                    raise value
                yield value
                taken += 1
                if taken == CREDIT_ITEMS // 2:
                    self._ask(number, CREDIT, taken)
                    taken = 0
        finally:
            del self._streams[number]
            if kind is ToldKind.ITEM and not self.is_lost:
                with suppress(ConnectionLost):
                    self._ask(number, STOP, None)

    async def aclose(self) -> None:
        self._reading.cancel()
        await asyncio.wait({self._reading})

    def _ask(self, number: int, method: str, arguments: Any) -> None:
        """Raises: ConnectionLost. Overloaded: this cannot be asked; all else can."""
        if self.is_lost:
            raise ConnectionLost
        try:
            self._connection.send(encode((number, method, arguments)))
        except FrameRefused as refused:
            raise Overloaded(f"An actor of the runtime cannot be asked: {refused}") from None
        except (TypeError, ValueError, RecursionError) as error:
            _log.error("a call has no form on the wire", exc_info=error)
            raise Overloaded(f"{method} cannot be asked: {type(error).__name__}.") from None

    async def _read(self) -> None:
        try:
            while True:
                self._take(read_told(await self._connection.receive()))
        except ConnectionLost:
            pass
        except msgspec.MsgspecError:
            _log.exception("an actor of the runtime said what is no answer")
        finally:
            self._end()
            await self._connection.aclose()

    def _take(self, told: Told) -> None:
        number, kind = told.number, told.kind
        if (called := self.calls.get(number)) is not None:
            future, method = called
            if not future.done():
                kind, value = _value(kind, method, told.value)
                if kind is ToldKind.ERROR:
                    future.set_exception(value)
                else:
                    future.set_result(value)
        elif (stream := self._streams.get(number)) is not None:
            stream.put(*_value(kind, stream.method, told.value))

    def _end(self) -> None:
        """Tell all who wait."""
        self.is_lost = True
        for future, _ in self.calls.values():
            if not future.done():
                future.set_exception(ConnectionLost())
        for stream in self._streams.values():
            stream.put(ToldKind.ERROR, ConnectionLost())


def _value(kind: ToldKind, method: RemoteMethod, data: msgspec.Raw) -> tuple[ToldKind, Any]:
    """Read what was told. What is not of the declared type is that call's error alone."""
    try:
        if kind is ToldKind.ERROR:
            return kind, error_from(read_error(data))
        return kind, None if kind is ToldKind.END else method.decode_answer(data)
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        _log.error("an answer to %s is not of its type", method.name, exc_info=error)
        unread: CompletionRuntimeError = ActorAway(f"The answer to {method.name} cannot be read.")
        return ToldKind.ERROR, unread
