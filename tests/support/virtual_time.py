"""An event loop whose time passes only when nothing is left to do: a minute of waiting takes no time.

Nothing may read a socket or use a thread while it runs: there is nobody to wait for.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run_virtual"]

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Where the loop would sleep, its clock is put forward."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("all wait, and nothing will ever happen")
        if timeout > 0:
            # A bit more, or a sum of fractions would fall short of the deadline for ever.
            self.now_s += timeout + 1e-9
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, on virtual time from 0."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(work)
