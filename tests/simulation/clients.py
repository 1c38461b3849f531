"""Clients: each lives one small story - start, read, leave, resume, retry, cancel, look, delete.

A client talks to any replica, as HTTP does on its behalf; a replica that dies ends what it was asked, and
the client goes to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from actors.core.errors import (
    AdmissionError,
    AlreadyStarted,
    CompletionIdInUse,
    CompletionNotFound,
    CompletionRuntimeError,
    IdempotencyConflict,
    IllegalTransition,
    NotCancellable,
    Overloaded,
)
from actors.core.events import CancelSource
from actors.core.record import CompletionRecord
from actors.core.request import StartCommand
from actors.ports.ledger import CompletionFilter, CompletionKey
from actors.ports.runtime import StartedCompletion
from serve_app.http.client_watch import ClientWatch
from serve_app.http.event_stream import StreamReading
from serve_app.http.watched_start import start_watched
from tests.simulation.invariants import Invariants
from tests.simulation.orders import draw_order
from tests.simulation.processes import Role, SimProcess
from tests.simulation.replica_request import ReplicaRequest, RequestGone, Tale
from tests.simulation.ring import NODES, Ring
from tests.simulation.strangers import STRANGERS
from tests.simulation.world import EPOCH_S

__all__ = ["Clients", "Traffic"]

_TRAFFIC = ((4, 1), (40, 1), (60, 30), (120, 60), (160, 80), (200, 100))
"""Clients at once, and how many of them come in the same moment, which is what fills batches."""

_TRIES = 3
_AGAIN_S = (1.0, 3.0, 8.0)
_LEAVES_S = (None, None, None, 0.0, 0.002, 0.004, 0.01, 0.2, 2.0)
_EARLY_S = (0.06, 0.06, 0.2)

_STRANGE = 0.2
"""How often somebody comes with a wave who means no good."""

_SLACK_S = 1.0

_BACK_S = (0.0, 0.3, 1.0, 3.0)
"""Until a client that lost its connection is back."""

_ALL_LEAVE = 0.03
"""How often, as a wave comes, most of those that read leave in the same moment."""

_ALL_LEAVE_WITHIN_S = 0.05


class _Lost:
    """What a client has whose connection was lost, and who did not leave."""

    def __bool__(self) -> bool:
        return False


LOST = _Lost()


class _CountedStarts:
    """A replica's runtime, whose starts are counted while they are under way."""

    def __init__(self, runtime: Any, process: SimProcess, invariants: Invariants) -> None:
        self._runtime = runtime
        self._process = process
        self._invariants = invariants

    async def start(self, command: StartCommand) -> StartedCompletion:
        self._invariants.starting[self._process] += 1
        try:
            started: StartedCompletion = await self._runtime.start(command)
        except CompletionRuntimeError:
            # Its client is told so, and reads nothing: where it runs all the same, it was left.
            self._invariants.readers.left(command.completion_id)
            raise
        finally:
            self._invariants.starting[self._process] -= 1
        return started


@dataclass(frozen=True, slots=True)
class Traffic:
    """How the clients of one storm come."""

    clients: int = 8
    """At once."""
    burst: int = 1
    """In the same moment."""
    plain: float = 0.0
    """The share of them that want an answer and nothing else."""

    @classmethod
    def drawn(cls, rng: Random, clients_max: int | None) -> Traffic:
        clients, burst = rng.choice(_TRAFFIC)
        clients = min(clients, clients_max or clients)
        return cls(clients, min(burst, clients), rng.choice((0.5, 0.8, 0.95)))


