"""Goal: a slot is leased once, comes back, is shared when there is no other; a node grows to its ceiling."""

from __future__ import annotations

from collections import Counter

import pytest

from actors.ports.registry import Slot
from actors.registry.growth import Growth
from actors.registry.pool import LEASE_S, CarrierState, Pool, SlotAsk


def pool(carriers: int, *, slots: int = 1, slots_max: int = 4) -> Pool:
    made = Pool()
    for number in range(carriers):
        made.add(CarrierState(f"c{number}", "n1", slots, slots_max))
    return made


def lease(
    of: Pool,
    count: int = 1,
    *,
    replica: str = "r",
    node: str = "n1",
    given: int = 0,
    shared: int = 0,
) -> list[str]:
    """Return the carriers, with a star where the slot is shared."""
    slots = of.lease(SlotAsk(replica, node, count, given), shared=shared, now_s=0)
    return [slot.carrier + "*" * slot.is_shared for slot in slots]


def test_a_slot_is_leased_once() -> None:
    two = pool(2)
    assert sorted(lease(two, 3)) == ["c0", "c1"]
    assert lease(two, given=2) == []


def test_a_slot_comes_back_when_its_replica_does_not_name_it_any_more() -> None:
    two = pool(2)
    lease(two, 2)
    two.renew("r", {"c1": 1}, given=2, now_s=1)
    assert lease(two, replica="other") == ["c0"]


def test_a_slot_in_which_something_runs_is_not_free_whoever_leased_it() -> None:
    one = pool(1)
    lease(one)
    one.report("c0", running=1, began=0, now_s=0)
    one.renew("r", {}, given=1, now_s=1)
    assert lease(one, replica="other") == []
    one.report("c0", running=0, began=0, now_s=0)
    assert lease(one, replica="other") == ["c0"]


def test_a_word_that_crossed_a_grant_frees_nothing_until_the_grant_must_have_been_lost() -> None:
    one = pool(1)
    lease(one)
    one.renew("r", {}, given=0, now_s=LEASE_S - 1)
    assert lease(one, replica="other") == []
    one.renew("r", {}, given=0, now_s=LEASE_S)
    assert lease(one, replica="other") == ["c0"]


def test_who_asks_again_since_the_answer_was_lost_is_given_the_same() -> None:
    """A call is made again when its connection broke; who waits on would never be silent either."""
    two = pool(2)
    assert lease(two) == lease(two), "the other slot is for others"
    assert lease(two, given=1) == ["c1"]
    assert lease(two, given=2) == []
    assert lease(two, given=2) == []


def test_what_is_given_again_is_without_the_slots_of_the_dead() -> None:
    three = pool(3)
    assert lease(three, 2) == ["c0", "c1"]
    three.remove("c0")
    assert lease(three, 2) == ["c1"]
    three.remove("c1")
    assert lease(three, 2) == ["c2"]


def test_the_slots_of_a_silent_replica_come_back() -> None:
    one = pool(1)
    lease(one)
    one.expire(now_s=LEASE_S - 1)
    assert lease(one, replica="other") == []
    one.expire(now_s=LEASE_S)
    assert lease(one, replica="other") == ["c0"]


def test_a_pool_that_forgot_everything_takes_the_replicas_word() -> None:
    fresh = pool(2)
    fresh.renew("r", {"c0": 1}, given=17, now_s=0)
    assert lease(fresh, 2, replica="other") == ["c1"]


def test_the_replicas_node_comes_first_and_the_fullest_carrier_there() -> None:
    dense = pool(2, slots=4)
    dense.add(CarrierState("far", "n2", 4, 4))
    dense.report("c1", running=2, began=0, now_s=0)
    assert lease(dense, 3) == ["c1", "c1", "c0"]
    assert lease(dense, node="n2", replica="other") == ["far"]


def test_the_least_loaded_is_shared_up_to_its_maximum() -> None:
    three = pool(3)
    three.report("c0", running=3, began=0, now_s=0)
    assert lease(three, 2) == ["c1", "c2"]
    assert lease(three, 9, given=2, shared=3) == ["c1*", "c2*", "c1*"]
    assert Counter(lease(three, 9, given=5, shared=9)) == {"c0*": 1, "c1*": 1, "c2*": 2}
    assert lease(three, 9, given=9, shared=9) == []


def test_nothing_is_shared_while_one_is_free_or_where_none_may() -> None:
    assert lease(pool(2), 1, shared=1) == ["c0"]
    strict = pool(1, slots_max=1)
    assert lease(strict, 2, shared=2) == ["c0"]


