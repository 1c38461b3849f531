"""Time as the driver sees it: one seam, so that tests turn the clock by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "SystemClock", "Timer"]


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Monotonic nanoseconds for intervals, wall seconds for records, and one-shot timers."""

    def now_ns(self) -> int: ...

    def wall_s(self) -> float: ...

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> Timer:
        """Call back on the running loop at or soon after the deadline."""
        ...


class SystemClock:
    """The machine's clocks; timers are those of the running asyncio loop."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wall_s(self) -> float:
        return time.time()

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> Timer:
        delay_s = max(0, deadline_ns - time.monotonic_ns()) / 1e9
        return asyncio.get_running_loop().call_later(delay_s, callback)
