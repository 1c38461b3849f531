"""Goal: as much of a text as anybody kept is in the record of its loss, and nothing that may not be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from actors.core.completion.partial_log import closings, packed
from actors.core.errors import FailureCode, Overloaded
from actors.core.events import Event, Started, Status, TextDelta
from actors.core.record import CompletionRecord
from actors.core.request import Retention
from actors.ledger import losing
from actors.ledger.checkpointing import KEPT_PER_LOG_BYTE
from actors.ledger.store import tables
from actors.ports.ledger import NEVER_KEPT, Checkpoint
from tests.support.ledger import HOLD, Ledger, completed, header, open_ledger, store_url
from tests.support.postgres import postgres_server

__all__ = ["postgres_server", "store_url"]

ACTOR = "completion-1"
LOG: tuple[Event, ...] = (Started(12), *(TextDelta(0, f" w{n}", 1) for n in range(9)))


def tell(url: str, story: Callable[[Ledger], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        async with open_ledger(url, **options) as ledger:
            await ledger.make_team()
            await story(ledger)
            await ledger.check()

    asyncio.run(whole())


def stretch(completion_id: str, first: int, last: int) -> Checkpoint:
    return Checkpoint(completion_id, first, last - first, packed(LOG[first:last]))


async def keep(ledger: Ledger, *stretches: Checkpoint, actor: str = ACTOR) -> dict[str, int]:
    return await ledger.service.checkpoint(actor, list(stretches))


def rows(ledger: Ledger) -> int:
    with ledger.service._store.read() as connection:
        query = select(func.count()).select_from(tables.checkpoints)
        return int(connection.execute(query).scalar_one())


def texts(record: CompletionRecord) -> tuple[Event, ...]:
    """Return the events before the end, and see that what was open is closed."""
    assert record.finished is not None
    assert record.finished.error is not None
    assert record.finished.error.code is FailureCode.COMPLETION_LOST
    events = record.events[:-1]
    closed = closings(LOG) if len(events) > 2 else ()
    assert events[len(events) - len(closed) :] == closed
    return events[: len(events) - len(closed)]


def test_a_log_is_kept_stretch_by_stretch_and_is_in_the_record_of_the_loss(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        one, two, bare = [(await ledger.place()).completion_id for _ in range(3)]
        assert await keep(ledger, stretch(one, 0, 3), Checkpoint(two)) == {one: 3, two: 0}
        assert await keep(ledger, stretch(one, 3, 10), stretch(two, 0, 4)) == {one: 10, two: 4}
        lost = await ledger.service.lose(ACTOR)
        assert sorted(lost) == sorted([one, two, bare])
        assert texts(await ledger.service.record(one)) == LOG
        assert texts(await ledger.service.record(two)) == LOG[:4]
        assert texts(await ledger.service.record(bare)) == ()
        assert await ledger.balance() == (10 * HOLD, 0)
        end = (await ledger.service.record(one)).finished
        assert end is not None
        assert end.usage.completion_tokens == 9
        assert end.charge.total_microcredits == 0
        assert end.charge.absorbed_microcredits == 12 * 75 + 9 * 450
        assert rows(ledger) == 0
        found = await ledger.service.audit()
        assert sum(row["absorbed_microcredits"] for row in found["absorbed"]) == 2 * 900 + 12 * 450

    tell(store_url, story)


def test_what_does_not_follow_is_not_taken_and_the_longest_stands(store_url: str) -> None:
    """An answer was lost, or two replicas have copies of different length."""

    async def story(ledger: Ledger) -> None:
        one = (await ledger.place()).completion_id
        assert await keep(ledger, stretch(one, 2, 5)) == {one: 0}, "a gap"
        assert await keep(ledger, stretch(one, 0, 5), stretch(one, 0, 3)) == {one: 5}
        assert await keep(ledger, stretch(one, 0, 5), stretch(one, 3, 7)) == {one: 5}
        assert await keep(ledger, stretch(one, 5, 8)) == {one: 8}
        await ledger.service.lose_completions([one])
        assert texts(await ledger.service.record(one)) == LOG[:8]

    tell(store_url, story)


def test_nobody_is_believed_of_what_has_ended_or_is_anothers(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        head = await ledger.place()
        other = (await ledger.place(header(actor="completion-2"))).completion_id
        one = head.completion_id
        assert await keep(ledger, stretch(one, 0, 3)) == {one: 3}
        assert await keep(ledger, stretch(other, 0, 3), stretch("unknown", 0, 3)) == {}
        await ledger.settle(completed(head))
        assert await keep(ledger, stretch(one, 3, 5)) == {}
        assert rows(ledger) == 0
        assert (await ledger.service.record(one)).status is Status.COMPLETED

    tell(store_url, story)


@pytest.mark.parametrize("retention", [Retention.BRIEF, Retention.RECEIPT])
def test_what_may_not_be_written_down_is_not(store_url: str, retention: Retention) -> None:
    async def story(ledger: Ledger) -> None:
        one = (await ledger.place(header(retention=retention))).completion_id
        assert await keep(ledger, stretch(one, 0, 3)) == {one: NEVER_KEPT}
        assert rows(ledger) == 0
        await ledger.service.lose(ACTOR)
        assert texts(await ledger.service.record(one)) == ()

    tell(store_url, story)


def test_what_is_kept_outlives_the_ledger(store_url: str) -> None:
    async def whole() -> None:
        async with open_ledger(store_url) as ledger:
            await ledger.make_team()
            one = (await ledger.place()).completion_id
            brief = (await ledger.place(header(retention=Retention.BRIEF))).completion_id
            await keep(ledger, stretch(one, 0, 3))
        async with open_ledger(store_url) as ledger:
            assert await keep(ledger, stretch(one, 0, 3), stretch(brief, 0, 3)) == {
                one: 3,
                brief: NEVER_KEPT,
            }
            assert await keep(ledger, stretch(one, 3, 4)) == {one: 4}
            await ledger.service.lose(ACTOR)
            assert texts(await ledger.service.record(one)) == LOG[:4]
            await ledger.check()

    asyncio.run(whole())


def test_what_is_kept_is_bounded_as_logs_are(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        one = (await ledger.place()).completion_id
        most = KEPT_PER_LOG_BYTE * 100
        full = packed(LOG[:6])
        assert len(full) < most < 2 * len(full)
        assert await keep(ledger, stretch(one, 0, 6)) == {one: 6}
        assert await keep(ledger, Checkpoint(one, 6, 6, full)) == {one: 6}

    tell(store_url, story, log_bytes_max=100)


def test_an_expired_hold_keeps_the_text(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        swept = (await ledger.place(ttl_s=10)).completion_id
        late = await ledger.place(ttl_s=10)
        await keep(ledger, stretch(swept, 0, 5))
        ledger.clock.now_s += 11
        # Nobody swept yet; its owner comes too late, and tells all of it.
        told = completed(late)
        stands = await ledger.settle(told)
        assert stands.events[: len(told.events) - 1] == told.events[:-1]
        assert stands.finished is not None
        assert stands.finished.error == losing.HOLD_EXPIRED
        assert (await ledger.service.housekeeping())["expired"] == 1
        assert texts(await ledger.service.record(swept)) == LOG[:5]

    tell(store_url, story)


def test_more_texts_than_are_read_at_once(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        count = 2 * losing.READ_MAX + 3
        heads = [header(hold_microcredits=1) for _ in range(count)]
        await ledger.place_all([ledger.placement(head) for head in heads])
        ids = [head.completion_id for head in heads]
        await keep(ledger, *(stretch(one, 0, 4) for one in ids))
        assert sorted(await ledger.service.lose(ACTOR)) == sorted(ids)
        for one in ids:
            assert texts(await ledger.service.record(one)) == LOG[:4]

    tell(store_url, story)


def test_what_is_added_while_it_is_read_is_read_again(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(ledger: Ledger) -> None:
        one = (await ledger.place()).completion_id
        await keep(ledger, stretch(one, 0, 3))
        run, reads = ledger.service._reads.run, 0

        async def slowly(question: Any, *args: Any) -> Any:
            nonlocal reads
            answer = await run(question, *args)
            if question is losing.read_kept:
                reads += 1
                await keep(ledger, stretch(one, 3, 6))
            return answer

        monkeypatch.setattr(ledger.service._reads, "run", slowly)
        assert await ledger.service.lose(ACTOR) == [one]
        assert reads == 2
        monkeypatch.undo()
        assert texts(await ledger.service.record(one)) == LOG[:6]

    tell(store_url, story)


def test_what_is_never_read_as_it_is_kept_is_left_for_later(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(ledger: Ledger) -> None:
        one = (await ledger.place()).completion_id
        await keep(ledger, stretch(one, 0, 3))
        run = ledger.service._reads.run

        async def nothing(question: Any, *args: Any) -> Any:
            return {} if question is losing.read_kept else await run(question, *args)

        monkeypatch.setattr(ledger.service._reads, "run", nothing)
        with pytest.raises(Overloaded, match="could not be read"):
            await ledger.service.lose(ACTOR)
        monkeypatch.undo()
        assert await ledger.service.lose(ACTOR) == [one]

    tell(store_url, story)


def test_a_store_that_cannot_be_read_loses_nothing(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(ledger: Ledger) -> None:
        one = (await ledger.place()).completion_id
        await keep(ledger, stretch(one, 0, 3))

        async def away(*_question: Any) -> Any:
            raise Overloaded("The ledger could not be read.")

        monkeypatch.setattr(ledger.service._reads, "run", away)
        with pytest.raises(Overloaded):
            await ledger.service.lose(ACTOR)
        monkeypatch.undo()
        assert await ledger.service.lose(ACTOR) == [one]
        assert texts(await ledger.service.record(one)) == LOG[:3]

    tell(store_url, story)
