"""What Ray does for the ring: processes by name, started, watched, restarted, and word of their deaths.

Word of a death comes late. A singleton (registry, ledger) is started again by itself, as Ray does it for
detached actors.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any

from sqlalchemy.exc import OperationalError

from actors.core.errors import ActorAway
from actors.ports.directory import CarrierLost
from actors.ports.transport import Address
from tests.simulation.network import Network, SimConnection
from tests.simulation.world import World

__all__ = ["RING_ROLES", "Processes", "Role", "SimProcess"]

_log = logging.getLogger(__name__)

_WORD_S = (0.02, 1.5)
_RESTART_S = (0.05, 0.05, 0.05, 0.05, 0.3, 0.3, 0.3, 0.3, 1.0, 4.0)
_START_S = (0.1, 0.3)


class Role(StrEnum):
    REPLICA = "replica"
    REGISTRY = "registry"
    CARRIER = "carrier"
    LEDGER = "ledger"
    CLIENTS = "clients"


RING_ROLES = (Role.REPLICA, Role.REGISTRY, Role.CARRIER, Role.LEDGER)


class SimProcess:
    """One process: a loop, a name, connections, and whatever service runs in it."""

    def __init__(self, world: World, name: str, role: Role, node_id: str, pid: int) -> None:
        self.world = world
        self.name = name
        self.role = role
        self.node_id = node_id
        self.pid = pid
        self.loop = world.loop(name)
        self.context = contextvars.Context()
        self.connections: dict[SimConnection, None] = {}
        self.address: Address | None = None
        self.service: Any = None
        self.ledger: Any = None  # a replica's way to it
        self.ledger_peer: Any = None
        self.keys: Any = None  # who knows whose a key is
        self.leaving: Any = None  # who judges what a reader's end was
        self.background: Any = None  # what goes on though its request has ended
        self.died_at_s: float | None = None
        self.born_at_s = world.now_s
        self.is_known_dead = False
        self.drains = False  # a replica that gets no new request, and ends when it has none
        self.known_dead_at_s = 0.0
        self.frozen_s = 0.0
        self.frozen_at_s = 0.0
        self.thawed_at_s = -math.inf
        self.on_death: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<SimProcess {self.name}>"

    @property
    def is_dead(self) -> bool:
        return self.loop.is_dead

    @property
    def stands(self) -> bool:
        return self.address is not None and not self.is_dead

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Begin a task in this process, from outside of it."""
        if self.is_dead:
            work.close()
            return
        self.loop.call_soon(self._begin, work, context=self.context.copy())

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self.loop.create_task(work)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None and not self.is_dead:
            self.world.trouble.append(f"{self.name}: a task failed: {task.exception()!r}")


Boot = Callable[[SimProcess], Coroutine[Any, Any, None]]


class Processes:
    """Every process that there is, by name.

    Args:
        boots: what a process of a role does first; when that returns, it stands.
    """

    def __init__(self, world: World, network: Network, boots: dict[Role, Boot]) -> None:
        self.world = world
        self.network = network
        self.boots = boots
        self.by_name: dict[str, SimProcess] = {}
        self.by_loop: dict[Any, SimProcess] = {}
        self.on_death: list[Callable[[SimProcess], None]] = []
        self.deaths: dict[Role, int] = dict.fromkeys(Role, 0)
        self._pids = 0
        self._changed: list[tuple[SimProcess, asyncio.Future[None]]] = []

    def start(self, name: str, role: Role, node_id: str) -> SimProcess:
        self._pids += 1
        process = SimProcess(self.world, name, role, node_id, self._pids)
        self.by_name[name] = process
        self.by_loop[process.loop] = process
        rng = self.world.rng
        self.world.later(rng.uniform(*_START_S), lambda: process.run(self._boot(process)))
        return process

    def of(self, role: Role) -> list[SimProcess]:
        return [p for p in self.by_name.values() if p.role is role and not p.is_dead]

    def kill(self, process: SimProcess, *, is_fault: bool = True) -> None:
        if process.is_dead:
            return
        if is_fault:
            self.deaths[process.role] += 1
        process.died_at_s = self.world.now_s
        self.world.kill(process.loop)
        self.network.died(process)
        process.service = None
        del self.by_loop[process.loop]
        for tell in list(process.on_death):
            tell()
        for look in self.on_death:
            look(process)
        self.world.later(self.world.rng.uniform(*_WORD_S), lambda: self._word(process))
        if process.drains:
            del self.by_name[process.name]  # Another has taken its place already.
            return
        is_known = self.by_name.get(process.name) is process  # No other was started in its place.
        if is_known and process.role in (Role.REGISTRY, Role.LEDGER, Role.REPLICA):
            delay_s = self.world.rng.choice(_RESTART_S)
            self.world.later(delay_s, lambda: self._restart(process))

    def roll(self, process: SimProcess) -> None:
        """Put another replica in its place: this one gets no new request, and ends when it has none."""
        process.drains = True
        self.start(self._next_name(process), process.role, process.node_id)

    def _restart(self, process: SimProcess) -> None:
        name = process.name
        if process.role is Role.REPLICA:  # A replica is another one, with a name of its own.
            del self.by_name[name]
            name = self._next_name(process)
        self.start(name, process.role, process.node_id)

    def _next_name(self, replica: SimProcess) -> str:
        stem, _, number = replica.name.rpartition("-")
        return f"{stem}-{int(number) + 1}"

    def _word(self, process: SimProcess) -> None:
        process.is_known_dead = True
        process.known_dead_at_s = self.world.now_s
        if process.role is Role.CARRIER and self.by_name.get(process.name) is process:
            del self.by_name[process.name]
        told = [future for one, future in self._changed if one is process]
        self._changed = [entry for entry in self._changed if entry[0] is not process]
        for future in told:
            if not future.done() and not future.get_loop().is_dead:  # type: ignore[attr-defined]
                future.set_result(None)

    async def _boot(self, process: SimProcess) -> None:
        while True:
            try:
                await self.boots[process.role](process)
            except (ActorAway, OperationalError):
                await asyncio.sleep(0.1)  # Ray would start it again.
            else:
                return

    # What processes ask, each in its own loop.

    async def find(self, name: str) -> SimProcess:
        """Return a process that stands. Raises: CarrierLost: it is dead. ActorAway: not now."""
        await asyncio.sleep(0.001)
        process = self.by_name.get(name)
        if process is None or (process.is_known_dead and process.role is Role.CARRIER):
            raise CarrierLost
        if not process.stands:
            raise ActorAway(f"{name} does not answer now.")
        return process

    async def address_of(self, name: str) -> Address:
        address = (await self.find(name)).address
        assert address is not None
        return address

    async def died(self, name: str) -> None:
        """Return when there is word that it is dead."""
        process = self.by_name.get(name)
        if process is None or process.is_known_dead:
            return
        future = asyncio.get_running_loop().create_future()
        self._changed.append((process, future))
        await future
