"""The ring itself: what each process runs, out of the product's own classes, over the hostile network."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from functools import partial
from typing import Any

from actors.completion.carrier import Carrier
from actors.core.errors import ActorAway, CompletionRuntimeError
from actors.ledger.client import patient
from actors.ledger.service import LedgerService
from actors.ports.clock import SystemClock
from actors.ports.ledger import LimitsChange, TeamLimits
from actors.ports.registry import REGISTRY_NAME
from actors.ports.threads import InlineExecutor
from actors.ports.transport import Address
from actors.registry.service import RegistryService
from actors.replica.links import Links
from actors.replica.runtime import ReplicaRuntime
from actors.rpc.contracts import CARRIER, REGISTRY
from actors.rpc.contracts import LEDGER as LEDGER_CALLS
from actors.rpc.peer import Peer
from actors.rpc.serving import Server
from actors.settings import Settings
from serve_app.http.authentication import Authenticator
from serve_app.http.background import Background
from serve_app.http.leaving import Leaving
from tests.simulation.bounds import QUEUE_MAX, narrow
from tests.simulation.invariants import Invariants
from tests.simulation.network import Network, SimTransport
from tests.simulation.processes import Processes, Role, SimProcess
from tests.simulation.proxies import Proxies
from tests.simulation.reader_book import READER_GRACE_S
from tests.simulation.sim_store import SimStore
from tests.simulation.texts import LEDGER
from tests.simulation.upstream import SimProvider
from tests.simulation.world import World
from tests.support.faulty_store import Fault

__all__ = ["LEDGER", "NODES", "TEAMS", "Ring"]

NODES = ("n1", "n2")

TEAMS: dict[str, tuple[int, TeamLimits, str]] = {
    "rich": (10**12, TeamLimits(), "metered"),
    "poor": (12_000, TeamLimits(), "metered"),
    "few": (10**12, TeamLimits(completions_concurrent=6), "metered"),
    "free": (0, TeamLimits(), "exempt"),
}

_HOUSEKEEPING_S = 5.0

_LINKS_MAX = 4
"""Fewer than there are carriers at times, so that links are closed which are about to be used."""


class Ring:
    """Args: invariants: is told of what happens inside."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self.world = world
        self.invariants = invariants
        self.network = Network(world)
        self.proxies = Proxies(world, NODES)
        self.settings = Settings(
            actors_per_node=world.rng.choice((2, 2, 3)),
            actors_warm=1,
            streams_per_actor=world.rng.choice((1, 4, 16, 16)),
            streams_per_actor_max=world.rng.choice((16, 24, 32)),
            admission_timeout_s=10.0,
            connect_timeout_s=4.0,
            first_token_timeout_s=6.0,
            idle_timeout_s=5.0,
            reader_grace_s=READER_GRACE_S,
            record_ttl_s=60.0,
            responses_ttl_s=60.0,
            cancel_timeout_s=5.0,
        )
        self.deploys = 1
        self.commit_faults = 0.0
        self.store = SimStore(self._draw_fault, invariants.committed, invariants.broken)
        self.told: Counter[str] = Counter()  # tokens that providers sent, by completion
        self.key_ids: dict[str, str] = {}
        self.processes = Processes(
            world,
            self.network,
            {
                Role.LEDGER: self._boot_ledger,
                Role.REGISTRY: self._boot_registry,
                Role.CARRIER: self._boot_carrier,
                Role.REPLICA: self._boot_replica,
            },
        )

    @property
    def fingerprint(self) -> str:
        return f"deploy-{self.deploys}"

    def start(self) -> None:
        self.processes.on_death.append(self.invariants.died)
        start = self.processes.start
        start(LEDGER, Role.LEDGER, "n1")
        start(REGISTRY_NAME, Role.REGISTRY, "n1")
        for node_id in NODES:
            start(f"replica-{node_id}-1", Role.REPLICA, node_id)

    def _draw_fault(self) -> Fault | None:
        if self.commit_faults and self.world.chance(self.commit_faults):
            self.world.step("fault", "commit")
            return self.world.rng.choice(list(Fault))
        return None

    # What each process does first.

    async def _boot_ledger(self, process: SimProcess) -> None:
        service = LedgerService(
            self.store.open(),
            settings=self.settings,
            clock=lambda: time.time(),
            threads=InlineExecutor,
            queue_max=QUEUE_MAX,
        )
        process.service = service
        if not self.key_ids:
            for team, (credit, limits, mode) in TEAMS.items():
                await service.create_team(
                    team,
                    f"org_{team}",
                    credits_microcredits=credit,
                    limits=LimitsChange(completions_concurrent=limits.completions_concurrent),
                    billing_mode=mode,
                )
                self.key_ids[team] = (await service.create_key(team, "sim")).key_id
        self.invariants.ledger_stands(service)
        process.address = await Server(self.transport(process), {LEDGER_CALLS: service}).start(
            "sim"
        )
        process.run(self._keep_books(process, service))

    async def _keep_books(self, process: SimProcess, service: LedgerService) -> None:
        while service.fenced is None:
            await asyncio.sleep(_HOUSEKEEPING_S)
            try:
                await service.housekeeping()
            except CompletionRuntimeError:
                pass
        self.world.later(0.0, lambda: self.processes.kill(process, is_fault=False))

    async def _boot_registry(self, process: SimProcess) -> None:
        bits = self.world.rng.getrandbits(64)
        service = RegistryService(
            SimCluster(self),
            Links(self.transport(process), SimDirectory(self.processes, waits=True)),
            self.ledger_of(process),
            settings=self.settings,
            fingerprint=self.fingerprint,
            clock=SystemClock(),
            randbits=random.Random(bits).getrandbits,
            identity={"node_id": process.node_id},
        )
        await service.open()
        process.service = service
        listener = await Server(self.transport(process), {REGISTRY: service}).start("sim")
        process.address = listener

    async def _boot_carrier(self, process: SimProcess) -> None:
        provider = SimProvider(self.world, process, self.told)
        carrier = Carrier(
            _Owner(process),
            slots_max=self.settings.slots_max,
            provider_of=lambda _name: provider,
            ledger=self.ledger_of(process),
            clock=SystemClock(),
            settings=self.settings,
            fingerprint=self.fingerprint,
            on_began=partial(self.invariants.began, process),
            on_freed=partial(self.invariants.freed, process),
        )
        process.service = carrier
        process.address = await Server(self.transport(process), {CARRIER: carrier}).start("sim")
        process.run(carrier.reporter.run(self.registry_of(process)))
        process.run(carrier.checkpointer.run())

    async def _boot_replica(self, process: SimProcess) -> None:
        process.ledger_peer = self.peer(process, LEDGER)
        process.ledger = patient(process.ledger_peer)
        process.keys = Authenticator(process.ledger, admin_key_digest="")
        runtime = ReplicaRuntime(
            Links(self.transport(process), SimDirectory(self.processes), links_max=_LINKS_MAX),
            self.registry_of(process),
            process.ledger,
            settings=self.settings,
            replica=process.name,
            node_id=process.node_id,
        )
        process.leaving = Leaving(lambda: process.drains, self.proxies)
        process.background = Background()
        process.service = runtime
        narrow(process)
        process.address = self.network.listen(process, lambda _end: None)

    # The ways from one process to another.

    def ledger_of(self, process: SimProcess) -> Any:
        return patient(self.peer(process, LEDGER))

    def registry_of(self, process: SimProcess) -> Any:
        return REGISTRY.client(self.peer(process, REGISTRY_NAME))

    def peer(self, process: SimProcess, name: str) -> Peer:
        return Peer(self.transport(process), partial(self.processes.address_of, name))

    def transport(self, process: SimProcess) -> Any:
        return SimTransport(self.network, process)


