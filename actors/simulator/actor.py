"""The simulator as an actor: a real HTTP server in a process of its own.

It listens where the deploy says, again after every restart: the address is chosen once, and the
completion actors know it.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from actors.cluster.deployed import Deployed
from actors.settings import PROTOCOL_VERSION
from actors.simulator.app import Simulator
from actors.simulator.server import SimulatorServer

__all__ = ["SIMULATOR_NAME", "UpstreamSimulator"]

SIMULATOR_NAME = "upstream-simulator"


class UpstreamSimulator:
    """Async actor around one `SimulatorServer`.

    Args: location: where `Deployed` is kept.
    """

    def __init__(self, location: str) -> None:
        self._deployed = Deployed.load(location)
        self._starting: asyncio.Task[str] | None = None

    async def describe(self) -> dict[str, Any]:
        """Listen, unless it does already, and say where.

        Raises: OSError: the address cannot be bound.
        """
        return {
            "protocol": PROTOCOL_VERSION,
            "fingerprint": self._deployed.fingerprint,
            "kind": "simulator",
            "pid": os.getpid(),
            "url": await self._listening(),
        }

    async def _listening(self) -> str:
        if self._starting is None:
            deployed = self._deployed
            server = SimulatorServer(
                Simulator(admin_key_digest=deployed.settings.admin_key_digest),
                host=deployed.simulator_host,
                port=deployed.simulator_port,
            )
            self._starting = asyncio.ensure_future(server.start())
        return await asyncio.shield(self._starting)
