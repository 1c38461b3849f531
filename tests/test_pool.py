"""Goal: slots are given once, come back, and the pool grows ahead of need up to its ceiling."""

from __future__ import annotations

from actors.pool import RESERVATION_S, Pool


def pool(*, slots: int = 1, warm: int = 2, ceiling: int = 4, carriers: int = 0) -> Pool:
    made = Pool(slots_per_carrier=slots, carriers_warm=warm, carriers_per_node=ceiling)
    made.set_nodes(["n1"])
    for number in range(carriers):
        made.add(f"c{number}", "n1", slots, now_s=0)
    return made


def test_a_slot_is_given_once() -> None:
    two = pool(carriers=2)
    assert sorted(two.take("n1", 3, now_s=0)) == ["c0", "c1"]
    assert two.take("n1", 1, now_s=0) == []


def test_a_slot_comes_back_when_its_completion_ends() -> None:
    one = pool(carriers=1)
    one.take("n1", 1, now_s=0)
    one.report("c0", running=1, began=1, now_s=0)
    assert one.take("n1", 1, now_s=0) == []
    one.report("c0", running=0, began=1, now_s=0)
    assert one.take("n1", 1, now_s=0) == ["c0"]


def test_a_slot_that_never_begins_comes_back_by_itself() -> None:
    one = pool(carriers=1)
    one.take("n1", 1, now_s=0)
    one.expire(now_s=RESERVATION_S - 1)
    assert one.take("n1", 1, now_s=0) == []
    one.expire(now_s=RESERVATION_S)
    assert one.take("n1", 1, now_s=0) == ["c0"]


def test_the_callers_node_comes_first_and_the_fullest_carrier_there() -> None:
    dense = pool(slots=4, carriers=2)
    dense.add("far", "n2", 4, now_s=0)
    dense.report("c1", running=2, began=2, now_s=0)
    assert dense.take("n1", 3, now_s=0) == ["c1", "c1", "c0"]
    assert dense.take("n2", 1, now_s=0) == ["far"]


def test_the_pool_grows_to_what_is_warm_and_for_those_who_wait() -> None:
    empty = pool(warm=1)
    assert empty.start_where(0) == ["n1"]
    assert empty.start_where(0) == [], "one is on its way"
    assert empty.start_where(3) == ["n1"], "two at a time"
    assert empty.start_where(3) == []
    empty.started("n1")
    empty.add("c0", "n1", 1, now_s=0)
    assert empty.start_where(3) == ["n1"]


def test_the_pool_stops_at_its_ceiling() -> None:
    full = pool(carriers=4, ceiling=4)
    full.take("n1", 4, now_s=0)
    assert full.start_where(10) == []


def test_idle_carriers_beyond_the_warm_ones_are_surplus() -> None:
    four = pool(carriers=4, warm=2)
    four.report("c0", running=1, began=1, now_s=0)
    assert len(four.surplus(idle_s=60, now_s=61)) == 1
    assert four.surplus(idle_s=60, now_s=59) == []
