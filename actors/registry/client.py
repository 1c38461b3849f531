"""The registry from afar: what every completion needs of it goes direct, all else through Ray."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from actors.cluster.calls import from_singleton
from actors.ports.ledger import CompletionKey, Located
from actors.ports.registry import CarrierReport, Slot
from actors.ports.runtime import CompletionRow
from actors.rpc.client import DirectClient

__all__ = ["RayRegistry"]


class RayRegistry:
    """Forwards to `actors.registry.actor.RegistryActor`; see `actors.ports.registry.Registry`.

    Each raises `ActorAway` while the registry is being restarted.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._direct = DirectClient(lambda: from_singleton(handle.endpoint.remote()))

    async def lease(self, replica: str, node_id: str, count: int, given: int) -> list[Slot]:
        return cast(list[Slot], await self._direct.call("lease", replica, node_id, count, given))

    async def renew(self, replica: str, held: dict[str, int], given: int) -> list[str]:
        return cast(list[str], await self._direct.call("renew", replica, held, given))

    def recalls(self, replica: str) -> AsyncIterator[int]:
        return self._direct.stream("recalls", replica)

    async def locate(self, key: CompletionKey) -> Located | None:
        return cast("Located | None", await self._direct.call("locate", key))

    async def report(self, report: CarrierReport) -> None:
        await self._direct.call("report", report)

    async def rows(self) -> list[CompletionRow]:
        return cast(list[CompletionRow], await from_singleton(self._handle.rows.remote()))

    async def describe(self) -> dict[str, Any]:
        return cast(dict[str, Any], await from_singleton(self._handle.describe.remote()))
