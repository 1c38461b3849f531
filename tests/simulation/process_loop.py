"""One simulated process's event loop: virtual time, no sockets, no threads, and it can be frozen or killed.

Each process has a loop of its own, as in reality, so a future of one that is awaited in another raises.
Its callbacks run in the order in which they came; which loop has the next turn is the world's to draw.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

__all__ = ["ProcessLoop", "Scheduled", "Scheduler"]


class Scheduled:
    """A callback that waits for its turn or its time; what asyncio calls a handle."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "when_s")

    def __init__(
        self,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        when_s: float,
    ) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args = args
        self.context = context
        self.when_s = when_s
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.callback = None  # What it holds on to may be large, and stays in the heap until then.
        self.args = ()

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self.when_s


class Scheduler(Protocol):
    """The world, as a loop sees it."""

    now_s: float

    def has_work(self, loop: ProcessLoop) -> None: ...

    def at(self, when_s: float, loop: ProcessLoop, handle: Scheduled) -> None: ...

    def thread_delay_s(self) -> float: ...

    def failed(self, loop: ProcessLoop, what: dict[str, Any]) -> None: ...


class ProcessLoop(asyncio.AbstractEventLoop):
    """Runs nothing by itself: `World.run` gives it turns.

    Args:
        offset_s: what its monotonic clock is ahead of the world's: no two processes' agree.
    """

    def __init__(self, world: Scheduler, name: str, offset_s: float) -> None:
        self.name = name
        self.is_dead = False
        self.is_frozen = False
        self.is_listed = False  # among those that have work
        self.offset_s = offset_s
        self.wall_offset_s = 0.0
        self.ready: deque[Scheduled] = deque()
        self._world = world
        self._tasks: list[weakref.ref[asyncio.Task[Any]]] = []
        self._tasks_kept = 256

    def __repr__(self) -> str:
        return f"<ProcessLoop {self.name}>"

    # Time.

    def time(self) -> float:
        return self._world.now_s + self.offset_s

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> Any:
        handle = Scheduled(callback, args, context or contextvars.copy_context(), 0.0)
        if not self.is_dead:
            self.ready.append(handle)
            if not self.is_listed and not self.is_frozen:
                self._world.has_work(self)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        handle = Scheduled(callback, args, context or contextvars.copy_context(), when)
        if not self.is_dead:
            # A bit later, or a sum of fractions would fall short of a deadline for ever.
            self._world.at(when - self.offset_s + 1e-7, self, handle)
        return handle

    def due(self, handle: Scheduled) -> None:
        """The handle's time has come: it runs in the loop's next turn."""
        if not self.is_dead and not handle.is_cancelled:
            self.ready.append(handle)
            if not self.is_listed and not self.is_frozen:
                self._world.has_work(self)

    def run_turn(self) -> None:
        """Run what is ready now; what that makes ready waits for the next turn."""
        ready = self.ready
        asyncio._set_running_loop(self)
        try:
            for _ in range(len(ready)):
                handle = ready.popleft()
                if handle.is_cancelled:
                    continue
                try:
                    handle.context.run(handle.callback, *handle.args)  # type: ignore[union-attr, arg-type]
                except Exception as error:
                    self.call_exception_handler(
                        {"message": "a callback raised", "exception": error}
                    )
                if self.is_dead or self.is_frozen:
                    return
        finally:
            asyncio._set_running_loop(None)

    # Tasks and futures.

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        tasks = self._tasks
        tasks.append(weakref.ref(task))
        if len(tasks) > self._tasks_kept:
            self._tasks = [ref for ref in tasks if (one := ref()) is not None and not one.done()]
            self._tasks_kept = 2 * len(self._tasks) + 256
        return task

    def living_tasks(self) -> list[asyncio.Task[Any]]:
        return [one for ref in self._tasks if (one := ref()) is not None and not one.done()]

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Run it here and now; the answer comes later, as from a thread."""
        future = self.create_future()
        try:
            result, error = func(*args), None
        except Exception as raised:
            result, error = None, raised
        self.call_later(self._world.thread_delay_s(), _answer, future, result, error)
        return future

    # What asyncio asks of a loop beside.

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.is_dead:
            self._world.failed(self, context)

    def kill(self) -> list[Any]:
        """End it where it stands: nothing of it runs again. Returns what could not be closed."""
        self.is_dead = True
        self.ready.clear()
        tasks = self.living_tasks()
        self._tasks = []
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            _close(task.get_coro())
        return tasks


def _answer(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _close(coroutine: Coroutine[Any, Any, Any] | Any) -> None:
    """Close a dead process's coroutine; whatever its `finally` does reaches nobody any more."""
    try:
        coroutine.close()
    except Exception:
        pass  # It waits in a `finally`: it stays suspended, and nobody runs it.
