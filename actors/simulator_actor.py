"""The simulator as an actor: a real HTTP server in a process of its own.

A plain class; whoever deploys it makes it a Ray actor and chooses its name and its node.
"""

from __future__ import annotations

import os
from typing import Any

from actors.settings import PROTOCOL_VERSION
from actors.simulator.app import create_simulator
from actors.simulator.server import SimulatorServer

__all__ = ["UpstreamSimulator"]


class UpstreamSimulator:
    """Async actor around one `SimulatorServer`."""

    def __init__(self) -> None:
        self._server: SimulatorServer | None = None
        self._url: str | None = None

    async def start(self, host: str) -> str:
        """Listen on a free port of the host; returns `http://HOST:PORT`. Again, the same address.

        Raises: OSError: the host is no address of this node.
        """
        if self._url is None:
            self._server = SimulatorServer(create_simulator(), host=host)
            self._url = await self._server.start()
        return self._url

    async def stop(self) -> None:
        """Close every connection and stop listening. Idempotent."""
        if self._server is not None:
            await self._server.stop()
        self._server = self._url = None

    async def describe(self) -> dict[str, Any]:
        return {"protocol_version": PROTOCOL_VERSION, "pid": os.getpid(), "url": self._url}
