"""Goal: no slot is lost and none is held for ever, whatever goes wrong in whichever turn of the loop.

Method: a replica's slots over a registry that is played here, on a loop that does not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from actors.core.errors import ActorAway, Overloaded
from actors.ports.ledger import CompletionKey, Located
from actors.ports.registry import Slot
from actors.ports.runtime import CompletionRow
from actors.replica.slots import Slots
from actors.testing import settle_loop
from tests.support.virtual_time import run_virtual


class PlayedRegistry:
    """Leases what it was offered; while that is nothing, whoever asks waits. `errors` are raised first."""

    def __init__(self) -> None:
        self._free: asyncio.Queue[Slot] = asyncio.Queue()
        self.shunned: list[str] = []
        self.wanted: asyncio.Queue[int | Exception] = asyncio.Queue()
        self.errors: list[BaseException] = []
        self.renew_errors: list[BaseException] = []
        self.asked: list[int] = []
        self.renewed: list[dict[str, int]] = []
        self.is_silent = False

    async def lease(self, replica: str, node_id: str, count: int, given: int) -> list[Slot]:
        self.asked.append(count)
        if self.errors:
            raise self.errors.pop(0)
        carriers = [await self._free.get()]
        while len(carriers) < count and not self._free.empty():
            carriers.append(self._free.get_nowait())
        return carriers

    def offer(self, *carriers: str) -> None:
        for carrier in carriers:
            self._free.put_nowait(Slot(carrier))

    async def renew(self, replica: str, held: dict[str, int], given: int) -> list[str]:
        self.renewed.append(held)
        if self.is_silent:
            await asyncio.sleep(3_600)
        if self.renew_errors:
            raise self.renew_errors.pop(0)
        return self.shunned

    async def recalls(self, replica: str) -> AsyncIterator[int]:
        while True:
            wanted = await self.wanted.get()
            if isinstance(wanted, Exception):
                raise wanted
            yield wanted

    async def locate(self, key: CompletionKey) -> Located | None:
        raise AssertionError("nothing is looked for here")

    async def rows(self) -> list[CompletionRow]:
        return []

    async def describe(self) -> dict[str, Any]:
        return {}


class Bench:
    def __init__(self, *, waiting_max: int = 100) -> None:
        self.registry = PlayedRegistry()
        self.slots = Slots(self.registry, replica="r", node_id="n1", waiting_max=waiting_max)

    def acquire(self, *, within_s: float = 30.0) -> asyncio.Task[Slot]:
        loop = asyncio.get_running_loop()
        return loop.create_task(self.slots.acquire(deadline_s=loop.time() + within_s))


Check = Callable[[Bench], Awaitable[None]]


def played(check: Check, **options: int) -> None:
    async def run() -> None:
        bench = Bench(**options)
        try:
            await check(bench)
        finally:
            await bench.slots.aclose()

    run_virtual(run())


def test_slots_are_asked_for_together_and_given_in_order() -> None:
    async def check(bench: Bench) -> None:
        waiting = [bench.acquire() for _ in range(3)]
        await settle_loop()
        bench.registry.offer("c0", "c1", "c2")
        got = await asyncio.gather(*waiting)
        assert [slot.carrier for slot in got] == ["c2", "c1", "c0"]
        assert bench.registry.asked == [3]

    played(check)


@pytest.mark.parametrize("turns", range(6))
def test_a_start_that_is_cancelled_as_it_gets_a_slot_leaves_it_to_the_next(turns: int) -> None:
    async def check(bench: Bench) -> None:
        bench.registry.offer("c0")
        slot = await bench.acquire()
        leaving, staying = bench.acquire(), bench.acquire()
        await settle_loop()
        bench.slots.release(slot, is_free=True)
        await settle_loop(turns)
        leaving.cancel()
        await settle_loop()
        if leaving.cancelled():
            assert await staying == Slot("c0")
        else:
            bench.slots.release(await leaving, is_free=True)
            assert await staying == Slot("c0")

    played(check)


def test_a_start_whose_time_is_over_as_it_gets_a_slot_has_it() -> None:
    async def check(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        bench.registry.offer("c0")
        slot = await bench.acquire()
        deadline_s = loop.time() + 5.0
        # Of timers for the same moment, the one that was made first fires first.
        loop.call_at(deadline_s, lambda: bench.slots.release(slot, is_free=True))
        assert await bench.slots.acquire(deadline_s=deadline_s) == Slot("c0")

    played(check)


def test_a_start_whose_time_is_over_leaves_nothing_behind() -> None:
    async def check(bench: Bench) -> None:
        with pytest.raises(Overloaded):
            await bench.acquire(within_s=5.0)
        bench.registry.offer("c0")
        await asyncio.sleep(5)
        assert bench.registry.renewed[-1] == {}, "the slot that came too late was let go"

    played(check)


def test_a_slot_of_a_dead_carrier_is_handed_to_nobody() -> None:
    async def check(bench: Bench) -> None:
        bench.registry.offer("c0")
        slot = await bench.acquire()
        waiting = bench.acquire()
        await settle_loop()
        bench.slots.lost(slot.carrier)
        bench.slots.release(slot, is_free=True)
        await settle_loop()
        assert not waiting.done()
        bench.registry.offer("c1")
        assert await waiting == Slot("c1")

    played(check)


def test_a_registry_that_offers_the_dead_is_asked_again_a_little_later() -> None:
    async def check(bench: Bench) -> None:
        bench.slots.lost("c0")
        bench.registry.offer("c0", "c0", "c0", "c1")
        assert await bench.acquire() == Slot("c1")
        assert bench.registry.asked == [1, 1, 1, 1]

    played(check)


def test_a_registry_that_is_away_is_waited_for() -> None:
    async def check(bench: Bench) -> None:
        bench.registry.errors = [ActorAway("Away."), ValueError("nonsense")]
        bench.registry.offer("c0")
        assert await bench.acquire() == Slot("c0")

    played(check)


def test_who_came_after_the_call_is_not_refused_by_its_answer() -> None:
    async def check(bench: Bench) -> None:
        answer: asyncio.Future[list[Slot]] = asyncio.get_running_loop().create_future()
        answers = [answer]
        leases = bench.registry.lease

        async def lease(replica: str, node_id: str, count: int, given: int) -> list[Slot]:
            return await (answers.pop() if answers else leases(replica, node_id, count, given))

        bench.registry.lease = lease  # type: ignore[method-assign]
        early = bench.acquire()
        await settle_loop()
        late = bench.acquire()
        await settle_loop()
        answer.set_exception(Overloaded("No actor came free in time."))
        with pytest.raises(Overloaded):
            await early
        assert not late.done()
        bench.registry.offer("c0")
        assert await late == Slot("c0")

    played(check)


def test_so_many_starts_may_wait() -> None:
    async def check(bench: Bench) -> None:
        waiting = [bench.acquire() for _ in range(2)]
        await settle_loop()
        with pytest.raises(Overloaded, match="Too many"):
            await bench.acquire()
        bench.registry.offer("c0", "c1")
        assert len(set(await asyncio.gather(*waiting))) == 2

    played(check, waiting_max=2)


@pytest.mark.parametrize("error", [ActorAway("Away."), ValueError("nonsense")])
def test_slots_are_renewed_whatever_a_renewal_met(error: Exception) -> None:
    async def check(bench: Bench) -> None:
        bench.registry.offer("c0")
        slot = await bench.acquire()
        bench.registry.renew_errors = [error]
        await asyncio.sleep(5.5)
        assert bench.registry.renewed == [{"c0": 1}] * 5
        bench.slots.release(slot, is_free=False)
        await asyncio.sleep(5.5)
        assert bench.registry.renewed[5:] == [{}], "and when there is none, it is said once"

    played(check)


def test_a_registry_that_was_cut_off_hears_of_the_slots_when_it_is_back() -> None:
    """A call to a host that is cut off neither ends nor breaks; leases end after 5 s without a word."""

    async def check(bench: Bench) -> None:
        bench.registry.offer("c0")
        await bench.acquire()
        bench.registry.is_silent = True
        await asyncio.sleep(7)
        bench.registry.is_silent = False
        told = len(bench.registry.renewed)
        await asyncio.sleep(4)
        assert len(bench.registry.renewed) > told
        assert "1 held" in repr(bench.slots)

    played(check)


def test_that_nothing_is_held_is_said_until_it_is_heard() -> None:
    async def check(bench: Bench) -> None:
        bench.registry.offer("c0")
        bench.slots.release(await bench.acquire(), is_free=False)
        bench.registry.renew_errors = [ActorAway("Away."), ActorAway("Away.")]
        await asyncio.sleep(10)
        assert bench.registry.renewed == [{}] * 3

    played(check)


def test_idle_slots_that_others_wait_for_are_given_up_at_once() -> None:
    async def check(bench: Bench) -> None:
        bench.registry.offer("c0", "c1")
        kept, spare = await asyncio.gather(bench.acquire(), bench.acquire())
        bench.slots.release(spare, is_free=True)
        bench.registry.wanted.put_nowait(3)
        await settle_loop()
        assert bench.registry.renewed == [{kept.carrier: 1}]

    played(check)


@pytest.mark.parametrize("error", [ActorAway("Away."), ValueError("nonsense")])
def test_recalls_are_followed_again_after_whatever_ended_them(error: Exception) -> None:
    async def check(bench: Bench) -> None:
        bench.registry.offer("c0", "c1")
        kept, spare = await asyncio.gather(bench.acquire(), bench.acquire())
        bench.registry.wanted.put_nowait(error)
        await asyncio.sleep(1.5)
        bench.slots.release(spare, is_free=True)
        bench.registry.wanted.put_nowait(1)
        await settle_loop()
        assert bench.registry.renewed[-1] == {kept.carrier: 1}

    played(check)


def test_a_carrier_that_the_registry_wants_back_is_used_no_more() -> None:
    async def check(bench: Bench) -> None:
        bench.registry.offer("c0")
        slot = await bench.acquire()
        bench.registry.shunned = ["c0"]
        await asyncio.sleep(1.5)
        waiting = bench.acquire()
        await settle_loop()
        bench.slots.release(slot, is_free=True)
        bench.registry.offer("c1")
        assert await waiting == Slot("c1")

    played(check)
