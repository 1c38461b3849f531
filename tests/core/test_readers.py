"""Goal: a disconnect is told apart from a loss, and only the last reader's leaving counts."""

from __future__ import annotations

from itertools import product

from actors.core.completion.readers import (
    Departure,
    ProxyLife,
    ReaderEnd,
    Readers,
    Witness,
    departure_of,
)

GRACE_NS = 5


def readers(*channels: str, cancels: bool = True, outwaits: bool = False) -> Readers:
    made = Readers(cancels_when_left=cancels, grace_ns=GRACE_NS, outwaits=outwaits)
    for channel in channels:
        made.attach(channel)
    return made


def test_a_client_has_left_only_where_nothing_else_explains_it() -> None:
    left = {
        seen
        for seen in product(ReaderEnd, Witness, ProxyLife)
        if departure_of(*seen) is Departure.CLIENT_GONE
    }
    assert left == {
        (ReaderEnd.DISCONNECT, Witness.WELL, ProxyLife.LIVES),
        (ReaderEnd.DISCONNECT, Witness.WELL, ProxyLife.NONE),
    }


def test_the_last_client_to_leave_cancels_at_once() -> None:
    two = readers("a", "b")
    assert not two.leave("a", Departure.CLIENT_GONE, now_ns=0)
    assert two.leave("b", Departure.CLIENT_GONE, now_ns=0)


def test_a_lost_channel_waits_for_a_reader() -> None:
    one = readers("a")
    assert not one.leave("a", Departure.LOST, now_ns=10)
    assert one.next_deadline_ns() == 15
    assert not one.handle_timer(now_ns=14)
    assert one.handle_timer(now_ns=15)
    assert not one.handle_timer(now_ns=99), "the policy applies once"
    assert one.next_deadline_ns() is None


def test_a_reader_that_comes_back_ends_the_wait() -> None:
    one = readers("a")
    one.leave("a", Departure.LOST, now_ns=0)
    one.attach("b")
    assert one.next_deadline_ns() is None
    assert not one.handle_timer(now_ns=99)
    assert one.leave("b", Departure.CLIENT_GONE, now_ns=99)


def test_a_loss_while_another_reads_ends_nothing() -> None:
    two = readers("a", "b")
    assert not two.leave("a", Departure.LOST, now_ns=0)
    assert two.next_deadline_ns() is None
    assert not two.handle_timer(now_ns=99)


def test_a_lost_reader_is_awaited_although_another_leaves() -> None:
    two = readers("a", "b")
    two.leave("a", Departure.LOST, now_ns=0)
    assert not two.leave("b", Departure.CLIENT_GONE, now_ns=3)
    assert two.next_deadline_ns() == 5
    two.attach("a")
    assert not two.handle_timer(now_ns=99)


def test_who_comes_back_may_be_another_than_was_lost() -> None:
    two = readers("a", "b")
    two.leave("a", Departure.LOST, now_ns=0)
    two.leave("b", Departure.LOST, now_ns=1)
    two.attach("c")
    assert not two.leave("c", Departure.CLIENT_GONE, now_ns=2)
    assert two.next_deadline_ns() == 6
    assert two.handle_timer(now_ns=6)


def test_who_was_awaited_in_vain_holds_nobody_up() -> None:
    two = readers("a", "b")
    two.leave("a", Departure.LOST, now_ns=0)
    assert two.leave("b", Departure.CLIENT_GONE, now_ns=GRACE_NS)


def test_a_client_that_may_come_back_is_awaited_although_it_left() -> None:
    one = readers("a", outwaits=True)
    assert not one.leave("a", Departure.CLIENT_GONE, now_ns=0)
    assert one.next_deadline_ns() == GRACE_NS
    assert one.handle_timer(now_ns=GRACE_NS)


def test_continue_is_never_cancelled_by_leaving() -> None:
    for departure in Departure:
        one = readers("a", cancels=False)
        assert not one.leave("a", departure, now_ns=0)
        assert one.next_deadline_ns() is None
        assert not one.handle_timer(now_ns=99)


def test_an_unknown_channel_leaves_nothing() -> None:
    one = readers("a")
    assert not one.leave("b", Departure.CLIENT_GONE, now_ns=0)
    assert len(one) == 1
