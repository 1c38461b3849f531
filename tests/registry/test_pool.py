"""Goal: slots are leased once, come back, and the pool grows ahead of need up to its ceiling."""

from __future__ import annotations

from actors.registry.pool_before import LEASE_S, Pool


def pool(*, slots: int = 1, warm: int = 2, ceiling: int = 4, carriers: int = 0) -> Pool:
    made = Pool(slots_per_carrier=slots, carriers_warm=warm, carriers_per_node=ceiling)
    made.set_nodes(["n1"])
    for number in range(carriers):
        made.add(f"c{number}", "n1", slots, now_s=0)
    return made


def lease(of: Pool, count: int = 1, *, replica: str = "r", node: str = "n1", given: int = 0):
    return of.lease(replica, node, count, given=given, now_s=0)


def test_a_slot_is_leased_once() -> None:
    two = pool(carriers=2)
    assert sorted(lease(two, 3)) == ["c0", "c1"]
    assert lease(two, given=2) == []


def test_a_slot_comes_back_when_its_replica_does_not_name_it_any_more() -> None:
    two = pool(carriers=2)
    lease(two, 2)
    two.renew("r", {"c1": 1}, given=2, now_s=1)
    assert lease(two, replica="other") == ["c0"]


def test_a_slot_in_which_something_runs_is_not_free_whoever_leased_it() -> None:
    one = pool(carriers=1)
    lease(one)
    one.report("c0", running=1, now_s=0)
    one.renew("r", {}, given=1, now_s=1)
    assert lease(one, replica="other") == []
    one.report("c0", running=0, now_s=0)
    assert lease(one, replica="other") == ["c0"]


def test_a_word_that_crossed_a_grant_frees_nothing() -> None:
    one = pool(carriers=1)
    lease(one)
    one.renew("r", {}, given=0, now_s=1)
    assert lease(one, replica="other") == []


def test_who_asks_again_since_the_answer_was_lost_is_given_the_same() -> None:
    """A call is made again when its connection broke; who waits on would never be silent either."""
    two = pool(carriers=2)
    assert lease(two) == lease(two), "the other slot is for others"
    assert lease(two, given=1) == ["c1"]
    assert lease(two, given=2) == []
    assert lease(two, given=2) == []


def test_the_slots_of_a_silent_replica_come_back() -> None:
    one = pool(carriers=1)
    lease(one)
    one.expire(now_s=LEASE_S - 1)
    assert lease(one, replica="other") == []
    one.expire(now_s=LEASE_S)
    assert lease(one, replica="other") == ["c0"]


def test_a_pool_that_forgot_everything_takes_the_replicas_word() -> None:
    fresh = pool(carriers=2)
    fresh.renew("r", {"c0": 1}, given=17, now_s=0)
    assert lease(fresh, 2, replica="other") == ["c1"]


def test_the_replicas_node_comes_first_and_the_fullest_carrier_there() -> None:
    dense = pool(slots=4, carriers=2)
    dense.add("far", "n2", 4, now_s=0)
    dense.report("c1", running=2, now_s=0)
    assert lease(dense, 3) == ["c1", "c1", "c0"]
    assert lease(dense, node="n2", replica="other") == ["far"]


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
    lease(full, 4)
    assert full.start_where(10) == []


def test_idle_carriers_beyond_the_warm_ones_are_surplus() -> None:
    four = pool(carriers=4, warm=2)
    four.report("c0", running=1, now_s=0)
    assert len(four.surplus(idle_s=60, now_s=61)) == 1
    assert four.surplus(idle_s=60, now_s=59) == []
