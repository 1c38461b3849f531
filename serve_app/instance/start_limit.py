"""How long a start may take, and its steps tried again within that.

A busy machine makes Ray and Serve give up on their own: Ray's driver waits 30 s for its node, a raylet
15 s for its agents, and a worker that comes up late is killed. None of it says that the start cannot
succeed, so a step that failed in such a way is done again, after what it left is cleared away, until
the operator's limit is reached. What cannot pass (a taken port, a wrong flag) is raised at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from serve_app.instance.data_directory import InstanceError

__all__ = ["StartFailed", "StartLimit"]

_PAUSE_S = 1.0
"""Between two tries: what was ended lets go of its ports and files."""

T = TypeVar("T")


class StartFailed(InstanceError):
    """A step of the start failed in a way that may pass; the message is one sentence without its end."""

    exit_code = 1


class StartLimit:
    """Counts from when it is made.

    Args:
        tell: is told what the start waits for now; it may raise, to end the start.
    """

    def __init__(
        self,
        limit_s: float,
        *,
        tell: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit_s = limit_s
        self._tell = tell
        self._now = now
        self._sleep = sleep
        self._end_s = now() + limit_s

    @property
    def left_s(self) -> float:
        return max(0.0, self._end_s - self._now())

    def attempt(self, what: str, step: Callable[[], T], *, clean_up: Callable[[], None]) -> T:
        """Do a step, again where it failed in a way that may pass.

        Args:
            what: it is, as in "starting Ray".
            clean_up: clears away what a failed try left; also after the last one.

        Raises: StartFailed: the time is over; says what the last try said. What `step` raises else.
        """
        self._tell(what)
        while True:
            try:
                return step()
            except StartFailed as error:
                reason = str(error).rstrip(".")
            clean_up()
            if self.left_s <= _PAUSE_S:
                raise self.exceeded(what, reason)
            self._tell(f"{what} again: {reason}")
            self._sleep(_PAUSE_S)

    def exceeded(self, what: str, reason: str) -> StartFailed:
        """Return the error that ends a start."""
        return StartFailed(
            f"It was not ready within {self._limit_s:g} s ({what}: {reason}): give a busy machine more "
            "with --start-timeout."
        )
