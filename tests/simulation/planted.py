"""Bugs planted on purpose, as patches of the product's own classes: each must be found.

One per invariant, and one per fault that was ever mended in the ring and lives on as a patch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from actors.completion.carrier import Carrier
from actors.completion.channel import ChannelSource
from actors.completion.driver import CompletionDriver
from actors.core.completion.machine import Completion
from actors.core.completion.transitions import HoldRefused, StreamState
from actors.core.errors import Overloaded
from actors.core.events import Finished
from actors.core.money.journal import EntryKind
from actors.ledger import settling
from actors.ledger.store.transaction import Transaction
from actors.ledger.writer import LedgerWriter
from actors.registry.deaths import Deaths
from actors.registry.locations import Locations
from actors.registry.pool import CarrierState
from actors.replica.mirror import Mirror
from actors.replica.runtime import ReplicaRuntime
from actors.replica.slot_leases import SlotLeases
from actors.replica.slots import Slots
from actors.replica.starts import Starts

__all__ = ["PLANTED", "planted"]

Plant = Callable[[], Any]


def _every(count: int) -> Callable[[], bool]:
    """Return what is true each so many times that it is asked."""
    asked = 0

    def is_now() -> bool:
        nonlocal asked
        asked += 1
        return asked % count == 0

    return is_now


# Money.


def _posted_twice() -> Any:
    add, now = Transaction.add_entries, _every(20)

    def twice(transaction: Transaction, journal: list[Any]) -> None:
        posts = [entry for entry in journal if entry.kind is EntryKind.POST]
        add(transaction, [*journal, *posts] if posts and now() else journal)

    return patch.object(Transaction, "add_entries", twice)


def _balance_not_written() -> Any:
    touch, now = Transaction.touch, _every(30)

    def forget(transaction: Transaction, account: Any) -> None:
        if not now():
            touch(transaction, account)

    return patch.object(Transaction, "touch", forget)


def _answered_before_commit() -> Any:
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


def _own_record_stands() -> Any:
    """A carrier that was declared lost goes by its own end, not by the one that stands."""
    return patch.object(settling, "_standing", lambda *_args: None)


# The log and its readers.


def _gap_taken() -> Any:
    receive = Mirror.receive

    def gap(mirror: Mirror, first: int, rows: Any) -> bool:
        return receive(mirror, min(first, len(mirror.events)), rows)

    collect, now = ChannelSource._collect, _every(40)

    def lossy(source: ChannelSource) -> Any:
        batch = collect(source)
        return [] if now() else batch

    return _both(
        patch.object(Mirror, "receive", gap), patch.object(ChannelSource, "_collect", lossy)
    )


def _two_ends() -> Any:
    extend, now = Mirror.extend, _every(10)

    def twice(mirror: Mirror, events: Any) -> None:
        ends = isinstance(events[-1], Finished) and now()
        extend(mirror, [*events, events[-1]] if ends else events)

    return patch.object(Mirror, "extend", twice)


def _not_woken() -> Any:
    extend, now = Mirror.extend, _every(40)

    def quietly(mirror: Mirror, events: Any) -> None:
        if now():
            mirror.events.extend(events)
        else:
            extend(mirror, events)

    return patch.object(Mirror, "extend", quietly)


def _terminal_moves() -> Any:
    handle, now = Completion.handle, _every(10)

    def moved(completion: Completion, input: Any, *, now_ns: int) -> Any:
        effects = handle(completion, input, now_ns=now_ns)
        if completion.stream is StreamState.CANCELLED and now():
            completion.stream = StreamState.COMPLETED
        return effects

    return patch.object(Completion, "handle", moved)


# Slots.


def _cancelled_keeps_slot() -> Any:
    """Fault 1: a start that is cancelled in the turn in which it is handed a slot loses the slot."""

    def withdraw(leases: SlotLeases, wish: Any, *, now_s: float) -> None:
        leases._waiting.pop(wish, None)

    return patch.object(SlotLeases, "withdraw", withdraw)


def _dead_slots_stay() -> Any:
    """Fault 2: slots of a dead carrier are handed on."""
    return patch.object(SlotLeases, "forget", lambda _leases, _carrier: None)


def _slot_not_returned() -> Any:
    ended = Starts.ended

    def forget(starts: Starts, mirror: Mirror) -> None:
        if not mirror.completion_id.endswith("7_1"):
            ended(starts, mirror)

    return patch.object(Starts, "ended", forget)


def _slot_returned_twice() -> Any:
    put_back, now = SlotLeases.put_back, _every(20)

    def twice(leases: SlotLeases, slot: Any, *, now_s: float) -> None:
        put_back(leases, slot, now_s=now_s)
        if now():
            put_back(leases, slot, now_s=now_s)

    return patch.object(SlotLeases, "put_back", twice)


def _leased_twice() -> Any:
    return patch.object(CarrierState, "taken", property(lambda state: 0))


def _carrier_takes_all() -> Any:
    begin = Carrier._begin

    def always(carrier: Carrier, command: Any, channel: str) -> Any:
        slots, carrier._slots = carrier._slots, 10_000
        try:
            return begin(carrier, command, channel)
        finally:
            carrier._slots = slots

    return _both(
        patch.object(Carrier, "_begin", always),
        patch.object(CarrierState, "taken", property(lambda state: 0)),
    )


def _renewing_ends() -> Any:
    """Fault 14: the renewing of leases ends for ever at an exception of somebody else's."""
    renew, now = Slots._renew, _every(20)

    async def dies(slots: Slots) -> bool:
        if now():
            await asyncio.get_running_loop().create_future()
        return await renew(slots)

    return patch.object(Slots, "_renew", dies)


