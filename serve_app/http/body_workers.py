"""Work on heavy bodies outside of the replica's process: a few helpers, a short queue, a bound in time.

    call -> queue (at most `_WAITING_MAX`, else Overloaded) -> a helper -> its answer, or what it raised
                                                 `- stuck or dead: killed, and another takes its place

A helper is started when it is first needed and ends with the replica, whose pipe it reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from actors.core.errors import CompletionRuntimeError, InvalidRequest, Overloaded
from serve_app.http.body_worker import LENGTH

__all__ = ["BodyWorkers"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_FAILED = "The request could not be worked on."

_WORKERS = 2
_WAITING_MAX = 64
_WORK_TIMEOUT_S = 20.0
_WAIT_TIMEOUT_S = 30.0

_ROOT = str(Path(__file__).resolve().parent.parent.parent)
_PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); from serve_app.http.body_worker import main; main()"
)


class _Helper:
    """One process; asked by one thread at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-c", _PROGRAM.format(root=_ROOT)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def ask(self, data: bytes, *, timeout_s: float) -> bytes:
        """Blocking. Raises: OSError, EOFError: it has ended, TimeoutError: or was made to, in time."""
        timer = threading.Timer(timeout_s, self._process.kill)
        timer.daemon = True
        began_s = time.monotonic()
        timer.start()
        try:
            return self._exchange(data)
        except (OSError, EOFError):
            if time.monotonic() - began_s >= timeout_s:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()

    def _exchange(self, data: bytes) -> bytes:
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None and sink is not None, "both are pipes"
        sink.write(LENGTH.pack(len(data)))
        sink.write(data)
        sink.flush()
        head = source.read(LENGTH.size)
        length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
        answer = source.read(length)
        if not length or len(answer) != length:
            raise EOFError
        return answer

    def end(self) -> None:
        """Blocking, for a moment. Idempotent."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class BodyWorkers:
    """The helpers of one replica; they belong to the loop that calls."""

    def __init__(self, *, work_timeout_s: float = _WORK_TIMEOUT_S) -> None:
        self._work_timeout_s = work_timeout_s
        self._idle: list[_Helper] = []
        self._places = asyncio.Semaphore(_WORKERS)
        self._waiting = 0
        weakref.finalize(self, _end_all, self._idle)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what the function returns, called in a helper; it and its arguments can be pickled.

        Raises: what it raises of ours. InvalidRequest: the work took too long. Overloaded: too many
        wait already, or no helper can be started.
        Cancel: the work goes on to its end, and is for nobody.
        """
        await self._place()
        try:
            asked = asyncio.ensure_future(asyncio.to_thread(self._ask, function, arguments))
        except BaseException:
            self._places.release()
            raise
        asked.add_done_callback(self._asked)
        is_done, outcome = await asyncio.shield(asked)
        if is_done:
            result: T = outcome
            return result
        if isinstance(outcome, CompletionRuntimeError):
            raise outcome
        _log.error("work on a body failed", exc_info=outcome)
        raise Overloaded(_FAILED)

    async def _place(self) -> None:
        if self._waiting >= _WAITING_MAX:
            raise Overloaded("Too many large requests at once.")
        self._waiting += 1
        try:
            async with asyncio.timeout(_WAIT_TIMEOUT_S):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded("Too many large requests at once.") from None
        finally:
            self._waiting -= 1

    def _asked(self, asked: asyncio.Future[tuple[bool, Any]]) -> None:
        self._places.release()
        if not asked.cancelled():
            asked.exception()  # Marked as seen: whoever waited may have gone.

    def _ask(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        """Run by a thread."""
        data = pickle.dumps((function, arguments), pickle.HIGHEST_PROTOCOL)
        try:
            helper = self._idle.pop()
        except IndexError:
            helper = None
        try:
            helper = helper or _Helper()
            answer = helper.ask(data, timeout_s=self._work_timeout_s)
        except TimeoutError:
            _end_all([helper] if helper else [])
            raise InvalidRequest("The request body takes too long to be understood.") from None
        except (OSError, EOFError):
            _end_all([helper] if helper else [])
            raise Overloaded(_FAILED) from None
        self._idle.append(helper)
        done: tuple[bool, Any] = pickle.loads(answer)
        return done

    def close(self) -> None:
        """End the helpers. Idempotent."""
        _end_all(self._idle)


def _end_all(helpers: list[_Helper]) -> None:
    while helpers:
        helpers.pop().end()
