"""Goal: a ring that is taken down starts nothing new, lets what runs end, and ends the rest in time.

Method: the service over a cluster and a ledger of plain objects, and whoever takes it down, on virtual time.
"""

from __future__ import annotations

import asyncio

import pytest

from actors.core.errors import ActorAway, Overloaded
from actors.ports.carrier import DRAIN_LEASE_S
from actors.registry.draining import SETTLE_TIMEOUT_S, drain_ring
from tests.registry.rig import Rig, make_rig, opened
from tests.registry.test_service import lease_all, now_s
from tests.support.virtual_time import run_virtual

ONE_CARRIER = {"streams_per_actor_max": 1, "actors_warm": 1, "actors_per_node": 1}


async def assert_starts(rig: Rig) -> None:
    assert await rig.registry.lease("r9", "n1", 1, 0)


async def assert_refuses(rig: Rig) -> None:
    with pytest.raises(Overloaded, match="shutting down") as raised:
        await rig.registry.lease("r9", "n1", 1, 0)
    assert raised.value.retry_after_s == 5.0


def test_what_waits_is_refused_and_what_runs_ends_by_itself() -> None:
    async def run() -> None:
        async with opened(make_rig(**ONE_CARRIER), warm=1) as rig:
            await lease_all(rig, "r1", 1)
            [carrier] = rig.cluster.carriers.values()
            carrier.running.append("one")
            waiting = asyncio.ensure_future(rig.registry.lease("r2", "n1", 1, 0))
            await asyncio.sleep(0)
            draining = asyncio.ensure_future(drain_ring(rig.registry, 30.0))
            with pytest.raises(Overloaded, match="shutting down"):
                await waiting
            await asyncio.sleep(20.0)
            await assert_refuses(rig)
            assert (await rig.registry.describe())["is_draining"]
            carrier.running.clear()
            assert await draining == 0
            assert now_s() < 25.0
            assert not any(carrier.drains)
            assert rig.pids == 1, "no process was started for who waited"

    run_virtual(run())


def test_what_does_not_end_in_time_is_cancelled_and_so_it_is_where_somebody_hurries() -> None:
    async def run(is_hurried: bool) -> float:
        async with opened(make_rig(**ONE_CARRIER), warm=1) as rig:
            [carrier] = rig.cluster.carriers.values()
            carrier.running.append("one")
            began_s = now_s()
            assert await drain_ring(rig.registry, 30.0, is_hurried=lambda: is_hurried) == 0
            assert carrier.drains[-1]
            return now_s() - began_s

    assert 30.0 <= run_virtual(run(False)) < 31.0
    assert run_virtual(run(True)) < 1.0


def test_a_carrier_that_does_not_say_counts_and_is_not_waited_for_without_end() -> None:
    async def run() -> None:
        async with opened(make_rig(**ONE_CARRIER), warm=1) as rig:
            foreign = rig.cluster.add("completion-foreign", is_other_release=True, running=["one"])
            await asyncio.sleep(11.0)  # It is found by the look for what lives.
            [carrier] = (c for c in rig.cluster.carriers.values() if c is not foreign)
            assert await rig.registry.drain(cancels=False) == 1
            carrier.is_silent = True
            assert await rig.registry.drain(cancels=False) == 2
            began_s = now_s()
            assert await drain_ring(rig.registry, 1.0) == 2
            assert now_s() - began_s < 1.0 + SETTLE_TIMEOUT_S + 5.0
            carrier.is_silent = False
            carrier.is_other_release = True
            foreign.running.clear()
            assert await rig.registry.drain(cancels=True) == 1, "out of reach is not gone"
            rig.cluster.is_away = True
            assert await rig.registry.drain(cancels=True) == 1
            rig.cluster.is_away = False
            rig.cluster.kill(carrier.name)
            rig.cluster.kill(foreign.name)
            assert await rig.registry.drain(cancels=True) == 0

    run_virtual(run())


def test_a_drain_that_nobody_orders_any_more_lapses() -> None:
    async def run() -> None:
        async with opened(make_rig(**ONE_CARRIER), warm=1) as rig:
            assert await rig.registry.drain(cancels=False) == 0
            await assert_refuses(rig)
            await asyncio.sleep(DRAIN_LEASE_S)
            await assert_starts(rig)

    run_virtual(run())


def test_a_registry_that_is_restarted_meanwhile_is_told_again() -> None:
    class Restarted:
        """Away three times, then mute, then there with nothing."""

        def __init__(self) -> None:
            self.orders = 0

        async def drain(self, *, cancels: bool) -> int:
            self.orders += 1
            if self.orders <= 3:
                raise ActorAway("It is being restarted.")
            if self.orders == 4:
                await asyncio.Event().wait()
            return 0

    async def run() -> None:
        registry = Restarted()
        assert await drain_ring(registry, 30.0) == 0  # type: ignore[arg-type]
        assert registry.orders == 5
        registry.orders = -1_000
        assert await drain_ring(registry, 0.5) == 1  # type: ignore[arg-type]
        assert now_s() < 20.0

    run_virtual(run())


def test_a_carrier_that_has_something_after_all_is_not_ended() -> None:
    """A replica that was taken for dead still has its slots, and started something in one just now."""

    async def run() -> None:
        rig = make_rig(actors_warm=1)
        old = rig.cluster.add("completion-old", fingerprint="before")
        async with opened(rig):
            old.running.append("one")  # It has not said so yet.
            await asyncio.sleep(5.0)
            assert rig.cluster.ended == []
            old.running.clear()
            await asyncio.sleep(2.0)
            assert rig.cluster.ended == [old.name]

    run_virtual(run())