def test_a_retiring_carrier_is_given_to_nobody_and_ends_when_it_carries_nothing() -> None:
    old = pool(0)
    old.add(CarrierState("old", "n1", 1, 4, is_retiring=True, running=1))
    assert lease(old, shared=1) == []
    assert old.renew("r", {"old": 1, "gone": 1}, given=1, now_s=0) == ["old"]
    assert old.surplus(idle_s=60, slots_warm=0, now_s=0) == []
    old.report("old", running=0, began=0, now_s=0)
    old.renew("r", {}, given=1, now_s=0)
    assert old.surplus(idle_s=60, slots_warm=9, now_s=0) == ["old"]


@pytest.mark.parametrize(
    ("leased", "running", "own", "hope"),
    [
        (0, 0, 0, 0),  # It is free: nobody need hope.
        (1, 0, 0, 1),  # Another holds it unused.
        (1, 1, 0, 0),  # It is in use.
        (1, 0, 1, 0),  # It is one's own, and so about to be used.
        (3, 1, 0, 0),  # Unused slots beyond one that runs would be shared.
        (3, 0, 0, 1),  # What comes free is one place to be alone.
        (2, 0, 1, 0),
    ],
)
def test_hope_is_for_what_others_hold_unused(
    leased: int, running: int, own: int, hope: int
) -> None:
    state = CarrierState("c0", "n1", 1, 4, running=running)
    state.leased = {"r": own, "other": leased - own}
    assert state.hope("r") == hope


def test_idle_carriers_beyond_the_warm_ones_are_surplus() -> None:
    four = pool(4)
    four.report("c0", running=1, began=0, now_s=0)
    assert len(four.surplus(idle_s=60, slots_warm=2, now_s=61)) == 1
    assert four.surplus(idle_s=60, slots_warm=2, now_s=59) == []


# Growth.


def states(text: str) -> list[CarrierState]:
    """A word per carrier of a node: `1/2` runs one of two slots, `r1/2` is to end."""
    made = []
    for number, word in enumerate(text.split()):
        running, slots = word.lstrip("r").split("/")
        state = CarrierState(f"c{number}", "n1", int(slots), 128, word[0] == "r")
        state.running = int(running)
        made.append(state)
    return made


@pytest.mark.parametrize(
    ("carriers", "waiting", "starts"),
    [
        # Slots of one; two are kept warm, four is the ceiling.
        ("", 0, 2),
        ("0/1", 0, 1),
        ("0/1 0/1", 0, 0),
        ("1/1 1/1", 0, 1),  # One at a time: what runs must not starve.
        ("1/1 1/1", 3, 2),  # But for those who wait.
        ("9/1 9/1 0/1 0/1", 0, 0),  # What shares has a place.
        ("9/1 9/1 9/1 9/1", 9, 0),  # The ceiling.
        ("r1/1 r1/1 r1/1 r1/1", 0, 1),  # One that serves there must be, whatever retires.
        ("r1/1 r1/1 r1/1 0/1", 0, 0),
    ],
)
def test_a_node_grows(carriers: str, waiting: int, starts: int) -> None:
    growth = Growth(slots=1, carriers_warm=2, carriers_per_node=4)
    growth.set_nodes(["n1"])
    assert growth.start_where(states(carriers), waiting) == ["n1"] * starts
    assert growth.start_where(states(carriers), waiting) == [], "they are on their way"


def test_a_start_that_ended_makes_way_for_the_next() -> None:
    growth = Growth(slots=1, carriers_warm=4, carriers_per_node=8)
    growth.set_nodes(["n1", "n2"])
    assert growth.start_where([], 0) == ["n1", "n1", "n2", "n2"]
    growth.started("n1")
    assert growth.start_where([], 0) == ["n1"]


def test_a_dense_pool_keeps_one_carrier_ready() -> None:
    growth = Growth(slots=16, carriers_warm=4, carriers_per_node=8)
    growth.set_nodes(["n1"])
    assert growth.slots_warm == 16
    assert growth.start_where([], 0) == ["n1"]
    assert growth.start_where(states("64/16"), 0) == []
    growth.started("n1")
    assert growth.start_where(states("64/16 0/16"), 0) == []


def test_a_slot_says_whether_it_is_shared() -> None:
    assert Slot("c0") != Slot("c0", is_shared=True)
