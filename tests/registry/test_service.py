"""Goal: whoever asks the registry is served, whatever dies meanwhile, and no start waits for a process.

Method: the service over a cluster and a ledger of plain objects, on virtual time.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from actors.core.errors import Overloaded
from actors.ports.registry import Slot
from tests.registry.rig import Rig, key_of, make_rig, opened
from tests.support.virtual_time import run_virtual


async def lease_all(rig: Rig, replica: str, count: int) -> list[Slot]:
    """Lease as a replica does: so many in all, as often as it takes."""
    slots: list[Slot] = []
    while len(slots) < count:
        slots += await rig.registry.lease(replica, "n1", count - len(slots), len(slots))
    return slots


async def run_there(rig: Rig, slots: list[Slot]) -> None:
    """Let a completion run in each of these slots, and their carriers say so."""
    for name, count in Counter(slot.carrier for slot in slots).items():
        began = [f"{name}-{number}" for number in range(count)]
        await rig.registry.report(rig.cluster.carriers[name].report(began, []))


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_an_idle_instance_gives_each_stream_a_process_of_its_own() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=4), warm=4) as rig:
            slots = await lease_all(rig, "r1", 2) + await lease_all(rig, "r2", 2)
            assert len({slot.carrier for slot in slots}) == 4
            assert not any(slot.is_shared for slot in slots)

    run_virtual(run())


def test_four_hundred_at_once_are_all_placed_without_a_new_process() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=4), warm=4) as rig:
            before, began_s = rig.pids, now_s()
            slots = await asyncio.gather(*(lease_all(rig, r, 200) for r in ("r1", "r2")))
            assert now_s() - began_s <= 2 * rig.cluster.settings.overflow_after_s + 0.01
            loads = Counter(slot.carrier for replica in slots for slot in replica)
            assert sorted(loads.values()) == [100, 100, 100, 100]
            assert set(loads) <= set(rig.cluster.started[:before])
            assert sum(not slot.is_shared for replica in slots for slot in replica) == 4

    run_virtual(run())


def test_strict_waits_for_a_process_of_its_own() -> None:
    async def run() -> None:
        settings = {"streams_per_actor_max": 1, "actors_warm": 1}
        async with opened(make_rig(**settings), warm=1) as rig:
            slots = await lease_all(rig, "r1", 6)
            assert len({slot.carrier for slot in slots}) == 6
            assert not any(slot.is_shared for slot in slots)

    run_virtual(run())


def test_strict_refuses_in_time_when_no_process_comes() -> None:
    async def run() -> None:
        settings = {"streams_per_actor_max": 1, "actors_warm": 1, "actors_per_node": 1}
        async with opened(make_rig(**settings), warm=1) as rig:
            await run_there(rig, await lease_all(rig, "r1", 1))
            began_s = now_s()
            with pytest.raises(Overloaded):
                await rig.registry.lease("r2", "n1", 1, 0)
            assert now_s() - began_s == pytest.approx(rig.cluster.settings.admission_timeout_s)

    run_virtual(run())


def test_growth_starts_one_at_a_time_while_streams_run_and_stops_at_what_is_warm() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=4), warm=4) as rig:
            rig.cluster.starting_most = 0
            slots = await lease_all(rig, "r1", 64)
            await run_there(rig, slots)
            held = Counter(slot.carrier for slot in slots)
            for _ in range(30):
                await asyncio.sleep(1.0)
                await rig.registry.renew("r1", dict(held), len(slots))
            assert rig.cluster.starting_most == 1
            assert len(rig.cluster.carriers) == 8, "four that run, four that are ready"

    run_virtual(run())


def test_an_idle_pool_grows_by_at_least_one_a_second() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=8), warm=8):
            assert now_s() <= 8.0

    run_virtual(run())


def test_leases_that_lie_idle_are_recalled_before_anyone_shares() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=2, actors_per_node=2), warm=2) as rig:
            idle = Counter(slot.carrier for slot in await lease_all(rig, "r1", 2))

            async def give_back() -> None:
                async for wanted in rig.registry.recalls("r1"):
                    assert wanted == 2
                    await rig.registry.renew("r1", {}, 2)

            giving = asyncio.ensure_future(give_back())
            await asyncio.sleep(0)
            slots = await lease_all(rig, "r2", 2)
            assert Counter(slot.carrier for slot in slots) == idle
            assert not any(slot.is_shared for slot in slots)
            giving.cancel()

    run_virtual(run())


def test_who_waits_for_a_replica_that_gives_nothing_back_shares_in_time() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=1, actors_per_node=1), warm=1) as rig:
            await lease_all(rig, "r1", 1)
            began_s = now_s()
            assert (await lease_all(rig, "r2", 1))[0].is_shared
            assert now_s() - began_s == pytest.approx(rig.cluster.settings.overflow_after_s)

    run_virtual(run())


def test_what_shares_is_named_to_its_replica_and_described() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=1, actors_per_node=1), warm=1) as rig:
            name = (await lease_all(rig, "r1", 3))[0].carrier
            await rig.registry.report(rig.cluster.carriers[name].report(["a", "b", "c"], []))
            assert await rig.registry.renew("r1", {name: 3}, 3) == [name]
            facts = await rig.registry.describe()
            assert (facts["running"], facts["sharing"], facts["slots_free"]) == (3, 3, 0)
            await rig.registry.report(rig.cluster.carriers[name].report([], ["a", "b"]))
            assert await rig.registry.renew("r1", {name: 1}, 3) == []

    run_virtual(run())


def test_a_slot_of_a_carrier_that_died_is_never_granted() -> None:
    async def run() -> None:
        rig = make_rig(streams_per_actor_max=1, actors_warm=1, actors_per_node=1)
        async with opened(rig, warm=1):
            (name,) = [slot.carrier for slot in await lease_all(rig, "r1", 1)]
            waiting = asyncio.ensure_future(rig.registry.lease("r2", "n1", 1, 0))
            await asyncio.sleep(0)
            # Its slot comes free and goes to the one who waits; in the same turn it dies.
            rig.cluster.kill(name)
            renewing = asyncio.ensure_future(rig.registry.renew("r1", {}, 1))
            (slot,) = await waiting
            await renewing
            assert slot.carrier != name
            assert slot.carrier in rig.cluster.carriers
            # The replica's word is understood: what it was granted is counted once.
            await rig.registry.renew("r2", {}, 1)
            assert (await rig.registry.describe())["slots_free"] == 1

    run_virtual(run())


def test_an_answer_that_was_lost_is_given_again_without_what_died() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=2), warm=2) as rig:
            first = await rig.registry.lease("r1", "n1", 2, 0)
            assert await rig.registry.lease("r1", "n1", 2, 0) == first
            rig.cluster.kill(first[0].carrier)
            await asyncio.sleep(0.1)
            assert await rig.registry.lease("r1", "n1", 2, 0) == [first[1]]

    run_virtual(run())


def test_a_grant_that_never_arrived_is_not_leased_for_ever() -> None:
    async def run() -> None:
        settings = {"streams_per_actor_max": 1, "actors_warm": 1, "actors_per_node": 1}
        async with opened(make_rig(**settings), warm=1) as rig:
            await rig.registry.lease("r1", "n1", 1, 0)
            for _ in range(8):  # It goes on saying that it has none, and does not ask again.
                await asyncio.sleep(1.0)
                await rig.registry.renew("r1", {}, 0)
            assert (await rig.registry.describe())["slots_free"] == 1

    run_virtual(run())


def test_those_who_wait_are_bounded_by_the_slots_that_they_want() -> None:
    async def run() -> None:
        settings = {"streams_per_actor_max": 1, "actors_warm": 1, "actors_per_node": 1}
        async with opened(make_rig(**settings), warm=1) as rig:
            await lease_all(rig, "r0", 1)
            waiting = asyncio.ensure_future(rig.registry.lease("r1", "n1", 9_999, 0))
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="Too many"):
                await rig.registry.lease("r2", "n1", 2, 0)
            again = asyncio.ensure_future(rig.registry.lease("r1", "n1", 9_999, 0))
            with pytest.raises(Overloaded, match="asked again"):
                await waiting
            assert (await rig.registry.describe())["waiting"] == 9_999
            again.cancel()

    run_virtual(run())


def test_a_carrier_that_dies_before_it_reports_an_end_leaves_no_location() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=1), warm=1) as rig:
            carrier = next(iter(rig.cluster.carriers.values()))
            await rig.registry.report(carrier.report(["one"], []))
            rig.ledger.settled.add("one")
            last = carrier.report([], ["one"])
            rig.cluster.kill(carrier.name)
            await asyncio.sleep(0.1)
            located = await rig.registry.locate(key_of("one"))
            assert located is not None
            assert located.is_settled, "the store knows"
            # Nor does news of it that comes late.
            with pytest.raises(Overloaded):
                await rig.registry.report(last)

    run_virtual(run())


def test_a_report_that_comes_late_changes_nothing() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=1), warm=1) as rig:
            carrier = next(iter(rig.cluster.carriers.values()))
            early, late = carrier.report(["one"], []), carrier.report([], ["one"])
            await rig.registry.report(late)
            await rig.registry.report(early)
            assert await rig.registry.locate(key_of("one")) is None

    run_virtual(run())


def test_a_dead_carriers_completions_are_lost_once_the_ledger_is_back() -> None:
    async def run() -> None:
        async with opened(make_rig(actors_warm=1), warm=1) as rig:
            name = next(iter(rig.cluster.carriers))
            rig.ledger.open["one"] = name
            rig.ledger.is_away = True
            rig.cluster.kill(name)
            await asyncio.sleep(3.0)
            assert rig.ledger.lost == []
            rig.ledger.is_away = False
            await asyncio.sleep(1.9)
            assert rig.ledger.lost == [], "who mirrors it is heard first"
            await asyncio.sleep(0.5)
            assert rig.ledger.lost == ["one"]

    run_virtual(run())


def test_orphans_are_lost_and_what_began_meanwhile_is_not() -> None:
    async def run() -> None:
        rig = make_rig(actors_warm=1)
        async with opened(rig, warm=1):
            name = next(iter(rig.cluster.carriers))
            rig.ledger.open |= {"of-nobody": "completion-gone", "never-began": name}
            read = rig.ledger.open_completions

            async def open_one_meanwhile() -> object:
                # A carrier starts and its first completion opens between the two looks.
                opened_before = await read()
                if "young" not in rig.cluster.carriers:
                    rig.cluster.add("young").running.append("of-young")
                    rig.ledger.open["of-young"] = "young"
                return opened_before

            rig.ledger.open_completions = open_one_meanwhile  # type: ignore[method-assign,assignment]
            await asyncio.sleep(12.5)
            assert rig.ledger.lost == ["of-nobody"]
            await asyncio.sleep(12.5)
            assert rig.ledger.lost == ["of-nobody", "never-began"]

    run_virtual(run())


def test_orphans_are_looked_for_as_soon_as_the_ledger_is_back() -> None:
    """Registry, ledger and carrier die together where their host does; nobody tells of that death."""

    async def run() -> None:
        rig = make_rig()
        rig.ledger.open["of-nobody"] = "completion-gone"
        rig.ledger.is_away = True
        async with opened(rig):
            await asyncio.sleep(2.5)
            rig.ledger.is_away = False
            await asyncio.sleep(3.5)
            assert rig.ledger.lost == ["of-nobody"]

    run_virtual(run())


def test_a_carrier_that_never_answers_does_not_stop_its_nodes_growth_and_is_ended() -> None:
    async def run() -> None:
        rig = make_rig(actors_warm=1)
        rig.cluster.start_s = 10_000.0
        async with opened(rig):
            await asyncio.sleep(1.0)
            (stuck,) = rig.cluster.started
            rig.cluster.start_s = 0.5
            assert await rig.registry.warm(1, 60.0) == 1
            await asyncio.sleep(200.0)
            assert rig.cluster.ended == [stuck]

    run_virtual(run())


def test_carriers_of_another_deploy_finish_what_they_carry_and_end() -> None:
    async def run() -> None:
        rig = make_rig(actors_warm=1)
        idle = rig.cluster.add("completion-idle", fingerprint="before")
        busy = rig.cluster.add("completion-busy", fingerprint="before", running=["one"])
        foreign = rig.cluster.add("completion-foreign", is_other_release=True, running=["two"])
        async with opened(rig, warm=1):
            slots = await lease_all(rig, "r1", 3)
            assert {slot.carrier for slot in slots} == set(rig.cluster.started[:1])
            await asyncio.sleep(12.0)
            assert rig.cluster.ended == [idle.name]
            assert (await rig.registry.describe())["retiring"] == 2
            located = await rig.registry.locate(key_of("one"))
            assert located is not None
            assert located.actor == busy.name
            foreign.running.clear()
            await rig.registry.report(busy.report([], ["one"]))
            await asyncio.sleep(12.0)
            assert rig.cluster.ended == [idle.name, busy.name, foreign.name]

    run_virtual(run())


def test_a_replica_is_told_not_to_use_a_carrier_that_is_to_end() -> None:
    async def run() -> None:
        rig = make_rig(actors_warm=1)
        rig.cluster.add("completion-old", fingerprint="before")
        async with opened(rig):
            assert await rig.registry.renew("r1", {"completion-old": 1}, 5) == ["completion-old"]
            await asyncio.sleep(1.1)
            assert rig.cluster.ended == []
            await rig.registry.renew("r1", {}, 5)
            await asyncio.sleep(2.0)
            assert rig.cluster.ended == ["completion-old"]

    run_virtual(run())


def test_a_registry_that_was_restarted_waits_for_the_replicas_words() -> None:
    async def run() -> None:
        rig = make_rig(actors_warm=1, actors_per_node=2)
        rig.cluster.add("completion-held")
        rig.cluster.add("completion-free")
        async with opened(rig):
            asking = asyncio.ensure_future(rig.registry.lease("r2", "n1", 1, 0))
            await asyncio.sleep(1.0)
            assert not asking.done()
            await rig.registry.renew("r1", {"completion-held": 1}, 9)
            assert await asking == [Slot("completion-free")]

    run_virtual(run())


def test_idle_carriers_beyond_the_warm_ones_end_and_rows_come_from_the_others() -> None:
    async def run() -> None:
        rig = make_rig(actors_warm=1)
        for number in range(4):
            rig.cluster.add(f"completion-{number}")
        rig.cluster.carriers["completion-0"].running += ["a", "b"]
        rig.cluster.carriers["completion-1"].running += ["c"]
        async with opened(rig):
            rig.cluster.carriers["completion-1"].is_silent = True
            assert [(row.id, row.shared_with) for row in await rig.registry.rows()] == [
                ("a", 1),
                ("b", 1),
            ]
            rig.cluster.carriers["completion-1"].is_silent = False
            await asyncio.sleep(125.0)
            assert len(rig.cluster.ended) == 1

    run_virtual(run())


def test_a_cluster_that_is_away_stops_nothing_for_good() -> None:
    async def run() -> None:
        rig = make_rig(actors_warm=1)
        async with opened(rig, warm=1):
            rig.cluster.is_away = True
            await run_there(rig, await lease_all(rig, "r1", 1))
            await asyncio.sleep(30.0)
            rig.cluster.is_away = False
            assert await rig.registry.warm(2, 10.0) == 2

    run_virtual(run())
