"""Bugs to plant in money, the log and its readers; see `planted`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from actors.completion import hold_keeper
from actors.completion.channel import ChannelSource
from actors.completion.hold_keeper import HoldKeeper
from actors.core.completion.machine import Completion
from actors.core.completion.transitions import StreamState
from actors.core.errors import Overloaded
from actors.core.events import Finished
from actors.core.money.journal import EntryKind
from actors.ledger import settling
from actors.ledger.group_commit import GroupCommit
from actors.ledger.store import fence
from actors.ledger.store.transaction import Transaction
from actors.ledger.writer import LedgerWriter, _refusal
from actors.ports.ledger import HoldPlacement
from actors.replica.mirror import Mirror


def every(count: int) -> Callable[[], bool]:
    """Return what is true each so many times that it is asked."""
    asked = 0

    def is_now() -> bool:
        nonlocal asked
        asked += 1
        return asked % count == 0

    return is_now


@contextmanager
def both(one: Any, other: Any) -> Iterator[None]:
    with one, other:
        yield


# Money.


def posted_twice() -> Any:
    add, now = Transaction.add_entries, every(20)

    def twice(transaction: Transaction, journal: list[Any]) -> None:
        posts = [entry for entry in journal if entry.kind is EntryKind.POST]
        add(transaction, [*journal, *posts] if posts and now() else journal)

    return patch.object(Transaction, "add_entries", twice)


def balance_not_written() -> Any:
    touch, now = Transaction.touch, every(30)

    def forget(transaction: Transaction, account: Any) -> None:
        if not now():
            touch(transaction, account)

    return patch.object(Transaction, "touch", forget)


def answered_before_commit() -> Any:
    def apply(writer: LedgerWriter, changes: Any) -> list[Any]:
        outcomes: list[Any] = []
        try:
            if writer._is_stale:
                writer.load()
            with writer._store.begin() as connection:
                transaction = Transaction(connection, writer._now_s())
                outcomes = [writer._make(change, transaction) for change in changes]
                transaction.flush()
        except Exception as error:
            writer._is_stale = True
            if not outcomes:
                return [Overloaded(f"{type(error).__name__}")] * len(changes)
        return outcomes

    return patch.object(LedgerWriter, "apply", apply)


def own_record_stands() -> Any:
    """A carrier whose hold has expired goes by its own end, not by the one that stands.

    Holds expire sooner here, so that it happens at all.
    """
    return both(
        patch.object(settling, "_standing", lambda _transaction, _settled: None), early_expiry()
    )


def early_expiry() -> Any:
    def sooner(*, expires_at_s: float, **others: Any) -> HoldPlacement:
        return HoldPlacement(expires_at_s=expires_at_s - hold_keeper._HOLD_SLACK_S, **others)

    return patch.object(hold_keeper, "HoldPlacement", sooner)


def hold_not_undone() -> Any:
    """A start that was not answered in time leaves its hold to whoever looks for what nobody carries."""

    async def nothing(_keeper: HoldKeeper, _error: Any) -> None:
        return None

    return patch.object(HoldKeeper, "undo", nothing)


def batch_fails_together() -> Any:
    """An exception that nobody foresaw fails the changes of all that travel in the same commit."""

    def apply(writer: LedgerWriter, changes: Any) -> list[Any]:
        try:
            return writer._commit(changes)
        except Exception as error:
            return [_refusal(error)] * len(changes)

    return patch.object(LedgerWriter, "apply", apply)


def queue_without_bound() -> Any:
    init = GroupCommit.__init__

    def unbounded(commits: Any, *args: Any, **kwargs: Any) -> None:
        init(commits, *args, **{**kwargs, "queue_max": 10**9})

    return patch.object(GroupCommit, "__init__", unbounded)


def epoch_not_checked() -> Any:
    """A ledger that was stopped goes on where it was, beside the one that was started in its place."""
    return patch.object(fence, "check", lambda _connection, _epoch, *, place: None)


# The log and its readers.


def gap_taken() -> Any:
    receive = Mirror.receive

    def gap(mirror: Mirror, first: int, rows: Any) -> bool:
        return receive(mirror, min(first, len(mirror.events)), rows)

    collect, now = ChannelSource._collect, every(40)

    def lossy(source: ChannelSource) -> Any:
        batch = collect(source)
        return [] if now() else batch

    return both(
        patch.object(Mirror, "receive", gap), patch.object(ChannelSource, "_collect", lossy)
    )


def two_ends() -> Any:
    extend, now = Mirror.extend, every(10)

    def twice(mirror: Mirror, events: Any) -> None:
        ends = isinstance(events[-1], Finished) and now()
        extend(mirror, [*events, events[-1]] if ends else events)

    return patch.object(Mirror, "extend", twice)


def not_woken() -> Any:
    extend, now = Mirror.extend, every(40)

    def quietly(mirror: Mirror, events: Any) -> None:
        if now():
            mirror.events.extend(events)
        else:
            extend(mirror, events)

    return patch.object(Mirror, "extend", quietly)


def terminal_moves() -> Any:
    handle, now = Completion.handle, every(10)

    def moved(completion: Completion, input: Any, *, now_ns: int) -> Any:
        effects = handle(completion, input, now_ns=now_ns)
        if completion.stream is StreamState.CANCELLED and now():
            completion.stream = StreamState.COMPLETED
        return effects

    return patch.object(Completion, "handle", moved)
