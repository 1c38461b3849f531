"""The registry: which carrier carries which completion, and the pool of carriers ready for the next.

A cache and never the truth: what it knows comes from the living carriers and from the store, and it is
rebuilt from both after a restart. It is off the token path, and a cancel that cannot reach it asks the
store instead.

Each subject has a module that decides (`pool`, `growth`, `waiters`, `locations`) or finds out
(`deaths`); here is what is done about it. Who starts and ends processes is the `Cluster`'s business, so
this runs on any event loop, a simulated one too. No Ray here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from actors.core.errors import CompletionRuntimeError, OtherDeploy, Overloaded
from actors.core.ids import format_ulid
from actors.ports.carrier import CarrierFacts
from actors.ports.clock import Clock
from actors.ports.cluster import CARRIER_PREFIX, Cluster
from actors.ports.directory import CarrierLost, Carriers
from actors.ports.ledger import CompletionKey, Located
from actors.ports.registry import CarrierReport, Slot
from actors.ports.runtime import CompletionRow
from actors.registry.deaths import Deaths, OpenCompletions
from actors.registry.draining import Drain, refusal
from actors.registry.growth import Growth
from actors.registry.locations import Locations
from actors.registry.pool import CarrierState, Pool, SlotAsk
from actors.registry.probes import PROBE_PAUSE_S, Probes
from actors.registry.recalls import Recalls
from actors.registry.waiters import Waiter, Waiters
from actors.settings import Settings

__all__ = ["RegistryService"]

_TICK_S = 1.0
_REFRESH_S = 5.0
_REAP_S = 10.0
_AGAIN_S = 1.0
"""Until what could not be done is tried again: after a restart the ledger is often away as well, and what
was open then has nobody until the first look for orphans."""

_IDLE_S = 120.0
"""How long a carrier beyond the warm ones lies idle before it is ended."""

_DESCRIBE_TIMEOUT_S = 5.0

_START_TIMEOUT_S = 30.0
"""How long a node starts nothing else while a new carrier does not answer; it may answer later."""

_SILENT_MAX_S = 180.0
"""How long a carrier that was started here may not answer before it is ended: it carries nothing."""

_SILENT_BEFORE_MAX_S = 45.0
"""How long one that an earlier registry started may not: it may hang, with all that it carries."""

_FIRST_WORDS_S = 1.5
"""After a restart, until every replica has said which slots it holds: they renew each second."""

_log = logging.getLogger(__name__)


class RegistryService:
    """Implements `actors.ports.registry.Registry`. Call `open` before anything else.

    Args:
        carriers: the ways to them.
        fingerprint: of the deploy; carriers of another one retire.
        randbits: draws so many random bits.
        identity: what else `describe` says: process and node.
    """

    def __init__(
        self,
        cluster: Cluster,
        carriers: Carriers,
        ledger: OpenCompletions,
        *,
        settings: Settings,
        fingerprint: str,
        clock: Clock,
        randbits: Callable[[int], int],
        identity: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._cluster = cluster
        self._carriers = carriers
        self._ledger = ledger
        self._settings = settings
        self._fingerprint = fingerprint
        self._clock = clock
        self._randbits = randbits
        self._identity = identity
        self._pool = Pool()
        self._growth = Growth(
            slots=settings.streams_per_actor,
            carriers_warm=settings.actors_warm,
            carriers_per_node=settings.actors_per_node,
        )
        self._waiters = Waiters()
        self._recalls = Recalls()
        self._locations = Locations()
        self._deaths = Deaths(cluster, ledger, carried=self._carried)
        self._probes = Probes(self._answers, own_node_id=identity.get("node_id", ""))
        self._tasks: set[asyncio.Task[None]] = set()
        self._not_ours: dict[str, float] = {}  # carriers of another release, since when
        self._silent: dict[str, float] = {}  # carriers that have not answered, until they are ended
        self._grown = asyncio.Event()
        self._grants_from_s = 0.0
        self._drain = Drain(self._carriers, cluster)

    def __repr__(self) -> str:
        return f"<RegistryService {self._pool!r}, {self._waiters.slots} waiting>"

    async def open(self) -> None:
        """Take in what lives, and begin to keep house. Raises: ActorAway: try again."""
        nodes = await self._cluster.nodes()
        await self._adopt_living()
        self._growth.set_nodes(nodes)  # Only now: what lives is enough, perhaps.
        if self._pool.carriers:
            self._grants_from_s = _now_s() + _FIRST_WORDS_S
        self._spawn(self._every(_TICK_S, self._tick))
        self._spawn(self._every(_REFRESH_S, self._refresh))
        self._spawn(self._every(_REAP_S, self._reap))
        self._spawn(self._every(PROBE_PAUSE_S, self._probe))

    async def aclose(self) -> None:
        """Stop keeping house; the carriers go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What replicas ask.

    async def lease(self, replica: str, node_id: str, count: int, given: int) -> list[Slot]:
        if self._drain.is_on:
            raise refusal()
        ask = SlotAsk(replica, node_id, count, given)
        began_s = _now_s()
        shares_at_s = began_s + self._settings.overflow_after_s
        deadline_s = began_s + self._settings.admission_timeout_s
        while True:
            await self._wait_for_slots(ask, shares_at_s, deadline_s)
            # Asked for again, since the carrier may have died in the turn of the loop that this took.
            slots = self._pool.lease(ask, shared=0, now_s=_now_s())
            if slots:
                return list(slots)

    async def renew(self, replica: str, held: dict[str, int], given: int) -> list[str]:
        unwanted = self._pool.renew(replica, held, given=given, now_s=_now_s())
        self._recalls.renewed(replica)
        self._serve()
        return unwanted

    def recalls(self, replica: str) -> AsyncIterator[int]:
        return self._recalls.of(replica)

    async def locate(self, key: CompletionKey) -> Located | None:
        return self._locations.get(key) or await self._ledger.find(key)

    async def rows(self) -> list[CompletionRow]:
        names = [state.name for state in self._pool.carriers if state.running]
        answers = await asyncio.gather(*map(self._describe, names))
        return [
            replace(row, shared_with=len(facts.rows) - 1)
            for facts in answers
            if facts
            for row in facts.rows
        ]

    async def describe(self) -> dict[str, Any]:
        carriers = self._pool.carriers
        return {
            **self._identity,
            "actors": len(carriers),
            "retiring": sum(state.is_retiring for state in carriers) + len(self._not_ours),
            "slots": sum(state.slots for state in carriers),
            "slots_max": sum(state.slots_max for state in carriers),
            "slots_free": sum(state.free for state in carriers),
            "running": sum(state.running for state in carriers),
            "sharing": sum(state.running for state in carriers if state.running > state.slots),
            "waiting": self._waiters.slots,
            "is_draining": self._drain.is_on,
            "nodes": sorted({state.node_id for state in carriers}),
        }

    # What carriers tell.

    async def report(self, report: CarrierReport) -> None:
        if report.actor not in self._pool:
            # It is dead, and its news would stay for ever; or it is about to be described.
            raise Overloaded("The registry does not know this carrier.")
        self._take_report(report)
        self._serve()

    # What the deployer asks.

    async def warm(self, carriers: int, timeout_s: float) -> int:
        self._grow()
        try:
            async with asyncio.timeout(timeout_s):
                while self._serving() < carriers:
                    self._grown.clear()
                    await self._grown.wait()
        except TimeoutError:
            pass
        return self._serving()

    async def drain(self, *, cancels: bool) -> int:
        self._drain.begin()
        self._waiters.refuse(refusal)
        return await self._drain.left(self._pool.carriers, self._not_ours, cancels=cancels)

    # Slots.

    async def _wait_for_slots(self, ask: SlotAsk, shares_at_s: float, deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter = Waiter(ask, shares_at_s, loop.create_future())
        self._waiters.add(waiter)
        timers: list[asyncio.TimerHandle] = []
        try:
            self._serve()
            if waiter.is_waiting:
                looks_s = {shares_at_s, self._grants_from_s}
                timers = [loop.call_at(at_s, self._serve) for at_s in looks_s if at_s > loop.time()]
                await asyncio.wait({waiter.served}, timeout=deadline_s - loop.time())
        finally:
            self._waiters.remove(waiter)
            for timer in timers:
                timer.cancel()
        if waiter.is_waiting:
            raise Overloaded("No actor came free in time.", retry_after_s=5.0)
        waiter.served.result()

    def _serve(self) -> None:
        """Give slots to those who wait, in the order they came; then grow for those who wait on.

        Whoever finds no free slot shares: at once where nothing gives hope for a free one, else when it
        has waited for `overflow_after_s`. Meanwhile replicas that hold slots unused give them back.
        """
        now_s = _now_s()
        if now_s >= self._grants_from_s:
            ahead = 0
            for waiter in self._waiters:
                if not self._serve_one(waiter, ahead, now_s):
                    ahead += waiter.ask.count
        self._grow()

    def _serve_one(self, waiter: Waiter, ahead: int, now_s: float) -> bool:
        ask = waiter.ask
        hope = 0
        if now_s < waiter.shares_at_s:
            hope = max(0, self._pool.hope(ask.replica) - ahead)
        if self._pool.lease(ask, shared=max(0, ask.count - hope), now_s=now_s):
            waiter.served.set_result(None)
            return True
        for holder in self._pool.holders_of_hope(ask.replica):
            self._recalls.recall(holder, ahead + ask.count)
        return False

    def _take_report(self, report: CarrierReport) -> None:
        state = self._pool[report.actor]
        if self._locations.take(report, state.node_id):
            began = len(report.began)
            self._pool.report(report.actor, running=report.running, began=began, now_s=_now_s())

    # Carriers.

    def _grow(self) -> None:
        carriers = self._pool.carriers
        # Who waits for no more than a moment, until it shares, has a place.
        homeless = max(0, self._waiters.slots - sum(state.room for state in carriers))
        if not self._drain.is_on:
            for node_id in self._growth.start_where(carriers, homeless):
                self._spawn(self._start_carrier(node_id))

    async def _start_carrier(self, node_id: str) -> None:
        ulid = format_ulid(int(self._clock.wall_s() * 1000), self._randbits(80))
        name = f"{CARRIER_PREFIX}{ulid.lower()}"
        self._silent[name] = _now_s() + _SILENT_MAX_S
        try:
            await self._cluster.start(name, node_id)
            await self._adopt(name, _START_TIMEOUT_S)
        except CompletionRuntimeError as error:
            _log.warning("a carrier did not start on node %s: %s", node_id, error)
            await asyncio.sleep(_TICK_S)
        except Exception:
            # Whatever stops a carrier from starting must not stop the registry; another is tried.
            _log.exception("a carrier did not start on node %s", node_id)
            await asyncio.sleep(_TICK_S)
        finally:
            self._growth.started(node_id)
        self._grow()

    async def _adopt_living(self) -> None:
        living = await self._cluster.living()
        unknown = [name for name in living if name not in self._pool]
        await asyncio.gather(*(self._adopt(name, _DESCRIBE_TIMEOUT_S) for name in unknown))
        self._not_ours = {n: since for n, since in self._not_ours.items() if n in living}
        for name, until_s in tuple(self._silent.items()):
            if _now_s() >= until_s:
                del self._silent[name]
                await self._end(name)

    async def _adopt(self, name: str, timeout_s: float) -> None:
        """Take a carrier in when it answers; one of another release is let go when it carries nothing."""
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    facts = await self._carriers.link(name).describe()
                except OtherDeploy:
                    await self._let_go(name)
                    return
        except CarrierLost:
            self._silent.pop(name, None)
        except (CompletionRuntimeError, TimeoutError):
            # The next look asks again.
            self._silent.setdefault(name, _now_s() + _SILENT_BEFORE_MAX_S)
        else:
            self._silent.pop(name, None)
            if name not in self._pool:
                self._take_in(name, facts)

    async def _let_go(self, name: str) -> None:
        """End a carrier that our calls do not reach, when it is idle or all that it had has timed out."""
        since_s = self._not_ours.setdefault(name, _now_s())
        has_timed_out = _now_s() - since_s >= self._settings.total_timeout_s
        if has_timed_out or await self._cluster.is_idle(name):
            await self._end(name)

    def _take_in(self, name: str, facts: CarrierFacts) -> None:
        is_retiring = facts.fingerprint != self._fingerprint
        self._pool.add(
            CarrierState(
                name, facts.node_id, facts.slots, facts.slots_max, is_retiring, used_at_s=_now_s()
            )
        )
        self._take_report(facts.report)
        self._spawn(self._mourn(name))
        self._grown.set()
        self._serve()

    async def _mourn(self, name: str) -> None:
        """Wait for a carrier's death, and do what is to be done then."""
        await self._deaths.watch(name)
        self._pool.remove(name)
        self._locations.forget(name)
        self._carriers.forget(name)
        self._serve()
        await self._deaths.lose(name)

    async def _end_idle(self, name: str) -> None:
        """End a carrier where it says itself that it has nothing: it takes nothing from then on.

        What the pool knows is not enough: a replica that was taken for dead has its slots still.
        """
        if name in self._pool and not await self._drain.told(self._pool[name], cancels=False):
            await self._end(name)

    async def _end(self, name: str) -> None:
        self._pool.remove(name)  # First of all: nobody is given a slot there any more.
        await self._cluster.end(name)
        self._carriers.forget(name)

    def _serving(self) -> int:
        return sum(not state.is_retiring for state in self._pool.carriers)

    # Asking carriers.

    async def _describe(self, name: str) -> CarrierFacts | None:
        try:
            async with asyncio.timeout(_DESCRIBE_TIMEOUT_S):
                return await self._carriers.link(name).describe()
        except (CarrierLost, CompletionRuntimeError, TimeoutError):
            return None

    async def _answers(self, name: str) -> bool:
        """Whether a carrier answers, and not whether it can be reached."""
        try:
            await self._carriers.link(name).ping()
        except (CarrierLost, CompletionRuntimeError):
            return False
        return True

    async def _carried(self, name: str) -> set[str] | None:
        facts = await self._describe(name)
        return None if facts is None else {row.id for row in facts.rows}

    # Housekeeping.

    async def _every(self, period_s: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do it again and again, whatever comes of it once."""
        while True:
            pause_s = period_s
            try:
                await work()
            except CompletionRuntimeError:
                pause_s = min(period_s, _AGAIN_S)  # The ledger or the cluster is away.
            except Exception:
                _log.exception("housekeeping failed")
            await asyncio.sleep(pause_s)

    async def _tick(self) -> None:
        now_s = _now_s()
        self._pool.expire(now_s=now_s)
        self._serve()
        if now_s < self._grants_from_s:
            return  # Some replica may be about to say that it holds a slot.
        warm = self._growth.slots_warm
        surplus = self._pool.surplus(idle_s=_IDLE_S, slots_warm=warm, now_s=now_s)
        await asyncio.gather(*map(self._end_idle, surplus))

    async def _probe(self) -> None:
        for name in await self._probes.look(self._pool.carriers):
            _log.warning("%s lives and does nothing: it is ended, with what it carries", name)
            await self._end(name)

    async def _refresh(self) -> None:
        self._growth.set_nodes(await self._cluster.nodes())
        await self._cluster.wake_simulator()

    async def _reap(self) -> None:
        await self._adopt_living()
        await self._deaths.find_orphans()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a task of the registry failed", exc_info=task.exception())


def _now_s() -> float:
    return asyncio.get_running_loop().time()
