"""The calls that Ray itself would carry (`describe`, `shut_down`), over the same hostile network.

A call may be made twice, and its answer lost; each of ours may be made again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from actors.core.errors import ActorAway, CompletionRuntimeError, Overloaded
from actors.ports.transport import Address, ConnectionLost
from tests.simulation.network import Network, SimConnection
from tests.simulation.processes import SimProcess

__all__ = ["Caller", "serve"]

_log = logging.getLogger(__name__)

_TRIES = 2
_REPEATED = 0.01
_ANSWER, _ERROR, _ITEM, _END = range(4)
_STOP = "_stop"


class Caller:
    """The caller's side: an object whose methods are the service's.

    Args:
        find: where the process listens now; raises what its absence means.
        streams: names of the methods that answer with a stream.
    """

    def __init__(
        self,
        network: Network,
        process: SimProcess,
        find: Callable[[], Awaitable[Address]],
        streams: frozenset[str] = frozenset(),
    ) -> None:
        self._network = network
        self._process = process
        self._find = find
        self._streams = streams
        self._link: _Asking | None = None
        self._connecting: asyncio.Task[_Asking] | None = None

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        kind = self._stream if method in self._streams else self._call
        return lambda *args, **kwargs: kind(method, args, kwargs)

    async def aclose(self) -> None:
        if self._link is not None:
            await self._link.end.aclose()

    async def _call(self, method: str, args: Any, kwargs: Any) -> Any:
        for _ in range(_TRIES):
            link = await self._linked()
            try:
                if self._network.world.chance(_REPEATED):
                    link.ask_unheard(method, args, kwargs)
                return await link.call(method, args, kwargs)
            except ConnectionLost:
                pass
        raise ActorAway("The connection broke.")

    async def _stream(self, method: str, args: Any, kwargs: Any) -> AsyncIterator[Any]:
        link = await self._linked()
        try:
            async for item in link.stream(method, args, kwargs):
                yield item
        except ConnectionLost:
            await self._linked()
            raise ActorAway("The connection broke.") from None

    async def _linked(self) -> _Asking:
        if self._link is not None and not self._link.end.is_lost:
            return self._link
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        connecting = self._connecting
        await asyncio.wait({connecting})
        return connecting.result()

    def _connected(self, task: asyncio.Task[_Asking]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()

    async def _connect(self) -> _Asking:
        address = await self._find()
        try:
            end = await self._network.connect(self._process, address)
        except ConnectionLost:
            raise ActorAway("It could not be reached.") from None
        self._link = _Asking(end)
        return self._link


class _Asking:
    def __init__(self, end: SimConnection) -> None:
        self.end = end
        self._number = 0
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._queues: dict[int, asyncio.Queue[tuple[int, Any]]] = {}
        self._reading = asyncio.get_running_loop().create_task(self._read())

    def ask_unheard(self, method: str, args: Any, kwargs: Any) -> int:
        self._number += 1
        self.end.send((self._number, method, args, kwargs))
        return self._number

    async def call(self, method: str, args: Any, kwargs: Any) -> Any:
        number = self.ask_unheard(method, args, kwargs)
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            return await future
        finally:
            self._calls.pop(number, None)

    async def stream(self, method: str, args: Any, kwargs: Any) -> AsyncIterator[Any]:
        number = self.ask_unheard(method, args, kwargs)
        queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self._queues[number] = queue
        kind = _ITEM
        try:
            while True:
                kind, value = await queue.get()
                if kind == _END:
                    return
                if kind == _ERROR:
                    raise value
                yield value
        finally:
            del self._queues[number]
            if kind == _ITEM and not self.end.is_lost:
                self.end.send((number, _STOP, (), {}))

    async def _read(self) -> None:
        try:
            while True:
                number, kind, value = await self.end.receive()
                future = self._calls.get(number)
                if future is not None and not future.done():
                    if kind == _ANSWER:
                        future.set_result(value)
                    else:
                        future.set_exception(value)
                elif number in self._queues:
                    self._queues[number].put_nowait((kind, value))
        except ConnectionLost:
            for future in self._calls.values():
                if not future.done():
                    future.set_exception(ConnectionLost())
            for queue in self._queues.values():
                queue.put_nowait((_ERROR, ConnectionLost()))


def serve(
    network: Network, process: SimProcess, service: Any, streams: frozenset[str] = frozenset()
) -> Address:
    """Answer calls to this service from now on."""
    return network.listen(process, lambda end: process.run(_Served(end, service, streams).run()))


class _Served:
    def __init__(self, end: SimConnection, service: Any, streams: frozenset[str]) -> None:
        self._end = end
        self._service = service
        self._streams = streams
        self._running: set[asyncio.Task[None]] = set()
        self._streaming: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        try:
            while True:
                number, method, args, kwargs = await self._end.receive()
                if method == _STOP:
                    if number in self._streaming:
                        self._streaming[number].cancel()
                    continue
                run = self._stream if method in self._streams else self._answer
                task = asyncio.get_running_loop().create_task(run(number, method, args, kwargs))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                if method in self._streams:
                    self._streaming[number] = task
        except ConnectionLost:
            for task in self._streaming.values():
                task.cancel()

    async def _answer(self, number: int, method: str, args: Any, kwargs: Any) -> None:
        try:
            self._tell(number, _ANSWER, await getattr(self._service, method)(*args, **kwargs))
        except (Exception, asyncio.CancelledError) as error:
            self._tell(number, _ERROR, _ours(error))

    async def _stream(self, number: int, method: str, args: Any, kwargs: Any) -> None:
        items = getattr(self._service, method)(*args, **kwargs)
        try:
            async for item in items:
                self._tell(number, _ITEM, item)
            self._tell(number, _END, None)
        except Exception as error:
            self._tell(number, _ERROR, _ours(error))
        finally:
            self._streaming.pop(number, None)
            await items.aclose()

    def _tell(self, number: int, kind: int, value: Any) -> None:
        try:
            self._end.send((number, kind, value))
        except ConnectionLost:
            pass


def _ours(error: BaseException) -> CompletionRuntimeError:
    if isinstance(error, CompletionRuntimeError):
        return error
    _log.error("a call failed", exc_info=error)
    return Overloaded(f"An actor failed: {type(error).__name__}.")
