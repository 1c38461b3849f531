"""Work that must end although the request that began it was cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from actors.core.errors import CompletionRuntimeError

__all__ = ["Background"]

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Background:
    """Keeps tasks alive: the loop itself has only weak references to them.

    Bounded by its users: each piece of work has a timeout of its own in the runtime.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work and return its result.

        Cancel: the caller stops waiting; the work goes on to its end.
        """
        return await asyncio.shield(self.spawn(work))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()  # Marked as seen.
        if error is not None and not isinstance(error, CompletionRuntimeError):
            _log.error("work behind a request failed", exc_info=error)
