"""A registry over a cluster and a ledger of plain objects, on virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from actors.core.errors import ActorAway, OtherDeploy
from actors.core.request import Dialect
from actors.ports.carrier import CarrierFacts
from actors.ports.clock import SystemClock
from actors.ports.directory import CarrierLost
from actors.ports.ledger import Checkpoint, CompletionKey, Located
from actors.ports.registry import Began, CarrierReport
from actors.ports.runtime import CompletionRow
from actors.registry.service import RegistryService
from actors.settings import Settings

FINGERPRINT = "this-deploy"
START_S = 0.5


def key_of(completion_id: str) -> CompletionKey:
    return CompletionKey("team", Dialect.CHAT, completion_id)


@dataclass
class FakeCarrier:
    """A process that carries what it is told to."""

    name: str
    node_id: str
    fingerprint: str = FINGERPRINT
    slots: int = 1
    slots_max: int = 128
    running: list[str] = field(default_factory=list)
    number: int = 0
    is_silent: bool = False
    is_other_release: bool = False
    drains: list[bool] = field(default_factory=list)  # whether each order cancelled
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    dead: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self, began: list[str], ended: list[str]) -> CarrierReport:
        """Make the next report, of what began and ended just now."""
        self.running = [one for one in self.running if one not in ended] + began
        self.number += 1
        news = tuple(Began(one, key_of(one)) for one in began)
        return CarrierReport(self.name, self.number, len(self.running), news, tuple(ended))

    async def ping(self) -> None:
        await self._answers()

    async def describe(self) -> CarrierFacts:
        await self.ready.wait()
        await self._answers()
        began = tuple(Began(one, key_of(one)) for one in self.running)
        whole = CarrierReport(self.name, self.number, len(began), began, is_whole=True)
        rows = tuple(self._row(one) for one in self.running)
        return CarrierFacts(
            self.name,
            self.node_id,
            1,
            self.fingerprint,
            self.slots,
            self.slots_max,
            whole,
            rows,
        )

    async def drain(self, *, cancels: bool) -> int:
        await self._answers()
        self.drains.append(cancels)
        if cancels:
            self.running.clear()
        return len(self.running)

    async def _answers(self) -> None:
        if self.is_silent:
            await asyncio.Event().wait()
        if self.is_other_release:
            raise OtherDeploy("It is of another version.")
        if self.dead.is_set():
            raise CarrierLost

    def _row(self, one: str) -> CompletionRow:
        return CompletionRow(
            one, one, "team", "chat", "sim", "running", None, self.node_id, self.name, 1, 0, 0, 0, 0
        )


class FakeCluster:
    """The cluster and the ways to its carriers.

    `started` names what was started, in order; `ended` what the registry ended.
    """

    def __init__(self, settings: Settings, nodes: tuple[str, ...] = ("n1",)) -> None:
        self.settings = settings
        self.node_ids = nodes
        self.carriers: dict[str, FakeCarrier] = {}
        self.started: list[str] = []
        self.ended: list[str] = []
        self.starting = 0
        self.starting_most = 0
        self.start_s = START_S
        self.is_away = False
        self.forgotten: list[str] = []

    def add(self, name: str, node_id: str = "n1", **facts: object) -> FakeCarrier:
        """Let a carrier live that an earlier registry started."""
        slots = {"slots": self.settings.streams_per_actor, "slots_max": self.settings.slots_max}
        made = FakeCarrier(name, node_id, **{**slots, **facts})  # type: ignore[arg-type]
        made.ready.set()
        self.carriers[name] = made
        return made

    def kill(self, name: str) -> None:
        self.carriers[name].dead.set()
        del self.carriers[name]

    async def nodes(self) -> list[str]:
        self._reach()
        return list(self.node_ids)

    async def living(self) -> list[str]:
        self._reach()
        return list(self.carriers)

    async def start(self, name: str, node_id: str) -> None:
        self._reach()
        self.started.append(name)
        made = self.add(name, node_id)
        made.ready.clear()
        self.starting += 1
        self.starting_most = max(self.starting_most, self.starting)
        asyncio.get_running_loop().call_later(self.start_s, self._stands, made)

    async def end(self, name: str) -> None:
        self.ended.append(name)
        if name in self.carriers:
            self.kill(name)

    async def died(self, name: str) -> None:
        if name in self.carriers:
            await self.carriers[name].dead.wait()

    async def is_idle(self, name: str) -> bool:
        return not self._living(name).running

    # The ways to carriers.

    def link(self, name: str) -> FakeCarrier:
        self._reach()
        return self._living(name)

    def forget(self, name: str) -> None:
        self.forgotten.append(name)

    async def wake_simulator(self) -> None:
        self._reach()

    def _stands(self, carrier: FakeCarrier) -> None:
        self.starting -= 1
        carrier.ready.set()

    def _living(self, name: str) -> FakeCarrier:
        if name not in self.carriers:
            raise CarrierLost
        return self.carriers[name]

    def _reach(self) -> None:
        if self.is_away:
            raise ActorAway("The cluster did not answer.")


class FakeLedger:
    """`open` is what it holds open, by id; `lost` what it was told to fail."""

    def __init__(self) -> None:
        self.open: dict[str, str] = {}  # carriers by completion id
        self.settled: set[str] = set()
        self.lost: list[str] = []
        self.is_away = False

    async def find(self, key: CompletionKey) -> Located | None:
        self._reach()
        one = key.wire_id
        if one in self.open:
            return Located(one, self.open[one], "n1", is_settled=False)
        return Located(one, "", "", is_settled=True) if one in self.settled else None

    async def checkpoint(self, actor: str, stretches: list[Checkpoint]) -> dict[str, int]:
        self._reach()
        return {}

    async def lose(self, actor: str) -> list[str]:
        self._reach()
        return await self.lose_completions([one for one, at in self.open.items() if at == actor])

    async def lose_completions(self, completion_ids: list[str]) -> list[str]:
        self._reach()
        for one in completion_ids:
            if self.open.pop(one, None) is not None:
                self.lost.append(one)
                self.settled.add(one)
        return completion_ids

    async def open_completions(self) -> list[Located]:
        self._reach()
        return [Located(one, actor, "n1", is_settled=False) for one, actor in self.open.items()]

    def _reach(self) -> None:
        if self.is_away:
            raise ActorAway("The ledger is being restarted.")


@dataclass
class Rig:
    registry: RegistryService
    cluster: FakeCluster
    ledger: FakeLedger

    @property
    def pids(self) -> int:
        return len(self.cluster.started)


def make_rig(**settings: int) -> Rig:
    chosen = Settings().with_changes(**settings)
    cluster, ledger = FakeCluster(chosen), FakeLedger()
    registry = RegistryService(
        cluster,
        cluster,  # type: ignore[arg-type]
        ledger,
        settings=chosen,
        fingerprint=FINGERPRINT,
        clock=SystemClock(),
        randbits=random.Random(1).getrandbits,
    )
    return Rig(registry, cluster, ledger)


@asynccontextmanager
async def opened(rig: Rig, *, warm: int = 0) -> AsyncIterator[Rig]:
    """Open the registry, wait until so many carriers stand, and close it in the end."""
    await rig.registry.open()
    try:
        assert await rig.registry.warm(warm, 60.0) >= warm
        yield rig
    finally:
        await rig.registry.aclose()
