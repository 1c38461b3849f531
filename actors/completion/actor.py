"""The actor that owns completions in flight: a carrier in a process of its own.

It carries one completion at a time while others are free, up to `streams_per_actor_max` when none is, and
is reused for the next. Ray gives the process, the name and its end; replicas call the carrier directly.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import ray
from setproctitle import setproctitle

from actors.cluster.calls import find_actor, has_failed, registry_peer
from actors.cluster.deployed import Deployed, provider_keys
from actors.cluster.garbage import spare_what_stands
from actors.completion.carrier import Carrier
from actors.completion.driver import CompletionDriver
from actors.ledger.client import LEDGER_NAME, far_ledger
from actors.ports.clock import SystemClock
from actors.ports.provider import Provider
from actors.ports.registry import REGISTRY_NAME
from actors.ports.transport import Address
from actors.rpc.contracts import CARRIER, REGISTRY
from actors.rpc.serving import Server
from actors.settings import PROTOCOL_VERSION
from actors.upstream.client import ProviderClient
from actors.upstream.tokenizer import count_text

__all__ = ["CompletionActor"]

_TITLE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Identity:
    actor: str
    node_id: str
    pid: int


class CompletionActor:
    """A carrier and what Ray must know of it.

    Args:
        location: where `Deployed` is kept.
    """

    def __init__(self, location: str) -> None:
        context = ray.get_runtime_context()
        self._identity = _Identity(
            actor=context.get_actor_name() or "", node_id=context.get_node_id(), pid=os.getpid()
        )
        self._deployed = Deployed.load(location)
        self._carrier: Carrier | None = None
        self._opening: asyncio.Task[Carrier] | None = None
        self._address: Address | None = None
        self._catalogue = self._deployed.catalogue()
        self._clients: dict[str, ProviderClient] = {}
        self._keys: Mapping[str, str] = {}
        self._show()

    def __repr__(self) -> str:
        return f"CompletionActor({self._carries()})"

    async def endpoint(self) -> Address:
        """Return where the calls of `CarrierLink` are answered."""
        await self._ready()
        assert self._address is not None, "the opening made it"
        return self._address

    async def watch(self) -> None:
        """Never return: the caller learns of this process's death by this call's breaking."""
        await asyncio.Event().wait()

    async def describe(self) -> dict[str, Any]:
        """Of builtin types alone, so that releases which share no class can still ask one another."""
        carrier = await self._ready()
        return {
            "protocol": PROTOCOL_VERSION,
            "kind": "completion",
            "fingerprint": self._deployed.fingerprint,
            "actor": self._identity.actor,
            "node_id": self._identity.node_id,
            "pid": self._identity.pid,
            "running": len(carrier.running),
        }

    # Inside.

    async def _ready(self) -> Carrier:
        if self._carrier is None:
            if self._opening is None or has_failed(self._opening):
                self._opening = asyncio.get_running_loop().create_task(self._open())
            # Shielded: a caller that is cancelled must not take the carrier from the others.
            self._carrier = await asyncio.shield(self._opening)
        return self._carrier

    async def _open(self) -> Carrier:
        ledger = far_ledger(await find_actor(LEDGER_NAME), self._deployed.transport())
        registry = REGISTRY.client(registry_peer(self._deployed, await find_actor(REGISTRY_NAME)))
        # The one read of the environment outside of the settings: a node's own keys of providers.
        self._keys = await asyncio.to_thread(provider_keys, os.environ)
        settings = self._deployed.settings
        carrier = Carrier(
            self._identity,
            slots_max=settings.slots_max,
            provider_of=self._provider,
            ledger=ledger,
            clock=SystemClock(),
            settings=settings,
            fingerprint=self._deployed.fingerprint,
            on_began=self._show,
            on_freed=self._show,
            thread=ThreadPoolExecutor(1, "records"),
        )
        server = Server(self._deployed.transport(), {CARRIER: carrier})
        self._address = await server.start(ray.util.get_node_ip_address())
        self._housekeeping = asyncio.gather(
            carrier.reporter.run(registry), carrier.checkpointer.run(), self._keep_title()
        )
        spare_what_stands()
        return carrier

    def _provider(self, name: str) -> Provider:
        """Return the client of a provider, one per process: its connections outlive completions."""
        client = self._clients.get(name)
        if client is None:
            config = self._catalogue.provider(name)
            client = self._clients[name] = ProviderClient(
                name,
                config,
                api_key=self._keys.get(config.api_key_env) if config.api_key_env else None,
                settings=self._deployed.settings,
                count=count_text,
            )
        return client

    async def _keep_title(self) -> None:
        """Show what is carried again and again: Ray puts its own title there with every call."""
        while True:
            self._show()
            await asyncio.sleep(_TITLE_S)

    def _show(self, _changed: CompletionDriver | None = None) -> None:
        setproctitle(f"midstream {self._identity.actor} {self._carries()}")

    def _carries(self) -> str:
        running = self._carrier.running if self._carrier else ()
        if len(running) == 1:
            return running[0].header.completion_id
        return f"{len(running)} completions" if running else "idle"
