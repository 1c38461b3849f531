"""One request of a client at a replica, as HTTP makes it: it may be left, be lost, and end with the replica.

What watches it over there is the product's own: `ClientWatch`, on a `receive()` of ours. Serve itself
cancels a request as well whose connection has ended, a moment later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from actors.core.errors import CompletionRuntimeError
from actors.core.events import Event
from actors.ports.runtime import ReaderLeft
from serve_app.http.client_watch import ClientWatch
from tests.simulation.processes import SimProcess
from tests.simulation.proxies import SimProxy
from tests.simulation.world import GRAIN_S

if TYPE_CHECKING:
    from tests.simulation.invariants import Invariants

__all__ = ["ReplicaRequest", "RequestGone", "Tale"]

_LEAVES_TURNS = 10
_SERVE_CANCELS = 0.7


class RequestGone(Exception):
    """The replica or the proxy died, or the client has left: nobody answers for it."""


class Tale:
    """What a client has been told of one completion, over however many requests: each event once."""

    def __init__(self, invariants: Invariants) -> None:
        self._invariants = invariants
        self.events = 0

    def told(self, first: int, events: Sequence[Event]) -> None:
        if first != self.events:
            self._invariants.broken(f"a client that had {self.events} events was told from {first}")
        self.events += len(events)


class _WatchOf(ClientWatch):
    """The product's watch of a request, which is told what it finds."""

    def __init__(self, request: ReplicaRequest) -> None:
        super().__init__(request.receive, request.replica.leaving, worker=request.worker)
        self._request = request

    async def _departure(self) -> ReaderLeft:
        reason = await super()._departure()
        self._request.judged(reason)
        return reason


class ReplicaRequest:
    """One request of a client at a replica: its answer crosses to the client, or the replica's end does.

    Args:
        reads: the completion whose reader it is, if it is any.
    """

    def __init__(
        self,
        clients: SimProcess,
        replica: SimProcess,
        proxy: SimProxy,
        invariants: Invariants,
        *,
        reads: str | None = None,
    ) -> None:
        self.replica = replica
        self.reads = reads
        self.has_left = False
        self.is_reading = False  # its subscription stands
        self._world = replica.world
        self.worker = proxy.name
        self._proxy = proxy
        self._invariants = invariants
        self._task: asyncio.Task[Any] | None = None
        self._watch: _WatchOf | None = None
        self._has_ended = asyncio.Event()
        self._wire: deque[Callable[[], None]] = deque()  # what is on its way to the client
        self.answer: asyncio.Future[Any] = clients.loop.create_future()
        replica.on_death.append(self._lost)
        proxy.requests[self] = None

    # In the replica.

    async def serve(
        self, act: Callable[[Any, SimProcess, ReplicaRequest], Coroutine[Any, Any, Any]]
    ) -> None:
        if self._has_ended.is_set():
            self.replica.on_death.remove(self._lost)
            return
        self._task = asyncio.get_running_loop().create_task(self._handle(act))
        result: Any = None
        error: Exception | None = None
        try:
            result = await self._task
        except (CompletionRuntimeError, RequestGone) as raised:
            error = raised
        except asyncio.CancelledError:
            error = RequestGone()
        self.replica.on_death.remove(self._lost)
        self._proxy.requests.pop(self, None)
        while self._wire:
            self._arrive()
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)

    def watch(self) -> ClientWatch:
        self._watch = _WatchOf(self)
        return self._watch

    def judged(self, reason: ReaderLeft) -> None:
        """The replica has made up its mind about why the connection ended."""
        if reason is ReaderLeft.CLIENT_GONE and not self.has_left:
            self._invariants.broken(f"a reader of {self.reads} is taken for gone: no client left")

    def tell(self, deliver: Callable[[], None]) -> None:
        """Send the client something: it arrives in order, or is lost with the connection."""
        if not self._has_ended.is_set():
            self._wire.append(deliver)
            self._world.later(GRAIN_S, self._arrive)

    async def _handle(self, act: Callable[..., Coroutine[Any, Any, Any]]) -> Any:
        try:
            return await act(self.replica.service, self.replica, self)
        except asyncio.CancelledError:
            if self._watch is not None and self._watch.absorb():
                raise RequestGone from None
            raise
        finally:
            if self._watch is not None:
                self._watch.close()

    async def receive(self) -> dict[str, str]:
        await self._has_ended.wait()
        return {"type": "http.disconnect"}

    # How its connection ends.

    def leave(self) -> None:
        """The client goes: the replica sees it at once, or when it is awake again."""
        if not self.answer.done():
            self.has_left = True
            if self.reads is not None:
                self._invariants.readers.left(self.reads)
            self._close()

    def cut(self) -> None:
        """The proxy closes it."""
        if not self.answer.done():
            if self.reads is not None and self.is_reading:
                self._invariants.readers.lost(self.reads, self.replica)
            self._close()

    def _close(self) -> None:
        self._wire.clear()
        self._proxy.requests.pop(self, None)
        self.replica.loop.call_soon(self._disconnected)
        self._lost()

    def _disconnected(self) -> None:
        self._has_ended.set()
        if self._task is not None and self._world.chance(_SERVE_CANCELS):
            self._cancel_after(self._world.rng.randrange(_LEAVES_TURNS))

    def _cancel_after(self, turns: int) -> None:
        """Cancel it in one of the loop's next turns: any of them may be the one that matters."""
        assert self._task is not None
        if turns:
            self.replica.loop.call_soon(self._cancel_after, turns - 1)
        else:
            self._task.cancel()

    def _arrive(self) -> None:
        if self._wire:
            self._wire.popleft()()

    def _lost(self) -> None:
        self._wire.clear()
        self._proxy.requests.pop(self, None)
        if not self.answer.done():
            self.answer.set_exception(RequestGone())
