"""The registry from afar: what every completion needs of it goes direct, all else through Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from actors.cluster.calls import from_singleton
from actors.ports.ledger import CompletionKey, Located
from actors.ports.registry import Slot
from actors.ports.runtime import CompletionRow
from actors.rpc.client import DirectClient

__all__ = ["REGISTRY_NAME", "CarrierReport", "RayRegistry"]

REGISTRY_NAME = "completion-registry"


@dataclass(frozen=True, slots=True)
class CarrierReport:
    """What changed on a completion actor since its last report.

    Args:
        running: how many completions it carries now.
        news: (completion id, team, dialect, wire id) of those that began.
        ended: ids of those that were settled or refused.
    """

    actor: str
    running: int
    news: tuple[tuple[str, str, str, str], ...] = ()
    ended: tuple[str, ...] = ()


class RayRegistry:
    """Forwards to `actors.registry.actor.RegistryActor`, which says what each call means.

    Each raises `ActorAway` while the registry is being restarted.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._direct = DirectClient(lambda: from_singleton(handle.endpoint.remote()))

    async def lease(self, replica: str, node_id: str, count: int, given: int) -> list[Slot]:
        names = await self._direct.call("lease", replica, node_id, count, given)
        return [Slot(name) for name in names]

    async def renew(self, replica: str, held: dict[str, int], given: int) -> list[str]:
        await self._direct.call("renew", replica, held, given)
        return []

    async def recalls(self, replica: str) -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 0

    async def locate(self, key: CompletionKey) -> Located | None:
        return cast("Located | None", await self._direct.call("locate", key))

    async def report(self, report: CarrierReport) -> None:
        await self._direct.call("report", report)

    async def rows(self) -> list[CompletionRow]:
        return cast(list[CompletionRow], await from_singleton(self._handle.rows.remote()))

    async def describe(self) -> dict[str, Any]:
        return cast(dict[str, Any], await from_singleton(self._handle.describe.remote()))
