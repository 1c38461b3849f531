"""The simulator's listening: uvicorn on the running loop, started and stopped from it.

Owns the socket and the server's options. It must not know what is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

__all__ = ["SimulatorServer"]

BACKLOG = 4096  # a burst of streams opened at once; the kernel's somaxconn is the real bound
KEEP_ALIVE_TIMEOUT_S = 75
STOP_TIMEOUT_S = 5.0


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # Signals are the process's, not ours.


class SimulatorServer:
    """One listening application. `start` and `stop` belong to the same loop.

    Args:
        app: the application, a `Simulator`.
        host: an address of this machine; a host that others reach in a cluster.
        port: 0 takes a free one.
    """

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host = host
        self._port = port
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",  # Answers that break off are its trade.
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; returns the address, `http://HOST:PORT`.

        Raises: OSError: the address cannot be bound.
        """
        listener = socket.create_server((self._host, self._port), backlog=BACKLOG)
        listener.setblocking(False)
        # Asyncio sets it on its own sockets alone: without it an answer waits for the client's ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = listener.getsockname()[:2]
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
            await asyncio.sleep(0.001)
        return f"http://{host}:{port}"

    async def stop(self) -> None:
        """Close every connection and the listener. Idempotent."""
        if self._serving is None:
            return
        serving, self._serving = self._serving, None
        self._server.should_exit = self._server.force_exit = True
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.wait_for(serving, STOP_TIMEOUT_S)
