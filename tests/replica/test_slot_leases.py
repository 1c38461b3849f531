"""Goal: every slot is in use by one start, or idle, or gone, and who came first is served first."""

from __future__ import annotations

import pytest

from actors.core.errors import Overloaded
from actors.ports.registry import Slot
from actors.replica.slot_leases import IDLE_S, SlotLeases, Wish


def slots(*carriers: str, is_shared: bool = False) -> list[Slot]:
    return [Slot(carrier, is_shared=is_shared) for carrier in carriers]


def leased(*carriers: str, waiting_max: int = 10) -> SlotLeases:
    leases = SlotLeases(waiting_max=waiting_max)
    assert leases.grant(slots(*carriers), now_s=0)
    return leases


def carrier_of(wish: Wish) -> str | None:
    return wish.slot.carrier if wish.slot else None


def take(leases: SlotLeases) -> str | None:
    wish = leases.wish()
    leases.assign()
    return carrier_of(wish)


def test_a_slot_that_comes_free_is_used_for_the_next_start() -> None:
    leases = leased("c0")
    assert take(leases) == "c0"
    assert take(leases) is None
    leases.put_back(Slot("c0"), now_s=0)
    [wish] = leases.assign()
    assert carrier_of(wish) == "c0"
    assert leases.held == {"c0": 1}
    assert leases.given == 1
    assert leases.wanted == 0


def test_the_slot_that_was_used_last_is_used_first() -> None:
    leases = leased("c0", "c1")
    assert (take(leases), take(leases)) == ("c1", "c0")


def test_who_waits_is_served_in_order() -> None:
    leases = SlotLeases()
    first, second, third = leases.wish(), leases.wish(), leases.wish()
    assert leases.wanted == 3
    leases.grant(slots("c0", "c1"), now_s=0)
    assert leases.assign() == [first, second]
    assert {carrier_of(first), carrier_of(second)} == {"c0", "c1"}
    assert carrier_of(third) is None
    assert "1 waiting" in repr(leases)
    assert repr(third) == "<Wish waits>"


def test_idle_slots_are_let_go_and_used_ones_kept() -> None:
    leases = leased("c0", "c1")
    used = take(leases)
    leases.let_idle_go(now_s=IDLE_S / 2)
    assert leases.held == {"c0": 1, "c1": 1}
    leases.let_idle_go(now_s=IDLE_S)
    assert leases.held == {used: 1}
    leases.let_go("c1")
    assert leases.held == {}


def test_a_start_that_goes_leaves_its_slot_to_the_next() -> None:
    leases = leased("c0")
    leaving, staying = leases.wish(), leases.wish()
    assert leases.assign() == [leaving]
    leases.withdraw(leaving, now_s=0)
    assert leases.assign() == [staying]
    assert carrier_of(staying) == "c0"


def test_a_start_that_goes_while_it_waits_wants_nothing() -> None:
    leases = SlotLeases()
    leases.withdraw(leases.wish(), now_s=0)
    assert leases.wanted == 0


def test_those_who_are_refused_wait_no_more() -> None:
    leases = SlotLeases()
    first, second = leases.wish(), leases.wish()
    assert leases.refuse(1) == [first]
    leases.grant(slots("c0"), now_s=0)
    assert leases.assign() == [second]


def test_so_many_may_wait() -> None:
    leases = SlotLeases(waiting_max=2)
    for _ in range(2):
        leases.wish()
    with pytest.raises(Overloaded) as caught:
        leases.wish()
    assert caught.value.retry_after_s > 0
    assert leases.wanted == 2


def test_a_slot_of_a_dead_carrier_is_nobodys() -> None:
    leases = leased("c0", "c0", "c1")
    in_use = [take(leases) for _ in range(2)]
    assert sorted(filter(None, in_use)) == ["c0", "c1"]
    leases.forget("c0")
    assert leases.held == {"c1": 1}
    leases.put_back(Slot("c0"), now_s=0)
    leases.let_go("c0")
    assert take(leases) is None, "the idle one went with it"
    assert leases.held == {"c1": 1}


def test_what_a_dead_carrier_is_offered_for_is_not_taken() -> None:
    """The registry may not have heard of the death yet; what it gave counts, or it would give it again."""
    leases = leased("c0")
    leases.forget("c0")
    assert not leases.grant(slots("c0"), now_s=0)
    assert leases.held == {}
    assert leases.given == 2
    assert leases.grant(slots("c0", "c1"), now_s=0)
    assert leases.held == {"c1": 1}


def test_the_dead_are_remembered_for_a_while() -> None:
    leases = SlotLeases()
    for number in range(2_000):
        leases.forget(f"c{number}")
    assert not leases.grant(slots("c1999"), now_s=0)
    assert leases.grant(slots("c0"), now_s=0)


def test_a_shared_slot_is_for_one_completion() -> None:
    leases = SlotLeases()
    wish = leases.wish()
    leases.grant(slots("c0", is_shared=True), now_s=0)
    assert leases.assign() == [wish]
    assert wish.slot is not None
    waiting = leases.wish()
    leases.put_back(wish.slot, now_s=0)
    assert leases.assign() == []
    assert leases.held == {}
    assert waiting.slot is None


def test_shared_slots_are_kept_only_for_who_waits() -> None:
    leases = SlotLeases()
    first, second = leases.wish(), leases.wish()
    leases.grant(slots("c0", "c0", is_shared=True) + slots("c1"), now_s=0)
    assert leases.held == {"c0": 1, "c1": 1}
    assert leases.assign() == [first, second]
    assert leases.given == 3


def test_a_shared_slot_that_nobody_used_is_the_next_ones() -> None:
    leases = SlotLeases()
    first, second = leases.wish(), leases.wish()
    leases.grant(slots("c0", is_shared=True), now_s=0)
    leases.assign()
    leases.withdraw(first, now_s=0)
    assert leases.assign() == [second]
    leases.withdraw(second, now_s=0)
    assert leases.held == {}


def test_what_is_recalled_is_idle_for_longest() -> None:
    leases = SlotLeases()
    for number in range(3):
        leases.grant(slots(f"c{number}"), now_s=number)
    assert take(leases) == "c2"
    leases.recall(1)
    assert leases.held == {"c1": 1, "c2": 1}
    leases.recall(5)
    assert leases.held == {"c2": 1}, "what is in use is not recalled"


def test_a_carrier_that_is_shunned_is_used_no_more() -> None:
    leases = leased("c0", "c0", "c1")
    assert (take(leases), take(leases)) == ("c1", "c0")
    leases.shun(["c0"])
    assert leases.held == {"c0": 1, "c1": 1}
    leases.put_back(Slot("c0"), now_s=0)
    assert leases.held == {"c1": 1}
    leases.shun([])
    leases.grant(slots("c0"), now_s=0)
    assert leases.held == {"c0": 1, "c1": 1}
