"""Goal: a carrier that hangs is found within 15 s; neither a cut network nor a stopped registry is one."""

from __future__ import annotations

import asyncio
import logging

import pytest

from actors.registry.pool import CarrierState
from actors.registry.probes import PROBE_PAUSE_S, Probes
from tests.registry.rig import make_rig, opened
from tests.support.virtual_time import run_virtual


class Asked:
    """Carriers by name: `silent` ones never answer, `broken` ones cannot be asked."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.broken: set[str] = set()
        self.asked: list[str] = []

    async def __call__(self, name: str) -> bool:
        self.asked.append(name)
        if name in self.silent:
            await asyncio.Event().wait()
        return name not in self.broken


def carrier(name: str, node_id: str = "n1", *, running: int = 1) -> CarrierState:
    return CarrierState(name, node_id, slots=1, slots_max=4, running=running)


async def found(probes: Probes, *carriers: CarrierState, within_s: float) -> list[str]:
    """Look again and again, as the registry does; return what was found by then."""
    now_s = asyncio.get_running_loop().time
    until_s = now_s() + within_s
    while now_s() < until_s:
        hung = await probes.look(carriers)
        if hung:
            return hung
        await asyncio.sleep(PROBE_PAUSE_S)
    return []


def test_what_hangs_beside_the_registry_is_found_in_time() -> None:
    async def run() -> None:
        asked = Asked()
        probes = Probes(asked, own_node_id="n1")
        well, stuck = carrier("well"), carrier("stuck")
        assert await found(probes, well, stuck, within_s=60.0) == []
        asked.silent.add("stuck")
        began_s = asyncio.get_running_loop().time()
        assert await found(probes, well, stuck, within_s=60.0) == ["stuck"]
        assert asyncio.get_running_loop().time() - began_s <= 15.0 - PROBE_PAUSE_S
        assert repr(probes) == "<Probes 1 silent of 2>"

    run_virtual(run())


def test_on_another_node_a_neighbour_must_have_answered_all_the_while() -> None:
    async def run() -> None:
        asked = Asked()
        asked.silent = {"stuck", "cut-1", "cut-2"}
        probes = Probes(asked, own_node_id="n1")
        there = carrier("stuck", "n2"), carrier("idle", "n2", running=0), carrier("other", "n2")
        cut_off = carrier("cut-1", "n3"), carrier("cut-2", "n3", running=0)
        assert await found(probes, *there, *cut_off, within_s=60.0) == ["stuck"]
        asked.silent = {"cut-1"}  # The network is back, and this one not quite.
        assert await probes.look(cut_off) == []
        asked.silent = set()
        assert await found(probes, *cut_off, within_s=60.0) == []

    run_virtual(run())


def test_what_cannot_be_asked_is_not_hung_and_what_lies_idle_is_not_asked() -> None:
    async def run() -> None:
        asked = Asked()
        asked.broken = {"broken"}
        probes = Probes(asked, own_node_id="n1")
        known = carrier("broken"), *(carrier(f"idle-{n}", running=0) for n in range(9))
        assert await found(probes, *known, within_s=30.0) == []
        assert set(asked.asked) == {"broken", "idle-0"}, "it, and one neighbour"

    run_virtual(run())


def test_one_answer_in_between_is_enough() -> None:
    async def run() -> None:
        asked = Asked()
        probes = Probes(asked, own_node_id="n1")
        for _ in range(5):
            for silent in ({"slow"}, {"slow"}, set[str]()):
                asked.silent = silent
                assert await probes.look([carrier("slow")]) == []

    run_virtual(run())


def test_the_registry_ends_what_hangs_and_its_completions_are_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        rig = make_rig(actors_warm=2)
        async with opened(rig, warm=2):
            stuck = next(iter(rig.cluster.carriers.values()))
            await rig.registry.report(stuck.report(["one"], []))
            rig.ledger.open["one"] = stuck.name
            await asyncio.sleep(15.0)
            stuck.is_silent = True
            await asyncio.sleep(14.9)
            assert rig.cluster.ended == [stuck.name]
            await asyncio.sleep(2.2)
            assert rig.ledger.lost == ["one"]

    with caplog.at_level(logging.WARNING):
        run_virtual(run())
    assert "lives and does nothing" in caplog.text


def test_what_hung_before_the_registry_came_is_ended_too() -> None:
    async def run() -> None:
        rig = make_rig(actors_warm=1)
        stuck = rig.cluster.add("completion-stuck", running=["one"], is_silent=True)
        rig.ledger.open["one"] = stuck.name
        async with opened(rig, warm=1):
            await asyncio.sleep(75.0)
            assert stuck.name in rig.cluster.ended
            assert rig.ledger.lost == ["one"]

    run_virtual(run())
