"""One request of a client at a replica, as HTTP makes it: it may be left, and end with the replica."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from actors.core.errors import CompletionRuntimeError
from tests.simulation.processes import SimProcess

__all__ = ["ReplicaRequest", "RequestGone"]

_LEAVES_TURNS = 10


class RequestGone(Exception):
    """The replica died, or nobody answers for it."""


class ReplicaRequest:
    """One request of a client at a replica: its answer crosses to the client, or the replica's end does."""

    def __init__(self, clients: SimProcess, replica: SimProcess) -> None:
        self._replica = replica
        self._task: asyncio.Task[Any] | None = None
        self._has_left = False
        self.answer: asyncio.Future[Any] = clients.loop.create_future()
        replica.on_death.append(self._lost)

    async def serve(self, act: Callable[[Any, SimProcess], Coroutine[Any, Any, Any]]) -> None:
        if self._has_left:
            return
        runtime = self._replica.service
        self._task = asyncio.get_running_loop().create_task(act(runtime, self._replica))
        try:
            result, error = await self._task, None
        except CompletionRuntimeError as raised:
            result, error = None, raised
        except asyncio.CancelledError:
            result, error = None, RequestGone()
        self._replica.on_death.remove(self._lost)
        if not self.answer.done():
            if error is not None:
                self.answer.set_exception(error)
            else:
                self.answer.set_result(result)

    def leave(self) -> None:
        """The client goes: the replica sees it at once, or when it is awake again."""
        self._has_left = True
        if self._task is None:
            self._lost()
        else:
            turns = self._replica.world.rng.randrange(_LEAVES_TURNS)
            self._replica.loop.call_soon(self._cancel_after, turns)

    def _cancel_after(self, turns: int) -> None:
        """Cancel it in one of the loop's next turns: any of them may be the one that matters."""
        assert self._task is not None
        if turns:
            self._replica.loop.call_soon(self._cancel_after, turns - 1)
        else:
            self._task.cancel()

    def _lost(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(RequestGone())
