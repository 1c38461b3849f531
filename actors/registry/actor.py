"""The registry as Ray's actor: named, detached, restarted for ever. What it does is `service`'s."""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import Any

import ray

from actors.cluster.calls import find_actor, has_failed
from actors.cluster.carriers import RayCluster
from actors.cluster.deployed import Deployed
from actors.cluster.directory import ways_to_carriers
from actors.cluster.garbage import spare_what_stands
from actors.ledger.client import LEDGER_NAME, far_ledger
from actors.ports.clock import SystemClock
from actors.ports.transport import Address
from actors.registry.service import RegistryService
from actors.rpc.contracts import REGISTRY
from actors.rpc.serving import Server
from actors.settings import PROTOCOL_VERSION

__all__ = ["RegistryActor"]


class RegistryActor:
    """Args: location: where `Deployed` is kept."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._deployed = Deployed.load(location)
        self._opening: asyncio.Task[Address] | None = None

    async def endpoint(self) -> Address:
        """Return where `actors.ports.registry.Registry` is answered."""
        # Done once, on the loop, since the constructor could not; again, where it failed.
        if self._opening is None or has_failed(self._opening):
            self._opening = asyncio.get_running_loop().create_task(self._open())
        return await asyncio.shield(self._opening)

    def describe(self) -> dict[str, Any]:
        """Of builtin types alone, so that every release's deployer understands it."""
        return {
            "protocol": PROTOCOL_VERSION,
            "kind": "registry",
            "fingerprint": self._deployed.fingerprint,
            "pid": os.getpid(),
            "node_id": ray.get_runtime_context().get_node_id(),
        }

    async def _open(self) -> Address:
        deployed = self._deployed
        self._service = RegistryService(
            RayCluster(self._location, has_simulator=bool(deployed.simulator_port)),
            ways_to_carriers(deployed),
            far_ledger(await find_actor(LEDGER_NAME), deployed.transport()),
            settings=deployed.settings,
            fingerprint=deployed.fingerprint,
            clock=SystemClock(),
            randbits=secrets.randbits,
            identity=self.describe(),
        )
        await self._service.open()
        self._server = Server(deployed.transport(), {REGISTRY: self._service})
        spare_what_stands()
        return await self._server.start(ray.util.get_node_ip_address())
