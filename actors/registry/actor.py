"""The registry as Ray's actor: named, detached, restarted for ever. What it does is `service`'s."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import ray

from actors.cluster.calls import find_actor, has_failed
from actors.cluster.carriers import RayCluster
from actors.cluster.deployed import Deployed
from actors.ledger.client import LEDGER_NAME, RayLedger
from actors.ports.clock import SystemClock
from actors.ports.runtime import CompletionRow
from actors.registry.service import RegistryService
from actors.rpc.frames import Endpoint
from actors.rpc.server import DirectServer
from actors.settings import PROTOCOL_VERSION

__all__ = ["RegistryActor"]


class RegistryActor:
    """Args: location: where `Deployed` is kept."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._deployed = Deployed.load(location)
        self._opening: asyncio.Task[tuple[RegistryService, Endpoint]] | None = None

    def __repr__(self) -> str:
        return "RegistryActor()"

    async def endpoint(self) -> Endpoint:
        """Return where the calls of `Registry` are answered."""
        return (await self._opened())[1]

    async def describe(self) -> dict[str, Any]:
        service, _ = await self._opened()
        return {
            "protocol": PROTOCOL_VERSION,
            "kind": "registry",
            "fingerprint": self._deployed.fingerprint,
            "pid": os.getpid(),
            "node_id": ray.get_runtime_context().get_node_id(),
            **await service.describe(),
        }

    async def rows(self) -> list[CompletionRow]:
        return await (await self._opened())[0].rows()

    async def warm(self, carriers: int, timeout_s: float) -> int:
        return await (await self._opened())[0].warm(carriers, timeout_s)

    async def drain(self, timeout_s: float) -> None:
        await (await self._opened())[0].drain(timeout_s)

    async def _opened(self) -> tuple[RegistryService, Endpoint]:
        """Do once, on the loop, what the constructor could not; again, where it failed."""
        if self._opening is None or has_failed(self._opening):
            self._opening = asyncio.get_running_loop().create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> tuple[RegistryService, Endpoint]:
        deployed = self._deployed
        service = RegistryService(
            RayCluster(self._location, has_simulator=bool(deployed.simulator_port)),
            RayLedger(await find_actor(LEDGER_NAME)),
            settings=deployed.settings,
            fingerprint=deployed.fingerprint,
            clock=SystemClock(),
            randbits=secrets.randbits,
        )
        await service.open()
        calls: Mapping[str, Callable[..., Awaitable[Any]]] = {
            "lease": service.lease,
            "renew": service.renew,
            "locate": service.locate,
            "report": service.report,
        }
        server = DirectServer(calls, {"recalls": service.recalls})
        return service, await server.start(ray.util.get_node_ip_address())
