"""A process that outlives the instance for a moment: it ends what a killed instance leaves behind.

Ray's own daemons die with the process that started them, but HAProxy does not: a `kill -9` would
leave it with three ports. The reaper is forked before there are threads, waits for the end of a
pipe, and then ends whatever carries the instance's mark. An orderly end dismisses it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Reaper"]

_DISMISSED = b"."


class Reaper:
    """The instance's end of the pipe."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self._pid = pid
        self._descriptor = descriptor

    @classmethod
    def start(cls, sweep: Callable[[], object]) -> Reaper:
        """Fork; the child calls `sweep` if this process ends without `dismiss`.

        The caller must have one thread only.
        """
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            _wait_and_sweep(ours, sweep)
        os.close(ours)
        return cls(pid, theirs)

    @property
    def pid(self) -> int:
        return self._pid

    def dismiss(self) -> None:
        """Tell it that nothing is left to do, and wait for its end."""
        with suppress(BrokenPipeError):
            os.write(self._descriptor, _DISMISSED)
        os.close(self._descriptor)
        with suppress(ChildProcessError):
            # Ray lets the kernel take the ended children of its driver.
            os.waitpid(self._pid, 0)


def _wait_and_sweep(descriptor: int, sweep: Callable[[], object]) -> None:
    """The child's life. It keeps no descriptor but the pipe's, so that it holds nobody's output open."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(descriptor, 0)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))
        if os.read(0, 1) != _DISMISSED:
            sweep()
    finally:
        os._exit(0)
