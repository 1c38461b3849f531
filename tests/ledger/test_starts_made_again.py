"""Which completion a start that is made again is taken for, on real stores, by its key and by its id."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from sqlalchemy import select

from actors.core.errors import (
    AlreadyStarted,
    CompletionIdInUse,
    Failure,
    FailureCode,
    IdempotencyConflict,
    IdempotencyKeyReused,
)
from actors.core.events import (
    CancelSource,
    Charge,
    Event,
    Finished,
    FinishReason,
    Started,
    Status,
    Usage,
)
from actors.core.record import CompletionHeader, CompletionRecord
from actors.core.request import IdempotencyKey, Retention
from actors.ledger import memory
from actors.ledger.store import Store, tables
from tests.ledger.test_service import refused, tell
from tests.support.ledger import (
    HOLD,
    TEAM,
    Ledger,
    cancelled,
    completed,
    failed,
    header,
    key_of,
    open_ledger,
    store_url,
)
from tests.support.postgres import postgres_server

__all__ = ["postgres_server", "store_url"]

End = Callable[[Ledger, CompletionHeader], Awaitable[object]]

KEY = IdempotencyKey("k", "f1")
NAMED = IdempotencyKey(None, "f1", names_id=True)


def ended(
    head: CompletionHeader,
    status: Status,
    *events: Event,
    source: CancelSource | None = None,
    code: FailureCode = FailureCode.INTERNAL,
) -> CompletionRecord:
    """Return a record that charges nothing."""
    error = Failure(code, "It broke.") if status is Status.FAILED else None
    reason = FinishReason.ERROR if error else FinishReason.CANCELLED
    end = Finished(status, reason, source, error, Usage(), Charge())
    return CompletionRecord(head, (*events, end))


async def runs(ledger: Ledger, head: CompletionHeader) -> None:
    """It goes on."""


async def completes(ledger: Ledger, head: CompletionHeader) -> None:
    await ledger.settle(completed(head))


async def is_cancelled(ledger: Ledger, head: CompletionHeader) -> None:
    await ledger.settle(cancelled(head))


async def fails(ledger: Ledger, head: CompletionHeader) -> None:
    await ledger.settle(failed(head))


async def is_lost(ledger: Ledger, head: CompletionHeader) -> None:
    await ledger.service.lose(head.actor)


async def is_left(ledger: Ledger, head: CompletionHeader) -> None:
    gone = CancelSource.CLIENT_DISCONNECT
    await ledger.settle(ended(head, Status.CANCELLED, Started(3), source=gone))


async def is_left_while_pending(ledger: Ledger, head: CompletionHeader) -> None:
    await ledger.settle(ended(head, Status.CANCELLED, source=CancelSource.CLIENT_DISCONNECT))


async def is_stopped_while_pending(ledger: Ledger, head: CompletionHeader) -> None:
    await ledger.settle(ended(head, Status.CANCELLED, source=CancelSource.CLIENT_REQUEST))


async def fails_before_its_dispatch(ledger: Ledger, head: CompletionHeader) -> None:
    await ledger.settle(ended(head, Status.FAILED))


async def is_deleted(ledger: Ledger, head: CompletionHeader) -> None:
    await ledger.settle(completed(head))
    await ledger.service.delete(key_of(head))


async def is_evicted(ledger: Ledger, head: CompletionHeader) -> None:
    await ledger.settle(completed(head))
    ledger.clock.now_s += 100
    await ledger.service.housekeeping()


ATTACHED, ANEW = "attached", "anew"

ENDS: dict[End, tuple[object, object, object]] = {
    # What first came of the start: by its key, by its id, by its key under strict contracts.
    runs: (ATTACHED, ATTACHED, IdempotencyConflict),
    completes: (ATTACHED, ATTACHED, ATTACHED),
    is_cancelled: (ATTACHED, ATTACHED, ATTACHED),
    fails: (ANEW, ATTACHED, ANEW),
    is_lost: (ANEW, ATTACHED, ANEW),
    is_left: (ANEW, ATTACHED, ATTACHED),
    is_left_while_pending: (ANEW, ANEW, ATTACHED),
    is_stopped_while_pending: (ATTACHED, ATTACHED, ATTACHED),
    fails_before_its_dispatch: (ANEW, ANEW, ANEW),
    is_deleted: (IdempotencyKeyReused, CompletionIdInUse, ANEW),
    is_evicted: (ANEW, CompletionIdInUse, ANEW),
}


async def made_again(ledger: Ledger, again: IdempotencyKey, first: CompletionHeader) -> object:
    """Ask what the start is taken for, then make it; both have to agree."""
    wire_id = first.wire_id if again.names_id else ""
    second = header(wire_id=first.wire_id) if again.names_id else header()
    try:
        found = await ledger.find_started(again, wire_id)
    except (IdempotencyConflict, CompletionIdInUse) as error:
        await refused(type(error), ledger.place(second, idempotency=again))
        return type(error)
    if found is not None:
        assert found == first.completion_id
        await refused(AlreadyStarted, ledger.place(second, idempotency=again))
        return ATTACHED
    await ledger.place(second, idempotency=again)
    assert await ledger.find_started(replace(again, is_strict=False), wire_id) == (
        second.completion_id
    )
    if again.names_id:
        located = await ledger.service.find(key_of(second))
        assert located is not None
        assert located.completion_id == second.completion_id, "the id is the new one's"
    return ANEW


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize(
    ("again", "column"),
    [(KEY, 0), (NAMED, 1), (replace(KEY, is_strict=True), 2)],
    ids=["by key", "by id", "strictly"],
)
def test_what_a_start_that_is_made_again_is_taken_for(
    store_url: str, end: End, again: IdempotencyKey, column: int
) -> None:
    async def story(ledger: Ledger) -> None:
        head = header(wire_id="lake")
        await ledger.place(head, idempotency=again)
        await end(ledger, head)
        assert await made_again(ledger, again, head) == ENDS[end][column]

    tell(store_url, story, record_ttl_s=100.0)


def test_another_body_or_another_team_is_another_start(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        await ledger.place(header(wire_id="lake"), idempotency=NAMED)
        await ledger.place(header(wire_id="other"), idempotency=KEY)
        other = replace(NAMED, fingerprint="f2")
        await refused(CompletionIdInUse, ledger.find_started(other, "lake"))
        await refused(CompletionIdInUse, ledger.place(header(wire_id="lake"), idempotency=other))
        reused = replace(KEY, fingerprint="f2")
        await refused(IdempotencyKeyReused, ledger.find_started(reused))
        assert await ledger.find_started(IdempotencyKey("another", "f1")) is None

    tell(store_url, story)


def test_a_key_is_forgotten_after_a_day_and_an_id_never(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        both = IdempotencyKey("k", "f1", names_id=True)
        head = header(wire_id="lake")
        await ledger.place(head, idempotency=both)
        await ledger.settle(completed(head))
        ledger.clock.now_s += 86_400
        assert await ledger.find_started(KEY) is None
        await ledger.place(header(), idempotency=KEY)
        await refused(CompletionIdInUse, ledger.place(header(wire_id="lake"), idempotency=NAMED))

    tell(store_url, story)


def test_a_start_with_both_is_known_by_either(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        both = IdempotencyKey("k", "f1", names_id=True)
        head = header(wire_id="lake")
        await ledger.place(head, idempotency=both)
        for again, wire_id in ((both, "lake"), (KEY, ""), (KEY, "lake"), (NAMED, "lake")):
            assert await ledger.find_started(again, wire_id) == head.completion_id
        await ledger.settle(failed(head))
        assert await ledger.find_started(both, "lake") == head.completion_id, "the id is in use"

    tell(store_url, story)


def test_what_is_not_kept_is_not_taken_for_undispatched(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        head = header(wire_id="lake", retention=Retention.RECEIPT)
        await ledger.place(head, idempotency=NAMED)
        await ledger.settle(ended(head, Status.FAILED))
        assert await ledger.find_started(NAMED, "lake") == head.completion_id

    tell(store_url, story)


def test_fingerprints_are_sealed_with_a_key_of_the_store(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        await ledger.place(header(wire_id="lake"), idempotency=replace(KEY, names_id=True))

    tell(store_url, story)
    keys, rows = set(), []
    for _ in range(2):
        store = Store(store_url)
        keys.add(store.seal_key)
        with store.read() as connection:
            rows = list(connection.execute(select(tables.idempotency)))
        store.close()
    assert len(keys) == 1, "it is made once"
    assert len(rows) == 2
    assert all(row.team == TEAM and row.fingerprint != "f1" for row in rows)


def test_a_start_that_was_undone_is_made_again_under_its_name(store_url: str) -> None:
    """Its carrier waited in vain for the ledger's word, and so knows that no provider was asked."""

    async def story() -> None:
        async with open_ledger(store_url) as ledger:
            await ledger.make_team()
            again = IdempotencyKey(None, "print", names_id=True)
            for _ in range(3):
                head = header(wire_id="mine")
                await ledger.place(head, idempotency=again)
                error = Failure(FailureCode.INTERNAL, "The ledger did not say in time.")
                end = Finished(Status.FAILED, FinishReason.ERROR, None, error, Usage(), Charge())
                await ledger.settle(CompletionRecord(head, (end,)))
                assert await ledger.balance() == (10 * HOLD, 0)
            await ledger.check()

    asyncio.run(story())


def test_a_hold_that_was_overtaken_by_its_undoing_is_not_placed(store_url: str) -> None:
    async def story() -> None:
        async with open_ledger(store_url) as ledger:
            await ledger.make_team()
            late = header()
            await ledger.settle(failed(late))
            await refused(AlreadyStarted, ledger.place(late))
            ledger.service._writer.load()
            await refused(AlreadyStarted, ledger.place(late))
            assert await ledger.balance() == (10 * HOLD, 0)
            for _ in range(2):
                await ledger.settle(failed(header()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "GIVEN_UP_MAX", 2)
        asyncio.run(story())
