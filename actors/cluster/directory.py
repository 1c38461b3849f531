"""The runtime on Ray: links to completion actors by their names, slots from the registry.

A name is resolved once and its handle kept; slots that are wanted in one turn of the loop are asked
for in one call.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import ray

from actors.cluster.calls import find_actor, from_carrier
from actors.cluster.deployed import Deployed, provider_keys
from actors.completion.channel import ChannelBatch
from actors.core.completion.readers import Departure
from actors.core.errors import ActorAway, CompletionRuntimeError, Overloaded
from actors.core.events import CancelSource
from actors.core.record import CompletionRecord
from actors.core.request import StartCommand
from actors.ledger.client import LEDGER_NAME, RayLedger
from actors.ports.ledger import CompletionKey, Located, Placed
from actors.ports.runtime import CancelAnswer, CompletionRow
from actors.registry.client import REGISTRY_NAME, RayRegistry
from actors.replica.runtime import LinkedRuntime
from actors.replica.slot_leases import SlotLeases
from actors.rpc.client import DirectClient
from actors.settings import NAMESPACE
from actors.upstream.native_responses import NativeResponses

__all__ = ["RayDirectory", "RayLink", "connect"]

_LINKS_MAX = 4_096
"""Links kept to completion actors; past it the oldest that answers no call is closed, and found again
when it is needed: the channel that it carried goes on over the next."""

_RENEW_S = 1.0

_LOCATE_TIMEOUT_S = 2.0
"""After as long the store is asked instead: less than a cancel may take."""

_REGISTRY_PAUSE_S = 0.1
"""Between tries to reach a registry that Ray is restarting; they end with the admission timeout."""


class RayLink:
    """A completion actor as replicas call it; see `actors.completion.carrier.CarrierLink`.

    Ray says where it is and whether it lives; the calls are direct.
    """

    def __init__(self, handle: Any) -> None:
        self._direct = DirectClient(lambda: from_carrier(handle.endpoint.remote()))

    @property
    def is_idle(self) -> bool:
        """Whether it can be closed without failing a call."""
        return self._direct.is_idle

    async def start(self, command: StartCommand, channel: str) -> Placed:
        return cast(Placed, await self._direct.call("start", command, channel))

    async def cancel(
        self, completion_id: str, source: CancelSource, requested_at_s: float
    ) -> CancelAnswer:
        answer = await self._direct.call("cancel", completion_id, source, requested_at_s)
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


class RayDirectory:
    """Finds completion actors through the registry; see `actors.replica.runtime.Directory`."""

    def __init__(
        self, registry: RayRegistry, ledger: RayLedger, *, deployed: Deployed, replica: str
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._settings = deployed.settings
        self._deployed = deployed
        self._node_id = ray.get_runtime_context().get_node_id()
        self._replica = replica
        self._links: dict[str, RayLink] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._leases = SlotLeases()
        self._renewing: asyncio.Task[None] | None = None
        self._wanting: deque[asyncio.Future[str]] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def acquire(self) -> str:
        ready = self._leases.take()
        if ready is not None:
            return ready
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        self._wanting.append(future)
        if self._asking is None:
            self._asking = loop.create_task(self._ask_for_slots())
        try:
            async with asyncio.timeout(self._settings.admission_timeout_s + 1.0):
                return await future
        except TimeoutError:
            raise Overloaded("No actor came free in time.", retry_after_s=5.0) from None

    def release(self, actor: str, *, is_free: bool) -> None:
        if not is_free:
            self._leases.let_go(actor)
        elif not self._hand_over(actor):
            self._leases.put_back(actor, now_s=time.monotonic())

    def lost(self, actor: str) -> None:
        self._leases.forget(actor)
        self._forget(actor)

    async def link(self, actor: str) -> RayLink:
        link = self._links.get(actor)
        if link is None:
            link = self._keep(actor, await find_actor(actor))
        return link

    async def locate(self, key: CompletionKey) -> Located | None:
        try:
            async with asyncio.timeout(_LOCATE_TIMEOUT_S):
                return await self._registry.locate(key)
        except (TimeoutError, CompletionRuntimeError):
            # The registry is a cache: while it is away, the store knows as much.
            return await self._ledger.find(key)

    async def rows(self) -> list[CompletionRow]:
        return await self._registry.rows()

    async def describe(self) -> dict[str, Any]:
        pool, ledger = await asyncio.gather(self._registry.describe(), self._ledger.describe())
        return {"simulator": self._deployed.simulator_url, "pool": pool, "ledger": ledger}

    async def _ask_for_slots(self) -> None:
        """Ask for as many slots as are wanted now, again until nobody wants one."""
        try:
            while self._wanting:
                await self._ask_once()
        finally:
            self._asking = None

    async def _ask_once(self) -> None:
        names: list[str] = []
        try:
            count = len(self._wanting)
            given = self._leases.given
            names = await self._registry.lease(self._replica, self._node_id, count, given)
        except CompletionRuntimeError as error:
            self._refuse(error)
            await asyncio.sleep(_REGISTRY_PAUSE_S)
        for name in names:
            self._leases.add(name)
            self.release(name, is_free=True)
        if self._renewing is None and self._leases.held:
            self._renewing = asyncio.get_running_loop().create_task(self._keep_renewing())

    def _keep(self, actor: str, handle: Any) -> RayLink:
        """Return the one link to that actor: others may have looked for it at the same time."""
        link = self._links.get(actor)
        if link is None:
            if len(self._links) >= _LINKS_MAX:
                idle = (name for name, kept in self._links.items() if kept.is_idle)
                self._forget(next(idle, next(iter(self._links))))
            link = self._links[actor] = RayLink(handle)
        return link

    def _forget(self, actor: str) -> None:
        link = self._links.pop(actor, None)
        if link is not None:
            self._closing.add(closing := asyncio.ensure_future(link.aclose()))
            closing.add_done_callback(self._closing.discard)

    def _hand_over(self, actor: str) -> bool:
        """Give a free slot to whoever waits for one; False if nobody does."""
        while self._wanting:
            future = self._wanting.popleft()
            if not future.done():
                future.set_result(actor)
                return True
        return False

    async def _keep_renewing(self) -> None:
        """Tell the registry every second which slots are held, until none is and it was told so."""
        while True:
            await asyncio.sleep(_RENEW_S)
            self._leases.let_idle_go(now_s=time.monotonic())
            held, given = self._leases.held, self._leases.given
            try:
                await self._registry.renew(self._replica, held, given)
            except CompletionRuntimeError:
                continue  # It is being restarted, and learns with the next renewal.
            if not held and not self._leases.held:
                break
        self._renewing = None

    def _refuse(self, error: CompletionRuntimeError) -> None:
        """Tell those who wait; a registry that is only away for a moment is waited for instead."""
        if isinstance(error, ActorAway):
            return
        while self._wanting:
            future = self._wanting.popleft()
            if not future.done():
                future.set_exception(error)


def connect(location: str) -> tuple[LinkedRuntime, Deployed]:
    """Join the deploy of this cluster from a replica. Blocking: call it off any event loop.

    Raises: LookupError: nothing is deployed. ValueError: an actor of the deploy is missing.
    """
    deployed = Deployed.load(location)
    ledger = RayLedger(ray.get_actor(LEDGER_NAME, namespace=NAMESPACE))
    registry = RayRegistry(ray.get_actor(REGISTRY_NAME, namespace=NAMESPACE))
    replica = f"{ray.get_runtime_context().get_node_id()}-{secrets.token_hex(8)}"
    directory = RayDirectory(registry, ledger, deployed=deployed, replica=replica)
    settings = deployed.settings
    native = NativeResponses(
        deployed.catalogue().provider, settings=settings, keys=provider_keys(os.environ)
    )
    runtime = LinkedRuntime(directory, ledger, settings=settings, channel=replica, native=native)
    return runtime, deployed
