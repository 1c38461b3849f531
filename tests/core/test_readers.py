"""Goal: a disconnect is told apart from a loss, and only the last reader's leaving counts."""

from __future__ import annotations

from actors.core.completion.readers import Departure, Readers

GRACE_NS = 5


def readers(*channels: str, cancels: bool = True) -> Readers:
    made = Readers(cancels_when_left=cancels, grace_ns=GRACE_NS)
    for channel in channels:
        made.attach(channel)
    return made


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


def test_a_reader_that_comes_back_ends_the_wait() -> None:
    one = readers("a")
    one.leave("a", Departure.LOST, now_ns=0)
    one.attach("b")
    assert one.next_deadline_ns() is None
    assert not one.handle_timer(now_ns=99)


def test_a_loss_while_another_reads_means_nothing() -> None:
    two = readers("a", "b")
    assert not two.leave("a", Departure.LOST, now_ns=0)
    assert two.next_deadline_ns() is None


def test_continue_is_never_cancelled_by_leaving() -> None:
    for departure in Departure:
        one = readers("a", cancels=False)
        assert not one.leave("a", departure, now_ns=0)
        assert one.next_deadline_ns() is None


def test_an_unknown_channel_leaves_nothing() -> None:
    one = readers("a")
    assert not one.leave("b", Departure.CLIENT_GONE, now_ns=0)
    assert len(one) == 1