# Owners and verdicts.


def _no_verdict() -> Any:
    async def nothing(*_args: Any) -> None:
        pass

    return _both(
        patch.object(Deaths, "lose", nothing), patch.object(Deaths, "find_orphans", nothing)
    )


def _location_stays() -> Any:
    """Fault 12: what a dead carrier had stays located there."""
    return patch.object(Locations, "forget", lambda _locations, _carrier: None)


def _lost_while_carried() -> Any:
    """Fault 14: orphans are sought among what is open, by a look at who lives that is older."""

    async def find(deaths: Deaths) -> None:
        living = set(await deaths._cluster.living())
        await asyncio.sleep(2.0)
        opened = await deaths._ledger.open_completions()
        orphans = [one.completion_id for one in opened if one.actor not in living]
        if orphans:
            await deaths._ledger.lose_completions(sorted(orphans))

    return patch.object(Deaths, "find_orphans", find)


def _place_fails() -> Any:
    """Fault 4: an exception that nobody foresaw, while the hold is placed."""
    place, now = CompletionDriver._place, _every(30)

    async def fails(driver: CompletionDriver) -> None:
        if now():
            return
        await place(driver)

    return patch.object(CompletionDriver, "_place", fails)


def _cancel_is_told_the_refusal() -> Any:
    """Fault 6: a cancel that waits for a hold which is then refused is answered with the refusal."""

    async def cancel(
        runtime: ReplicaRuntime, sought: Any, located: Any, source: Any, requested_at_s: float
    ) -> Any:
        if located.is_settled:
            return await runtime._terminal_answer(located)
        answer = await runtime._at_carrier(
            located, lambda link: link.cancel(located.completion_id, source, requested_at_s)
        )
        return answer or await runtime._answer_of_absent(sought)

    return patch.object(ReplicaRuntime, "_cancel_found", cancel)


def _refused_is_not_told() -> Any:
    """A refusal is swallowed: whoever started waits for ever."""
    handle = Completion.handle

    def deaf(completion: Completion, input: Any, *, now_ns: int) -> Any:
        effects = handle(completion, input, now_ns=now_ns)
        if isinstance(input, HoldRefused):
            raise RuntimeError("planted")
        return effects

    return patch.object(Completion, "handle", deaf)


@contextmanager
def _both(one: Any, other: Any) -> Iterator[None]:
    with one, other:
        yield


PLANTED: dict[str, Plant] = {
    "posted-twice": _posted_twice,
    "balance-not-written": _balance_not_written,
    "answered-before-commit": _answered_before_commit,
    "own-record-stands": _own_record_stands,
    "gap-taken": _gap_taken,
    "two-ends": _two_ends,
    "not-woken": _not_woken,
    "terminal-moves": _terminal_moves,
    "cancelled-keeps-slot": _cancelled_keeps_slot,
    "dead-slots-stay": _dead_slots_stay,
    "slot-not-returned": _slot_not_returned,
    "slot-returned-twice": _slot_returned_twice,
    "leased-twice": _leased_twice,
    "carrier-takes-all": _carrier_takes_all,
    "renewing-ends": _renewing_ends,
    "no-verdict": _no_verdict,
    "location-stays": _location_stays,
    "lost-while-carried": _lost_while_carried,
    "place-fails": _place_fails,
    "cancel-is-told-the-refusal": _cancel_is_told_the_refusal,
    "refused-is-not-told": _refused_is_not_told,
}


def planted(name: str | None) -> Any:
    """Return the context in which that bug is in the product; none for None."""
    return _nothing() if name is None else PLANTED[name]()


@contextmanager
def _nothing() -> Iterator[None]:
    yield
