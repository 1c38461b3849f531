"""Threads as services see them: where work goes that would hold up the loop.

The standard library's `Executor` is the port. A service makes its executors with the factory that it
is given, and shuts them down: `ThreadPoolExecutor` is one such factory, `InlineExecutor` the other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

__all__ = ["InlineExecutor", "Threads"]

Threads = Callable[[int, str], Executor]
"""Makes an executor of so many threads, with names that begin so."""

P = ParamSpec("P")
R = TypeVar("R")


class InlineExecutor(Executor):
    """Does the work at once, where it is submitted: for a simulation, which has one thread alone."""

    def __init__(self, max_workers: int = 1, thread_name_prefix: str = "") -> None:
        pass

    def submit(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future
