"""The registry: which actor carries which completion, and the pool of actors ready for the next.

A named, detached actor that Ray restarts for ever. It is a cache and never the truth: what it knows
comes from the living actors and from the store, and it is rebuilt from both after a restart. It is off the
token path, and a cancel that cannot reach it asks the store instead.

It holds one unanswered call (`watch`) to every completion actor: when that breaks, the process is
dead, and the ledger is told to fail what it carried.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.calls import find_actor, from_carrier, from_singleton, has_failed
from actors.cluster.deployed import Deployed
from actors.core.errors import CompletionRuntimeError, Overloaded
from actors.core.ids import format_ulid
from actors.core.request import Dialect
from actors.ledger.client import LEDGER_NAME, RayLedger
from actors.ports.directory import CarrierLost
from actors.ports.ledger import CompletionKey, Located
from actors.ports.runtime import CompletionRow
from actors.registry.client import REGISTRY_NAME, CarrierReport
from actors.registry.pool_before import Pool
from actors.rpc.frames import Endpoint
from actors.rpc.server import DirectServer
from actors.settings import NAMESPACE, PROTOCOL_VERSION
from actors.simulator.actor import SIMULATOR_NAME

__all__ = ["RegistryActor"]

_CARRIER_PREFIX = "completion-"
_SINGLETONS = (REGISTRY_NAME, LEDGER_NAME)
_WAITERS_MAX = 10_000
"""Callers that wait for a slot; one more is told at once that we are overloaded."""
_TICK_S = 1.0
_REFRESH_TICKS = 5
_REAP_TICKS = 10
_IDLE_S = 120.0
_DESCRIBE_TIMEOUT_S = 5.0
_CALLS_MAX = 100_000
"""Concurrent calls of an actor: above every wait there can be, so that a cancel always gets in."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiter:
    """A replica that waits for up to `count` slots."""

    replica: str
    node_id: str
    count: int
    given: int
    future: asyncio.Future[list[str]]


