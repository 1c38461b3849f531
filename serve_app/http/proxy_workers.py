"""Whether the proxy's worker that carried a request still lives: asked when a reader's connection has ended.

One of this machine is looked up among its processes, by its id and the time it was started at, noted with
its first request: an id is given again. One of another machine is asked by HTTP who it is; where another
worker answers, or none in time, it counts as gone. One that was told to end, by a reload, lives until its
last connection has ended.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from actors.core.completion.readers import ProxyLife
from serve_app.http.proxy_worker import ASK_PATH, WorkerName, place

__all__ = ["ProxyWorkers"]

_KNOWN_MAX = 256
"""Workers whose start is remembered: those of some hundred reloads. The oldest is looked up anew."""

_ASK_TIMEOUT_S = 1.0
_ANSWER_BYTES_MAX = 4_096
_DEAD_STATES = ("Z", "X", "x")


class ProxyWorkers:
    """Args:
    port: where the proxies of other machines listen.
    """

    def __init__(self, port: int, *, here: str | None = None) -> None:
        self._port = port
        self._here = place() if here is None else here
        self._started: dict[str, str | None] = {}  # by what the header says

    def __repr__(self) -> str:
        return f"<ProxyWorkers {len(self._started)}>"

    def saw(self, name: str | None) -> None:
        """A request came by it."""
        if name is not None and name not in self._started:
            worker = WorkerName.read(name)
            is_here = worker is not None and worker.place == self._here
            self._started[name] = _started(worker.pid) if worker and is_here else None
            if len(self._started) > _KNOWN_MAX:
                del self._started[next(iter(self._started))]

    async def life(self, name: str | None, peer: str | None) -> ProxyLife:
        """Return what has become of it.

        Args:
            name: what the header of the request said.
            peer: the address that the request came from.
        """
        worker = WorkerName.read(name) if name is not None else None
        if name is None or worker is None:
            return ProxyLife.NONE
        if worker.place == self._here:
            started = _started(worker.pid)
            lives = started is not None and started == self._started.get(name, started)
        else:
            lives = peer is not None and await _ask(peer, self._port) == name
        return ProxyLife.LIVES if lives else ProxyLife.GONE


def _started(pid: int) -> str | None:
    """Return when the process was started, in the kernel's ticks; None where it has ended."""
    try:
        # Its name, in parentheses, may have blanks.
        words = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in _DEAD_STATES else words[19]


async def _ask(host: str, port: int) -> str | None:
    """Return the name of the worker that answers there."""
    try:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {ASK_PATH} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode("ascii"))
                answer = await reader.read(_ANSWER_BYTES_MAX)
                while not reader.at_eof() and len(answer) < _ANSWER_BYTES_MAX:
                    answer += await reader.read(_ANSWER_BYTES_MAX)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
    return answer.rpartition(b"\r\n\r\n")[2].decode("latin-1").strip()