class Clients:
    """Keeps so many clients busy; `process` is where they all live, and no fault reaches it."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.world = ring.world
        self.invariants = ring.invariants
        self.process = SimProcess(ring.world, "clients", Role.CLIENTS, NODES[0], 0)
        ring.processes.by_loop[self.process.loop] = self.process
        self.active: dict[str, str] = {}  # what each client waits for, by its name
        self.reading: dict[ReplicaRequest, None] = {}
        self.traffic = Traffic()
        self.is_open = False
        self.comes_after_s = 0.0  # who hears that others are refused comes later
        self.errors: dict[str, int] = {}
        self._number = 0
        self.process.run(self._keep_busy())

    async def _keep_busy(self) -> None:
        rng = self.world.rng
        while True:
            if self.is_open:
                self._come_in_a_wave()
            await asyncio.sleep(rng.choice((0.001, 0.01, 0.05, 0.3)))

    def _come_in_a_wave(self) -> None:
        has_room = len(self.active) + self.traffic.burst <= self.traffic.clients
        if has_room and self.world.now_s >= self.comes_after_s:
            for _ in range(self.traffic.burst):
                self._come()
            if self.world.chance(_STRANGE):
                self._come_strange()
            if self.world.chance(_ALL_LEAVE):
                self._leave_together()

    def _come(self) -> None:
        self._number += 1
        client = _Client(self, f"c{self._number}")
        self.active[client.name] = "begins"
        is_plain = self.world.chance(self.traffic.plain)
        self.process.run(client.live(is_plain=is_plain))

    def _leave_together(self) -> None:
        self.world.step("act", f"{len(self.reading)} leave")
        for request in self.reading:
            if self.world.chance(0.9):
                self.world.later(self.world.rng.uniform(0.0, _ALL_LEAVE_WITHIN_S), request.leave)

    def replica(self) -> SimProcess | None:
        replicas = self.ring.processes.of(Role.REPLICA)
        standing = [p for p in replicas if p.stands and not p.drains]
        return self.world.rng.choice(standing) if standing else None

    def _come_strange(self) -> None:
        replica = self.replica()
        if replica is not None:
            self._number += 1
            does = self.world.rng.choice(STRANGERS)
            self.world.step("act", f"{does.__name__} {replica.name}")
            replica.run(does(replica, self.invariants, f"s{self._number}"))


class _Client:
    def __init__(self, clients: Clients, name: str) -> None:
        self._all = clients
        self._world = clients.world
        self._ring = clients.ring
        self._invariants = clients.invariants
        # Its own: what it does is its own story, whoever else comes.
        self._rng = Random(clients.world.rng.getrandbits(64))
        self.name = name
        self._ids = 0
        self._mine: list[str] = []
        self._meddling: set[asyncio.Task[None]] = set()

    async def live(self, *, is_plain: bool) -> None:
        try:
            await (self._be_served() if is_plain else self._story())
            if self._meddling:
                self._waits("for what it did beside")
                await asyncio.gather(*self._meddling)
        finally:
            del self._all.active[self.name]
            for completion_id in self._mine:
                self._world.later(200.0, lambda c=completion_id: self._invariants.forget(c))

    def _waits(self, what: str) -> None:
        self._all.active[self.name] = what

    # The story.

    async def _be_served(self) -> None:
        order = self._order()
        if order.team == "poor":
            self._beside(self._cancel_early(order))
        for _ in range(_TRIES):
            leaves_s = self._rng.choice(_LEAVES_S) if self._rng.random() < 0.15 else None
            if await self._start_and_read(order, leaves_s) or leaves_s is not None:
                return
            await asyncio.sleep(self._rng.choice(_AGAIN_S))
            order = self._anew(order)

    async def _story(self) -> None:
        rng = self._rng
        order = self._order()
        key = CompletionKey(order.team, order.dialect, order.wire_id)
        if rng.random() < 0.04:
            await self._asked_ledger("remember", lambda ledger: ledger.remember_cancellation(key))
        for _ in range(rng.choice((0, 0, 1))):
            self._beside(self._meddle(key, order))
        for number in range(_TRIES):
            if number:
                order = self._anew(order)
                key = CompletionKey(order.team, order.dialect, order.wire_id)
            if await self._try(order, key, is_again=number > 0):
                break
            await asyncio.sleep(rng.choice(_AGAIN_S))
        if rng.random() < 0.3:
            await self._look(key, order.completion_id)
        if rng.random() < 0.15:
            await self._delete(key)

    def _anew(self, order: StartCommand) -> StartCommand:
        """The same order, made again by its client."""
        order = replace(order, completion_id=self._new_id(), created_at_s=self._wall_s())
        if order.idempotency and order.idempotency.names_id:
            return order
        return replace(order, wire_id=order.completion_id)

    async def _try(self, order: StartCommand, key: CompletionKey, *, is_again: bool) -> bool:
        """Start, or attach to what an earlier try started; True when there is nothing more to want."""
        again = order.idempotency
        if again is not None and (is_again or self._rng.random() < 0.2):
            found = await self._asked("find", lambda runtime: runtime.find_started(key, again))
            if isinstance(found, CompletionRecord):
                header = found.header
                there = CompletionKey(header.team, header.dialect, header.wire_id)
                return await self._read_by(there, header.completion_id)
        if await self._start_and_read(order, self._rng.choice(_LEAVES_S)):
            return True
        if again is None and self._rng.random() < 0.5:
            return await self._read_by(key, order.completion_id)
        return False

    async def _start_and_read(self, order: StartCommand, leaves_s: float | None = None) -> bool:
        self._mine.append(order.completion_id)

        tale = Tale(self._invariants)

        async def start(runtime: Any, process: SimProcess, request: ReplicaRequest) -> bool:
            watch = request.watch()
            counted: Any = _CountedStarts(runtime, process, self._invariants)
            started = await start_watched(counted, order, watch, process.background)
            return await self._read(started.subscription, request, watch, tale)

        served = await self._served("start", start, leaves_s, reads=order.completion_id)
        return await self._read_on(order.completion_id, tale, served)

    async def _read_by(self, key: CompletionKey, completion_id: str) -> bool:
        tale = Tale(self._invariants)
        is_by_id = self._rng.random() < 0.2

        async def read(runtime: Any, _process: SimProcess, request: ReplicaRequest) -> bool:
            asked = runtime.subscribe_by_id(completion_id) if is_by_id else runtime.subscribe(key)
            subscription = await asked
            return await self._read(subscription, request, request.watch(), tale)

        leaves_s = self._rng.choice((None, None, 0.01, 1.0))
        served = await self._served("resume", read, leaves_s, reads=completion_id)
        return await self._read_on(completion_id, tale, served)

    async def _read_on(self, completion_id: str, tale: Tale, served: Any) -> bool:
        """Come back, where the connection was lost, and read on after what has been read."""
        for _ in range(_TRIES):
            if served is not LOST or self._rng.random() < 0.2:
                break
            await asyncio.sleep(self._rng.choice(_BACK_S))

            async def read(runtime: Any, _process: SimProcess, request: ReplicaRequest) -> bool:
                subscription = await runtime.subscribe_by_id(completion_id)
                return await self._read(subscription, request, request.watch(), tale)

            served = await self._served("read on", read, None, reads=completion_id)
        return bool(served)

    async def _read(
        self, subscription: Any, request: ReplicaRequest, watch: ClientWatch, tale: Tale
    ) -> bool:
        """Read to the end, in the replica, and tell the client what it has not had."""
        count, skipped = 0, tale.events
        request.is_reading = True
        async with StreamReading(subscription, watch, request.replica.background) as reading:
            while reading.finished is None:
                events = await reading.read()
                self._invariants.read(subscription.completion_id, count, events)
                fresh = events[max(0, skipped - count) :]
                count += len(events)
                if fresh:
                    request.tell(partial(tale.told, count - len(fresh), fresh))
        return True

    # What is done beside it.

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._meddling.add(task)

    async def _meddle(self, key: CompletionKey, order: StartCommand) -> None:
        rng = self._rng
        await asyncio.sleep(rng.choice((0.0, 0.003, 0.02, 0.1, 0.5, 2.0)))
        what = rng.random()
        if what < 0.5:
            await self._cancel(key, order.completion_id, is_by_id=rng.random() < 0.3)
        elif what < 0.65:
            await self._read_by(key, order.completion_id)
        elif what < 0.8:
            await self._look(key, order.completion_id)
        elif what < 0.85:
            await self._delete(key)
        elif what < 0.9 and order.idempotency is not None:
            other = replace(order, completion_id=self._new_id(), created_at_s=self._wall_s())
            await self._start_and_read(other, rng.choice(_LEAVES_S))
        elif what < 0.95:
            grant = f"g{rng.randrange(10**9)}"
            await self._asked_ledger(
                "grant", lambda ledger: ledger.grant_credits("poor", 15_000, grant)
            )
        else:
            await self._asked(
                "list",
                lambda runtime: runtime.list_completions(
                    CompletionFilter(team=order.team), limit=5, cursor=None
                ),
            )

    async def _cancel_early(self, order: StartCommand) -> None:
        """Cancel while the hold is being placed, which is then refused: by chance that is rare."""
        key = CompletionKey(order.team, order.dialect, order.wire_id)
        for pause_s in _EARLY_S:
            await asyncio.sleep(pause_s)
            await self._cancel(key, order.completion_id, is_by_id=False)

    async def _cancel(self, key: CompletionKey, completion_id: str, *, is_by_id: bool) -> None:
        source = self._rng.choice((CancelSource.CLIENT_REQUEST, CancelSource.ADMIN))
        timeout_s = self._ring.settings.cancel_timeout_s

        async def cancel(runtime: Any, process: SimProcess, _request: ReplicaRequest) -> Any:
            began_s, frozen_s = self._world.now_s, process.frozen_s
            try:
                if is_by_id:
                    return await runtime.cancel_by_id(completion_id, source)
                return await runtime.cancel(key, source)
            finally:
                took_s = self._world.now_s - began_s - (process.frozen_s - frozen_s)
                if took_s > timeout_s + _SLACK_S and not process.is_dead:
                    self._invariants.broken(f"a cancel took {took_s:.1f} s")

        answer = await self._served("cancel", cancel, None)
        if answer and not isinstance(answer, bool):
            found = answer.record
            if found.finished is None:
                self._invariants.broken("a cancel was answered with a record without an end")
            self._invariants.record(found.header.completion_id, found)

    async def _look(self, key: CompletionKey, completion_id: str) -> None:
        is_by_id = self._rng.random() < 0.3
        found = await self._asked(
            "get",
            lambda runtime: runtime.get_by_id(completion_id) if is_by_id else runtime.get(key),
        )
        if isinstance(found, CompletionRecord):
            self._invariants.record(found.header.completion_id, found)

    async def _delete(self, key: CompletionKey) -> None:
        async def delete(runtime: Any, _process: SimProcess, _request: ReplicaRequest) -> bool:
            await runtime.delete(key)
            return True

        if await self._served("delete", delete, None):
            self._waits("after delete")
            found = await self._asked("get deleted", lambda runtime: runtime.get(key))
            if isinstance(found, CompletionRecord) and not self._was_started_anew(key, found):
                self._invariants.broken(f"{key.wire_id} is shown after it was deleted")

    def _was_started_anew(self, key: CompletionKey, found: CompletionRecord) -> bool:
        return found.finished is None or found.header.completion_id != key.wire_id

    # Asking a replica.

    async def _asked(self, what: str, act: Callable[[Any], Awaitable[Any]]) -> Any:
        """Return what the runtime answers; None where it refuses or is away."""

        async def ask(runtime: Any, _process: SimProcess, _request: ReplicaRequest) -> Any:
            return await act(runtime)

        return await self._served(what, ask, None)

    async def _asked_ledger(self, what: str, act: Callable[[Any], Awaitable[Any]]) -> Any:
        """The same of what a replica asks the ledger without its runtime."""

        async def ask(_runtime: Any, process: SimProcess, _request: ReplicaRequest) -> Any:
            return await act(process.ledger)

        return await self._served(what, ask, None)

    async def _served(
        self,
        what: str,
        act: Callable[[Any, SimProcess, ReplicaRequest], Coroutine[Any, Any, Any]],
        leaves_s: float | None,
        *,
        reads: str | None = None,
    ) -> Any:
        """Do it in a replica; false where it was refused, the client left, or it is LOST."""
        self._waits(what)
        replica = self._all.replica()
        proxy = self._ring.proxies.draw(self._world.rng.choice)
        if replica is None or proxy is None:
            await asyncio.sleep(0.2)
            return False
        self._world.step("act", f"{what} {self.name} {replica.name}")
        request = ReplicaRequest(self._all.process, replica, proxy, self._invariants, reads=reads)
        if reads is not None:
            self._all.reading[request] = None
        replica.run(request.serve(act))
        if leaves_s is not None:
            self._world.later(leaves_s, request.leave)
        try:
            return await request.answer
        except RequestGone:
            return False if request.has_left else LOST
        except CompletionRuntimeError as error:
            self._refused(what, error)
            return False
        finally:
            self._all.reading.pop(request, None)

    def _refused(self, what: str, error: CompletionRuntimeError) -> None:
        name = f"{what}: {type(error).__name__}"
        self._all.errors[name] = self._all.errors.get(name, 0) + 1
        if isinstance(error, Overloaded):
            self._all.comes_after_s = self._world.now_s + error.retry_after_s
        if isinstance(error, IllegalTransition):
            self._invariants.broken(f"{what} raised {error!r}")
        if what == "cancel" and isinstance(error, AdmissionError):
            self._invariants.broken(f"a cancel was answered with {error!r}")
        if not isinstance(error, _EXPECTED):
            self._invariants.broken(f"{what} raised {error!r}")

    # The order.

    def _new_id(self) -> str:
        self._ids += 1
        return f"cmp_{self.name}_{self._ids}"

    def _wall_s(self) -> float:
        return EPOCH_S + self._world.now_s

    def _order(self) -> StartCommand:
        return draw_order(self._rng, self.name, self._new_id(), self._ring.key_ids, self._wall_s())


_EXPECTED = (
    AdmissionError,
    AlreadyStarted,
    CompletionIdInUse,
    CompletionNotFound,
    IdempotencyConflict,
    NotCancellable,
    Overloaded,
)
