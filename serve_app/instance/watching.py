"""Looks, again and again, at what the instance runs on, and does what `supervision` says.

What may wait without a limit, as Ray's calls do where Ray is gone, has a thread of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from serve_app.instance.processes import is_nobody_there
from serve_app.instance.supervision import Measure, Part, RuntimeLost, Supervisor

__all__ = ["Again", "Watch"]

_log = logging.getLogger(__name__)

_LAST_WORK_S = 2.0
"""How long what is under way may take when it shall be done no more."""


class Watch:
    """Args:
    parts: where each of them listens.
    bring_back: starts another proxy; its failures are its own to tell.
    """

    def __init__(
        self,
        parts: Mapping[Part, tuple[str, int]],
        *,
        is_private: bool,
        bring_back: Callable[[], object],
        is_gone: Callable[[tuple[str, int]], bool] = is_nobody_there,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._supervisor = Supervisor(is_private=is_private)
        self._bring_back = bring_back
        self._is_gone = is_gone
        self._now_s = now_s

    def look(self) -> None:
        """Raises: RuntimeLost: what cannot be brought back is gone."""
        gone = [part for part, address in self._parts.items() if self._is_gone(address)]
        found = self._supervisor.look(gone, self._now_s())
        if found is None:
            return
        measure, part = found
        host, port = self._parts[part]
        if measure is Measure.GIVE_UP:
            raise RuntimeLost(
                f"{part.value} at {host}:{port} is gone, and nothing runs without it: what was started "
                "is ended, and what was open is settled by the next start."
            )
        _log.warning("%s at %s:%d is gone; another takes its place", part.value, host, port)
        try:
            self._bring_back()
        except OSError:
            _log.exception("no other could be started")


class Again:
    """Does something every so often, whatever comes of it once, until it is closed."""

    def __init__(self, work: Callable[[], None], *, every_s: float) -> None:
        self._work = work
        self._every_s = every_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join(_LAST_WORK_S)

    def _run(self) -> None:
        while not self._is_over.wait(self._every_s):
            try:
                self._work()
            except Exception:
                _log.exception("it is tried again")
