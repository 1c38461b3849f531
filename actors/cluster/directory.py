"""A replica's runtime on Ray: the actors are found by their names, each once, and called directly."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import cast

import ray

from actors.cluster.calls import find_actor, from_carrier
from actors.cluster.deployed import Deployed, provider_keys
from actors.core.completion.readers import Departure
from actors.core.events import CancelSource
from actors.core.record import CompletionRecord
from actors.core.request import StartCommand
from actors.ledger.client import LEDGER_NAME, RayLedger
from actors.ports.carrier import ChannelBatch
from actors.ports.ledger import Placed
from actors.ports.registry import REGISTRY_NAME, Registry
from actors.ports.runtime import CancelAnswer
from actors.registry.client import RayRegistry
from actors.replica.runtime import ReplicaRuntime
from actors.rpc.client import DirectClient
from actors.rpc.frames import Endpoint
from actors.settings import NAMESPACE
from actors.upstream.native_responses import NativeResponses

__all__ = ["RayCarriers", "RayLink", "connect"]

_LINKS_MAX = 4_096
"""Links kept to completion actors; past it the oldest that answers no call is closed, and found again
when it is needed: the channel that it carried goes on over the next."""


class RayLink:
    """A completion actor as replicas call it; see `actors.ports.carrier.CarrierLink`.

    Ray says where it is and whether it lives; the calls are direct.
    """

    def __init__(self, name: str) -> None:
        self._direct = DirectClient(partial(_endpoint, name))

    @property
    def is_idle(self) -> bool:
        """Whether it can be closed without failing a call."""
        return self._direct.is_idle

    async def start(self, command: StartCommand, channel: str) -> Placed:
        return cast(Placed, await self._direct.call("start", command, channel))

    async def cancel(self, completion_id: str, source: CancelSource) -> CancelAnswer:
        answer = await self._direct.call("cancel", completion_id, source)
        return cast(CancelAnswer, answer)

    async def record(self, completion_id: str) -> CompletionRecord:
        return cast(CompletionRecord, await self._direct.call("record", completion_id))

    async def attach(self, completion_id: str, channel: str, cursor: int) -> None:
        await self._direct.call("attach", completion_id, channel, cursor)

    async def detach(self, completion_id: str, channel: str, departure: Departure) -> None:
        await self._direct.call("detach", completion_id, channel, departure)

    def channel(self, channel: str, reading: Mapping[str, int]) -> AsyncIterator[ChannelBatch]:
        return self._direct.stream("channel", channel, reading)

    async def aclose(self) -> None:
        await self._direct.aclose()


class RayCarriers:
    """The ways to all carriers; see `actors.ports.directory.Carriers`."""

    def __init__(self) -> None:
        self._links: dict[str, RayLink] = {}
        self._closing: set[asyncio.Future[None]] = set()

    def link(self, carrier: str) -> RayLink:
        link = self._links.get(carrier)
        if link is None:
            if len(self._links) >= _LINKS_MAX:
                idle = (name for name, kept in self._links.items() if kept.is_idle)
                self.forget(next(idle, next(iter(self._links))))
            link = self._links[carrier] = RayLink(carrier)
        return link

    def forget(self, carrier: str) -> None:
        link = self._links.pop(carrier, None)
        if link is not None:
            self._closing.add(closing := asyncio.ensure_future(link.aclose()))
            closing.add_done_callback(self._closing.discard)


async def _endpoint(name: str) -> Endpoint:
    """Return where a completion actor listens. Raises: CarrierLost, ActorAway."""
    handle = await find_actor(name)
    return await from_carrier(handle.endpoint.remote())


def connect(location: str) -> tuple[ReplicaRuntime, Deployed]:
    """Join the deploy of this cluster from a replica. Blocking: call it off any event loop.

    Raises: LookupError: nothing is deployed. ValueError: an actor of the deploy is missing.
    """
    deployed = Deployed.load(location)
    ledger = RayLedger(ray.get_actor(LEDGER_NAME, namespace=NAMESPACE))
    registry = RayRegistry(ray.get_actor(REGISTRY_NAME, namespace=NAMESPACE))
    node_id = ray.get_runtime_context().get_node_id()
    settings = deployed.settings
    native = NativeResponses(
        deployed.catalogue().provider, settings=settings, keys=provider_keys(os.environ)
    )
    runtime = ReplicaRuntime(
        RayCarriers(),
        cast(Registry, registry),
        ledger,
        settings=settings,
        replica=f"{node_id}-{secrets.token_hex(8)}",
        node_id=node_id,
        native=native,
        simulator_url=deployed.simulator_url,
    )
    return runtime, deployed
