"""The end of a connection that answers.

Whatever is wrong with one call is answered to that call alone: an unknown method, arguments that are not
of the declared type, an answer too long to send. Calls go on when their connection ends; streams are
closed. A stream sends what its reader gave credit for and then waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from actors.core.errors import CompletionRuntimeError, OtherDeploy, Overloaded
from actors.ports.transport import (
    Address,
    Connection,
    ConnectionLost,
    FrameRefused,
    Listener,
    Transport,
)
from actors.rpc.codec import encode, error_row
from actors.rpc.contract import Contract, RemoteMethod
from actors.rpc.messages import (
    CREDIT,
    CREDIT_ITEMS,
    STOP,
    Asked,
    ToldKind,
    read_ask,
    read_credit,
)

__all__ = ["Server"]

_log = logging.getLogger(__name__)

_CALLS_MAX = 10_000
"""Calls and streams of one caller that run at once; the next is `Overloaded`."""

Methods = Mapping[str, tuple[RemoteMethod, object]]


class Server:
    """Answers the calls of the deploy's processes with what implements each contract.

    Args:
        services: what they raise of `actors.core.errors` reaches the caller as itself, and anything
            else as `Overloaded`, with its traceback in the log here.
    """

    def __init__(self, transport: Transport, services: Mapping[Contract[Any], object]) -> None:
        self._transport = transport
        self._methods: Methods = {
            method.name: (method, service)
            for contract, service in services.items()
            for method in contract.methods
        }
        self._listener: Listener | None = None
        self._connections: set[Connection] = set()

    def __repr__(self) -> str:
        return f"<Server {len(self._methods)} methods, {len(self._connections)} callers>"

    async def start(self, host: str) -> Address:
        """Listen on that host; return where."""
        self._listener = await self._transport.listen(host, self._serve)
        return self._listener.address

    async def aclose(self) -> None:
        """End every connection; calls that run are not waited for. Idempotent."""
        if self._listener is not None:
            await self._listener.aclose()
        for connection in list(self._connections):
            await connection.aclose()

    async def _serve(self, connection: Connection) -> None:
        self._connections.add(connection)
        caller = _Caller(self._methods, connection)
        try:
            await caller.serve()
        finally:
            self._connections.discard(connection)


class _Credit:
    """How many items a stream may still send."""

    def __init__(self) -> None:
        self._items = CREDIT_ITEMS
        self._granted = asyncio.Event()

    def grant(self, items: int) -> None:
        self._items += items
        self._granted.set()

    async def spend(self) -> None:
        while self._items <= 0:
            self._granted.clear()
            await self._granted.wait()
        self._items -= 1


class _Caller:
    """One connection, as its server sees it."""

    def __init__(self, methods: Methods, connection: Connection) -> None:
        self._methods = methods
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[None]] = set()
        self._streaming: dict[int, tuple[asyncio.Task[None], _Credit]] = {}

    async def serve(self) -> None:
        """Answer until the connection ends."""
        try:
            while True:
                self._take(read_ask(await self._connection.receive()))
        except ConnectionLost:
            pass
        except msgspec.MsgspecError:
            _log.exception("a process of the runtime said what is no call")
        finally:
            for task, _ in self._streaming.values():
                task.cancel()

    def _take(self, ask: Asked) -> None:
        number, name = ask.number, ask.method
        if name in (STOP, CREDIT):
            self._steer(number, name, ask.arguments)
        elif (found := self._methods.get(name)) is None:
            self._refuse(number, OtherDeploy(f"There is no operation {name[:100]!r} here."))
        elif len(self._running) >= _CALLS_MAX:
            self._refuse(number, Overloaded("Too many calls at once."))
        else:
            method, service = found
            try:
                arguments = method.decode_arguments(ask.arguments)
            except (msgspec.MsgspecError, ValueError) as error:
                self._refuse(number, OtherDeploy(f"{name} was asked with something else: {error}"))
                return
            if method.is_stream:
                credit = _Credit()
                task = self._spawn(self._stream(number, method, service, arguments, credit))
                self._streaming[number] = task, credit
                task.add_done_callback(lambda _: self._streaming.pop(number, None))
            else:
                self._spawn(self._answer(number, method, service, arguments))

    def _steer(self, number: int, name: str, value: msgspec.Raw) -> None:
        if (streaming := self._streaming.get(number)) is None:
            return  # It has ended meanwhile.
        task, credit = streaming
        if name == STOP:
            task.cancel()
        else:
            credit.grant(read_credit(value))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _answer(
        self, number: int, method: RemoteMethod, service: object, arguments: tuple[Any, ...]
    ) -> None:
        try:
            self._tell(number, ToldKind.ANSWER, await method.of(service, arguments))
        except (Exception, asyncio.CancelledError) as error:
            # Nobody cancels a call here: something that it waited for was cancelled, and the caller
            # must be told, or it would wait for as long as the connection stands.
            self._refuse(number, error)

    async def _stream(
        self,
        number: int,
        method: RemoteMethod,
        service: object,
        arguments: tuple[Any, ...],
        credit: _Credit,
    ) -> None:
        items: AsyncIterator[Any] | None = None
        try:
            items = method.of(service, arguments)
            async for item in items:
                await credit.spend()
                self._tell(number, ToldKind.ITEM, item)
                await self._connection.drained()
            self._tell(number, ToldKind.END, None)
        except Exception as error:
            self._refuse(number, error)
        finally:
            if items is not None and hasattr(items, "aclose"):
                await items.aclose()

    def _tell(self, number: int, kind: ToldKind, value: Any) -> None:
        """Raises: ConnectionLost. Whatever else is wrong with the value."""
        self._connection.send(encode((number, kind, value)))

    def _refuse(self, number: int, error: BaseException) -> None:
        with suppress(ConnectionLost, FrameRefused):
            self._tell(number, ToldKind.ERROR, error_row(_ours(error)))


def _ours(error: BaseException) -> CompletionRuntimeError:
    if isinstance(error, CompletionRuntimeError):
        return error
    if not isinstance(error, ConnectionLost):  # Then nobody is told.
        _log.error("a call failed", exc_info=error)
    return Overloaded(f"An actor failed: {type(error).__name__}.")
