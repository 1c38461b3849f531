"""Carriers as Ray's actors: created, named, watched, ended; see `actors.ports.cluster.Cluster`.

A handle is kept for as long as its actor lives: Ray's lookup of a name is a call to its control process.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.calls import find_actor, from_carrier, from_singleton
from actors.core.errors import OtherDeploy
from actors.ports.cluster import CARRIER_PREFIX
from actors.ports.directory import CarrierLost
from actors.settings import NAMESPACE
from actors.simulator.actor import SIMULATOR_NAME

__all__ = ["RayCluster"]

_CALLS_MAX = 100_000
"""Concurrent calls of an actor: above every wait there can be, so that a cancel always gets in."""


class RayCluster:
    """Args: location: where the deploy is kept, which each carrier reads. has_simulator: to be woken."""

    def __init__(self, location: str, *, has_simulator: bool) -> None:
        self._location = location
        self._has_simulator = has_simulator
        self._handles: dict[str, Any] = {}

    async def nodes(self) -> list[str]:
        nodes = await asyncio.to_thread(ray.nodes)
        return sorted(node["NodeID"] for node in nodes if node["Alive"])

    async def living(self) -> list[str]:
        entries = await asyncio.to_thread(list_named_actors, all_namespaces=True)
        names = [entry["name"] for entry in entries if entry["namespace"] == NAMESPACE]
        return [name for name in names if _is_carrier(name)]

    async def start(self, name: str, node_id: str) -> None:
        self._handles[name] = await asyncio.to_thread(_create, name, node_id, self._location)

    async def end(self, name: str) -> None:
        try:
            await asyncio.to_thread(ray.kill, await self._handle(name))
        except CarrierLost:
            pass
        self._handles.pop(name, None)

    async def died(self, name: str) -> None:
        try:
            await from_carrier((await self._handle(name)).watch.remote())
        except CarrierLost:
            self._handles.pop(name, None)

    async def is_idle(self, name: str) -> bool:
        try:
            said = await from_carrier((await self._handle(name)).describe.remote())
        except OtherDeploy:
            return False  # It does not say so in words that can be read here.
        return bool(said.get("running") == 0)

    async def wake_simulator(self) -> None:
        if self._has_simulator:
            try:
                handle = await find_actor(SIMULATOR_NAME)
            except CarrierLost:
                return  # It is being deployed.
            await from_singleton(handle.describe.remote())

    async def _handle(self, name: str) -> Any:
        handle = self._handles.get(name)
        if handle is None:
            handle = self._handles[name] = await find_actor(name)
        return handle


def _is_carrier(name: str) -> bool:
    """Singletons have the prefix too: `completion-registry`. What follows it here is a ULID."""
    return name.startswith(CARRIER_PREFIX) and len(name) == len(CARRIER_PREFIX) + 26


def _create(name: str, node_id: str, location: str) -> Any:
    from actors.completion.actor import CompletionActor  # What it loads is not needed here.

    return (
        ray.remote(CompletionActor)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=0,
            max_concurrency=_CALLS_MAX,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        )
        .remote(location)
    )