class RegistryActor:
    """See the module. The constructor takes only the place where `Deployed` is kept."""

    def __init__(self, location: str) -> None:
        self._location = location
        deployed = Deployed.load(location)
        self._deployed = deployed
        self._settings = settings = deployed.settings
        self._pool = Pool(
            slots_per_carrier=settings.streams_per_actor,
            carriers_warm=settings.actors_warm,
            carriers_per_node=settings.actors_per_node,
        )
        self._handles: dict[str, Any] = {}
        self._located: dict[CompletionKey, Located] = {}
        self._keys: dict[str, CompletionKey] = {}
        self._waiters: deque[_Waiter] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = DirectServer(
            {
                "lease": self.lease,
                "renew": self.renew,
                "locate": self.locate,
                "report": self.report,
            },
            {},
        )
        self._endpoint: Endpoint | None = None
        self._opening: asyncio.Task[None] | None = None
        self._ledger: RayLedger
        self._missed: set[str] = set()  # open completions that the last look found with nobody
        self._is_draining = False

    def __repr__(self) -> str:
        return f"RegistryActor({self._pool!r})"

    async def endpoint(self) -> Endpoint:
        """Return where replicas lease, renew and locate, and completion actors report."""
        await self._ready()
        assert self._endpoint is not None, "the opening made it"
        return self._endpoint

    # What replicas ask.

    async def lease(self, replica: str, node_id: str, count: int, given: int) -> list[str]:
        """Lease up to `count` slots, at least one; waits for it up to `admission_timeout_s`.

        A replica has one such call under way at a time; `given` is how many slots it got before.

        Returns: an actor's name per slot.
        Raises: Overloaded.
        """
        await self._ready()
        if self._is_draining:
            raise Overloaded("Midstream is shutting down.")
        waiter = _Waiter(replica, node_id, count, given, asyncio.get_running_loop().create_future())
        if not self._waiters:
            names = self._lease(waiter)
            if names:
                self._grow()
                return names
        if len(self._waiters) >= _WAITERS_MAX:
            raise Overloaded("Too many requests wait for an actor.", retry_after_s=5.0)
        return await self._wait_for_slots(waiter)

    async def renew(self, replica: str, held: dict[str, int], given: int) -> None:
        """Take a replica's word for the slots it has; see `Pool.renew`."""
        await self._ready()
        self._pool.renew(replica, held, given=given, now_s=time.monotonic())
        self._serve_waiters()

    async def locate(self, key: CompletionKey) -> Located | None:
        """Return where a completion is; the store answers what is not known here."""
        await self._ready()
        return self._located.get(key) or await self._ledger.find(key)

    async def rows(self) -> list[CompletionRow]:
        """Return what every actor carries now; one that does not answer in time is left out."""
        await self._ready()
        names = [state.name for state in self._pool.carriers if state.running]
        answers = await asyncio.gather(*(self._describe(name) for name in names))
        return [row for answer in answers if answer for row in answer["rows"]]

    async def describe(self) -> dict[str, Any]:
        await self._ready()
        carriers = self._pool.carriers
        return {
            "protocol": PROTOCOL_VERSION,
            "kind": "registry",
            "pid": os.getpid(),
            "node_id": ray.get_runtime_context().get_node_id(),
            "actors": len(carriers),
            "slots": sum(state.slots for state in carriers),
            "slots_free": sum(state.free for state in carriers),
            "running": sum(state.running for state in carriers),
            "waiting": self._waiting(),
            "nodes": sorted({state.node_id for state in carriers}),
        }

    # What completion actors tell.

    async def report(self, report: CarrierReport) -> None:
        await self._ready()
        self._take_report(report)
        self._serve_waiters()
        self._grow()

    # What the deployer asks.

    async def warm(self, actors: int, timeout_s: float) -> int:
        """Wait until so many actors stand ready, or for the timeout; return how many do."""
        await self._ready()
        deadline_s = time.monotonic() + timeout_s
        while len(self._pool.carriers) < actors and time.monotonic() < deadline_s:
            self._grow()
            await asyncio.sleep(0.05)
        return len(self._pool.carriers)

    async def drain(self, timeout_s: float) -> None:
        """Give away no more slots; cancel what runs with source `shutdown` and wait for its settlement."""
        await self._ready()
        self._is_draining = True
        for waiter in self._waiters:
            if not waiter.future.done():
                waiter.future.set_exception(Overloaded("Midstream is shutting down."))
        shutdowns = [
            asyncio.ensure_future(from_carrier(handle.shut_down.remote(timeout_s)))
            for handle in self._handles.values()
        ]
        if shutdowns:
            done, _ = await asyncio.wait(shutdowns, timeout=timeout_s)
            for task in done:
                task.exception()

    # Opening: rebuild from what lives and what the store has.

    async def _ready(self) -> None:
        if self._opening is None or has_failed(self._opening):
            self._opening = asyncio.get_running_loop().create_task(self._open())
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        self._ledger = RayLedger(await find_actor(LEDGER_NAME))
        await self._refresh_nodes()
        await self._adopt_living()
        self._endpoint = await self._server.start(ray.util.get_node_ip_address())
        self._spawn(self._keep_house())

    async def _adopt_living(self) -> None:
        names = await asyncio.to_thread(_living_carriers)
        unknown = [name for name in names if name not in self._handles]
        await asyncio.gather(*(self._adopt(name) for name in unknown))

    async def _adopt(self, name: str) -> None:
        """Take in an actor that an earlier registry started; one of another protocol is let go."""
        try:
            handle = await find_actor(name)
            async with asyncio.timeout(_DESCRIBE_TIMEOUT_S):
                facts = await from_carrier(handle.describe.remote())
        except (CarrierLost, CompletionRuntimeError, TimeoutError):
            return
        if facts["protocol"] != PROTOCOL_VERSION:
            return
        self._take_in(name, handle, facts)

    def _take_in(self, name: str, handle: Any, facts: dict[str, Any]) -> None:
        self._handles[name] = handle
        self._pool.add(name, facts["node_id"], facts["slots"], now_s=time.monotonic())
        self._take_report(facts["report"])
        self._spawn(self._watch(name, handle))
        self._serve_waiters()

    # Deaths.

    async def _watch(self, name: str, handle: Any) -> None:
        while True:
            try:
                await from_carrier(handle.watch.remote())
            except CarrierLost:
                break
            except CompletionRuntimeError:
                await asyncio.sleep(_TICK_S)  # Out of reach is not dead: Ray will say which.
        self._pool.remove(name)
        self._handles.pop(name, None)
        self._grow()
        await self._lose(name)

    async def _lose(self, name: str) -> None:
        """Fail what a dead actor carried; the ledger is asked until it has done it."""
        while True:
            try:
                lost = await self._ledger.lose(name)
                break
            except CompletionRuntimeError:
                await asyncio.sleep(0.2)
        for completion_id in lost:
            self._forget(completion_id)

    async def _reap_orphans(self) -> None:
        """Fail open completions that nobody carries: nobody else will settle them.

        Their actor may be dead, or it may never have heard that their hold was placed. One whose actor
        lives is failed only when two looks in a row have missed it there: it may just have begun.
        """
        living = set(await asyncio.to_thread(_living_carriers))
        opened = await self._ledger.open_completions()
        carried = await self._carried({one.actor for one in opened} & living)
        orphans = {one.completion_id for one in opened if one.actor not in living}
        missed = {
            one.completion_id
            for one in opened
            if one.actor in carried and one.completion_id not in carried[one.actor]
        }
        orphans |= missed & self._missed
        self._missed = missed
        if orphans:
            await self._ledger.lose_completions(sorted(orphans))

    async def _carried(self, names: Iterable[str]) -> dict[str, set[str]]:
        """Return what each of these actors carries; one that does not answer in time is left out."""
        asked = list(names)
        answers = await asyncio.gather(*(self._describe(name) for name in asked))
        return {
            name: {row.id for row in answer["rows"]}
            for name, answer in zip(asked, answers, strict=True)
            if answer
        }

    # Slots.

    def _lease(self, waiter: _Waiter) -> list[str]:
        return self._pool.lease(
            waiter.replica,
            waiter.node_id,
            waiter.count,
            given=waiter.given,
            now_s=time.monotonic(),
        )

    async def _wait_for_slots(self, waiter: _Waiter) -> list[str]:
        self._waiters.append(waiter)
        self._grow()
        try:
            async with asyncio.timeout(self._settings.admission_timeout_s):
                return await waiter.future
        except TimeoutError:
            raise Overloaded("No actor came free in time.", retry_after_s=5.0) from None

    def _serve_waiters(self) -> None:
        """Hand free slots to those who wait, in the order they came."""
        while self._waiters:
            waiter = self._waiters[0]
            if not waiter.future.done():
                names = self._lease(waiter)
                if not names:
                    return
                waiter.future.set_result(names)
            self._waiters.popleft()

    def _take_report(self, report: CarrierReport) -> None:
        self._pool.report(report.actor, running=report.running, now_s=time.monotonic())
        for completion_id, team, dialect, wire_id in report.news:
            key = CompletionKey(team, Dialect(dialect), wire_id)
            self._keys[completion_id] = key
            self._located[key] = Located(completion_id, report.actor, "", is_settled=False)
        for completion_id in report.ended:
            self._forget(completion_id)

    def _forget(self, completion_id: str) -> None:
        key = self._keys.pop(completion_id, None)
        if key is not None:
            self._located.pop(key, None)

    def _grow(self) -> None:
        if self._is_draining:
            return
        for node_id in self._pool.start_where(self._waiting()):
            self._spawn(self._start_carrier(node_id))

    def _waiting(self) -> int:
        return sum(waiter.count for waiter in self._waiters if not waiter.future.done())

    async def _start_carrier(self, node_id: str) -> None:
        ulid = format_ulid(int(time.time() * 1000), secrets.randbits(80))
        name = f"{_CARRIER_PREFIX}{ulid.lower()}"
        try:
            handle = await asyncio.to_thread(_create_carrier, name, node_id, self._location)
            facts = await from_carrier(handle.describe.remote())
            self._take_in(name, handle, facts)
        except Exception:
            # Whatever stops an actor from starting must not stop the registry; the next tick tries again.
            _log.exception("an actor did not start on node %s", node_id)
            await asyncio.sleep(_TICK_S)
        finally:
            self._pool.started(node_id)
        self._grow()

    # Housekeeping.

    async def _keep_house(self) -> None:
        tick = 0
        while True:
            try:
                await self._tick(tick)
            except CompletionRuntimeError:
                pass  # The ledger is away; the next tick tries again.
            except Exception:
                _log.exception("housekeeping failed")
            tick += 1
            await asyncio.sleep(_TICK_S)

    async def _tick(self, tick: int) -> None:
        now_s = time.monotonic()
        self._pool.expire(now_s=now_s)
        self._serve_waiters()
        if tick % _REFRESH_TICKS == 0:
            await self._refresh_nodes()
            await self._wake_simulator()
        self._grow()
        for name in self._pool.surplus(idle_s=_IDLE_S, now_s=now_s):
            self._pool.remove(name)
            ray.kill(self._handles.pop(name))
        if tick % _REAP_TICKS == 0:
            await self._adopt_living()
            await self._reap_orphans()

    async def _refresh_nodes(self) -> None:
        nodes = await asyncio.to_thread(ray.nodes)
        self._pool.set_nodes(node["NodeID"] for node in nodes if node["Alive"])

    async def _wake_simulator(self) -> None:
        """A simulator that Ray restarted listens again only when somebody asks it."""
        if self._deployed.simulator_port:
            try:
                handle = await find_actor(SIMULATOR_NAME)
                await from_singleton(handle.describe.remote())
            except (CarrierLost, CompletionRuntimeError):
                _log.warning("the simulator does not answer")

    async def _describe(self, name: str) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(_DESCRIBE_TIMEOUT_S):
                facts: dict[str, Any] = await from_carrier(self._handles[name].describe.remote())
                return facts
        except (CarrierLost, CompletionRuntimeError, TimeoutError, KeyError):
            return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _living_carriers() -> list[str]:
    return [
        entry["name"]
        for entry in list_named_actors(all_namespaces=True)
        if entry["namespace"] == NAMESPACE
        and entry["name"].startswith(_CARRIER_PREFIX)
        and entry["name"] not in _SINGLETONS
    ]


def _create_carrier(name: str, node_id: str, location: str) -> Any:
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