class SimDirectory:
    """See `actors.ports.directory.Directory`. Args: waits: for a carrier that is starting."""

    def __init__(self, processes: Processes, *, waits: bool = False) -> None:
        self._processes = processes
        self._waits = waits

    async def address(self, carrier: str) -> Address:
        while True:
            try:
                return await self._processes.address_of(carrier)
            except ActorAway:
                if not self._waits:
                    raise
            await asyncio.sleep(0.05)


class SimCluster:
    """See `actors.ports.cluster.Cluster`: what the registry asks of Ray, here of `Processes`."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    async def nodes(self) -> list[str]:
        await asyncio.sleep(0.002)
        return list(NODES)

    async def living(self) -> list[str]:
        await asyncio.sleep(0.002)
        return [p.name for p in self._ring.processes.by_name.values() if p.role is Role.CARRIER]

    async def start(self, name: str, node_id: str) -> None:
        await asyncio.sleep(0.005)
        self._ring.processes.start(name, Role.CARRIER, node_id)

    async def end(self, name: str) -> None:
        await asyncio.sleep(0.002)
        process = self._ring.processes.by_name.get(name)
        if process is not None:
            self._ring.invariants.is_ended(process)
            self._ring.processes.kill(process, is_fault=False)

    async def died(self, name: str) -> None:
        await self._ring.processes.died(name)

    async def is_idle(self, name: str) -> bool:
        raise AssertionError(f"all are of one release, {name} too")

    async def wake_simulator(self) -> None:
        pass


class _Owner:
    def __init__(self, process: SimProcess) -> None:
        self.actor = process.name
        self.node_id = process.node_id
        self.pid = process.pid
