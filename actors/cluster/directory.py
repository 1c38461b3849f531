"""A replica's runtime on Ray: the actors are found by their names, each once, and called directly."""

from __future__ import annotations

import asyncio
import os
import secrets
from functools import partial
from typing import cast

import ray

from actors.cluster.calls import find_actor, from_carrier, singleton_peer
from actors.cluster.deployed import Deployed, provider_keys
from actors.ledger.client import LEDGER_NAME, RayLedger
from actors.ports.carrier import CarrierLink
from actors.ports.registry import REGISTRY_NAME
from actors.ports.transport import Address, Transport
from actors.replica.runtime import ReplicaRuntime
from actors.rpc.contracts import CARRIER, REGISTRY
from actors.rpc.peer import Peer
from actors.settings import NAMESPACE
from actors.upstream.native_responses import NativeResponses

__all__ = ["RayCarriers", "connect"]

_LINKS_MAX = 4_096
"""Links kept to completion actors; past it the oldest that answers no call is closed, and found again
when it is needed: the channel that it carried goes on over the next."""


class RayCarriers:
    """The ways to all carriers; see `actors.ports.directory.Carriers`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._links: dict[str, tuple[Peer, CarrierLink]] = {}
        self._closing: set[asyncio.Future[None]] = set()

    def link(self, carrier: str) -> CarrierLink:
        kept = self._links.get(carrier)
        if kept is None:
            if len(self._links) >= _LINKS_MAX:
                idle = (name for name, (peer, _) in self._links.items() if peer.is_idle)
                self.forget(next(idle, next(iter(self._links))))
            peer = Peer(self._transport, partial(_address, carrier))
            kept = self._links[carrier] = peer, CARRIER.client(peer)
        return kept[1]

    def forget(self, carrier: str) -> None:
        kept = self._links.pop(carrier, None)
        if kept is not None:
            self._closing.add(closing := asyncio.ensure_future(kept[0].aclose()))
            closing.add_done_callback(self._closing.discard)


async def _address(name: str) -> Address:
    """Return where a completion actor listens. Raises: CarrierLost, ActorAway."""
    handle = await find_actor(name)
    return cast(Address, await from_carrier(handle.endpoint.remote()))


def connect(location: str) -> tuple[ReplicaRuntime, Deployed]:
    """Join the deploy of this cluster from a replica. Blocking: call it off any event loop.

    Raises: LookupError: nothing is deployed. ValueError: an actor of the deploy is missing.
    """
    deployed = Deployed.load(location)
    ledger = RayLedger(ray.get_actor(LEDGER_NAME, namespace=NAMESPACE))
    registry_actor = ray.get_actor(REGISTRY_NAME, namespace=NAMESPACE)
    node_id = ray.get_runtime_context().get_node_id()
    settings = deployed.settings
    native = NativeResponses(
        deployed.catalogue().provider, settings=settings, keys=provider_keys(os.environ)
    )
    runtime = ReplicaRuntime(
        RayCarriers(deployed.transport()),
        REGISTRY.client(singleton_peer(deployed, registry_actor)),
        ledger,
        settings=settings,
        replica=f"{node_id}-{secrets.token_hex(8)}",
        node_id=node_id,
        native=native,
        simulator_url=deployed.simulator_url,
    )
    return runtime, deployed
