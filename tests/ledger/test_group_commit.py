"""Group commit: what travels together, what is answered when, and what a failed commit leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import IllegalTransition, InvalidRequest, LedgerBusy, Overloaded
from actors.core.record import CompletionHeader
from actors.ledger import placing
from actors.ledger.group_commit import GroupCommit
from actors.ledger.reads import ReadingThreads
from actors.ledger.service import LedgerService
from actors.ports.ledger import HoldPlacement, Placed, Settlement
from actors.settings import Settings
from actors.testing import settle_loop
from tests.ledger.test_service import refused
from tests.support.faulty_store import Fault, FaultyStore
from tests.support.ledger import (
    HOLD,
    Clock,
    Ledger,
    at_once,
    completed,
    failed,
    header,
    key_of,
    open_ledger,
)
from tests.support.principals import principal_of


class Gated:
    """An `apply` that answers each operation with itself, as soon as the test lets it."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def __call__(self, operations: Sequence[Any]) -> list[Any]:
        self.batches.append(list(operations))
        self.started.release()
        assert self.gate.acquire(timeout=30)
        return list(operations)


def one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


def run(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(main())  # type: ignore[arg-type]


async def _has_started(gated: Gated) -> None:
    assert await asyncio.to_thread(gated.started.acquire, True, 30)


def test_calls_of_one_turn_travel_together_and_later_ones_gather() -> None:
    async def main() -> None:
        gated = Gated()
        commits: GroupCommit[Any] = GroupCommit(gated, one_thread())
        first = [asyncio.ensure_future(commits.submit(n)) for n in range(3)]
        await _has_started(gated)
        later = [asyncio.ensure_future(commits.submit(n)) for n in range(3, 6)]
        await asyncio.sleep(0)
        late = asyncio.ensure_future(at_once(commits.submit(6), commits.submit(7)))
        await settle_loop()
        assert commits.waiting == 5
        assert not any(call.done() for call in first)
        gated.gate.release()
        assert await asyncio.gather(*first) == [0, 1, 2]
        await _has_started(gated)
        assert not any(call.done() for call in later)
        gated.gate.release()
        assert await asyncio.gather(*later) == [3, 4, 5]
        assert await late == [6, 7]
        assert gated.batches == [[0, 1, 2], [3, 4, 5, 6, 7]]
        assert repr(commits) == "<GroupCommit waiting=0 batches=2 changes=8>"
        await commits.aclose()

    run(main)


def test_a_batch_and_the_queue_are_bounded() -> None:
    async def main() -> None:
        gated = Gated()
        commits: GroupCommit[Any] = GroupCommit(gated, one_thread(), batch_max=2, queue_max=4)
        gated.gate.release(10)
        outcomes = await at_once(*map(commits.submit, range(6)))
        assert outcomes[:4] == [0, 1, 2, 3]
        assert [type(outcome) for outcome in outcomes[4:]] == [LedgerBusy, LedgerBusy]
        assert gated.batches == [[0, 1], [2, 3]]
        await commits.aclose()

    run(main)


def test_a_caller_that_goes_away_changes_nothing_for_the_others() -> None:
    async def main() -> None:
        gated = Gated()
        commits: GroupCommit[Any] = GroupCommit(gated, one_thread())
        calls = [asyncio.ensure_future(commits.submit(n)) for n in range(3)]
        await _has_started(gated)
        calls[1].cancel()
        gated.gate.release()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes[0] == 0
        assert isinstance(outcomes[1], asyncio.CancelledError)
        assert outcomes[2] == 2
        assert gated.batches == [[0, 1, 2]]
        await commits.aclose()

    run(main)


def test_closing_commits_what_waits_and_refuses_the_rest() -> None:
    async def main() -> None:
        gated = Gated()
        commits: GroupCommit[Any] = GroupCommit(gated, one_thread(), batch_max=1)
        calls = [asyncio.ensure_future(commits.submit(n)) for n in range(3)]
        await _has_started(gated)
        closing = asyncio.ensure_future(commits.aclose())
        await asyncio.sleep(0)
        await refused(Overloaded, commits.submit("late"))
        gated.gate.release(3)
        assert await asyncio.gather(*calls) == [0, 1, 2]
        await closing
        await commits.aclose()

    run(main)


# The same with a real store under it.


def tell(path: Path, story: Callable[[Ledger, FaultyStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = FaultyStore(f"sqlite:///{path / 'midstream.db'}")
        async with open_ledger("", store=store) as ledger:
            await ledger.make_team()
            await story(ledger, store)
            await ledger.check()

    asyncio.run(main())


def test_nobody_is_answered_before_the_commit_and_readers_do_not_wait(tmp_path: Path) -> None:
    async def story(ledger: Ledger, store: FaultyStore) -> None:
        before = await ledger.place()
        store.gate.clear()
        store.committing.clear()
        head = header()
        placing = asyncio.ensure_future(ledger.place(head))
        assert await asyncio.to_thread(store.committing.wait, 30)
        assert not placing.done()
        assert await ledger.service.find_by_id(head.completion_id) is None
        assert await ledger.service.find(key_of(before)) is not None
        assert await ledger.balance() == (10 * HOLD, HOLD)
        assert (await ledger.service.audit())["ok"]
        store.gate.set()
        await placing
        assert await ledger.service.find_by_id(head.completion_id) is not None

    tell(tmp_path, story)


@pytest.mark.parametrize("fault", list(Fault))
def test_a_batch_whose_commit_failed_is_made_again_one_by_one(tmp_path: Path, fault: Fault) -> None:
    """Also one that was done and not confirmed: nothing of it is done twice, no request drawn twice."""

    async def story(ledger: Ledger, store: FaultyStore) -> None:
        await ledger.make_team("limited", requests_per_minute=60)
        head, other = await ledger.place(), header()
        record = completed(head)
        store.faults = [fault]
        answers = await at_once(
            ledger.service.place(ledger.placement(other)),
            ledger.settle(record),
            ledger.service.create_key("acme", "k"),
            ledger.service.grant_credits("acme", 7),
            ledger.service.draw_request("limited"),
        )
        assert answers[:2] == [Placed(), record]
        assert len(await ledger.service.list_keys("acme")) == 2
        assert await ledger.balance() == (10 * HOLD - 900 - 4500 + 7, HOLD)
        assert answers[4].remaining == 59

    tell(tmp_path, story)


def test_one_unexpected_exception_fails_its_own_caller_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug that one team meets: half done, and not one of our errors."""
    place = placing.place

    def bad(memory: Any, transaction: Any, *, placement: HoldPlacement) -> Placed:
        placed = place(memory, transaction, placement=placement)
        if placement.header.model == "bad":
            raise KeyError("a bug")
        return placed

    monkeypatch.setattr(placing, "place", bad)

    async def story(ledger: Ledger, _store: FaultyStore) -> None:
        open_head = await ledger.place()
        heads = [header(), header(model="bad"), header(), header(model="bad")]
        answers = await at_once(
            *(ledger.service.place(ledger.placement(head)) for head in heads),
            ledger.settle(completed(open_head)),
        )
        assert answers[0] == answers[2] == Placed()
        assert answers[4] == completed(open_head)
        # It is told as what it is: made again it would fail again.
        assert [type(answer) for answer in answers[1:4:2]] == [IllegalTransition] * 2
        assert await ledger.balance() == (10 * HOLD - 900 - 4500, 2 * HOLD)

    tell(tmp_path, story)


def test_one_row_that_the_database_refuses_fails_its_own_caller_alone(tmp_path: Path) -> None:
    """It is refused only at the end of the transaction, when the rows of all are written."""

    async def story(ledger: Ledger, _store: FaultyStore) -> None:
        bad = header()
        settlement = Settlement.of(failed(bad))
        await ledger.place(bad)
        spoilt = replace(settlement, tokens_output="\ud800")  # type: ignore[arg-type]
        good = await ledger.place()
        answers = await at_once(
            ledger.settle(completed(good)), ledger.service.settle(spoilt), ledger.place()
        )
        assert answers[0] == completed(good)
        assert isinstance(answers[1], IllegalTransition)
        assert isinstance(answers[2], CompletionHeader)
        assert await ledger.service.settle(settlement) is None

    tell(tmp_path, story)


def test_a_store_that_is_away_is_not_asked_for_each_change(tmp_path: Path) -> None:
    async def story(ledger: Ledger, store: FaultyStore) -> None:
        store.faults = [Fault.AT_BEGIN] * 100
        answers = await at_once(*(ledger.place() for _ in range(50)))
        assert {type(answer) for answer in answers} == {Overloaded}
        assert len(store.faults) > 90
        store.faults = []

    tell(tmp_path, story)


@pytest.mark.parametrize("fault", [Fault.AT_BEGIN, Fault.BEFORE_COMMIT])
def test_a_commit_that_failed_has_left_nothing_in_memory(tmp_path: Path, fault: Fault) -> None:
    async def story(ledger: Ledger, store: FaultyStore) -> None:
        head, other = await ledger.place(), header()
        record = completed(head)
        for _ in range(2):
            store.faults = [fault] * 9
            outcomes: list[Any] = await asyncio.gather(
                ledger.service.place(ledger.placement(other)),
                ledger.settle(record),
                ledger.service.remember_cancellation(key_of(header(wire_id="w"))),
                ledger.service.create_key("acme", "k"),
                return_exceptions=True,
            )
            assert [type(outcome) for outcome in outcomes] == [Overloaded] * 4
            store.faults = []
            assert await ledger.balance() == (10 * HOLD, HOLD)
            assert len(await ledger.service.list_keys("acme")) == 1
        assert await ledger.service.place(ledger.placement(other)) == Placed()
        assert await ledger.settle(record) is record
        assert await ledger.service.place(ledger.placement(header(wire_id="w"))) == Placed()

    tell(tmp_path, story)


def test_a_commit_that_was_done_and_not_confirmed_is_not_done_twice(tmp_path: Path) -> None:
    async def story(ledger: Ledger, store: FaultyStore) -> None:
        placement = ledger.placement(header(wire_id="w"))
        await ledger.service.remember_cancellation(key_of(placement.header))
        store.faults = [Fault.AFTER_COMMIT]
        await refused(Overloaded, ledger.service.place(placement))
        assert await ledger.service.place(placement) == Placed(is_cancelled=True)
        record = completed(placement.header)
        store.faults = [Fault.AFTER_COMMIT]
        await refused(Overloaded, ledger.settle(record))
        assert await ledger.settle(record) == record
        assert await ledger.balance() == (10 * HOLD - 900 - 4500, 0)

    tell(tmp_path, story)


def test_a_store_that_stays_away_refuses_and_comes_back(tmp_path: Path) -> None:
    async def story(ledger: Ledger, store: FaultyStore) -> None:
        store.faults = [Fault.BEFORE_COMMIT, *[Fault.AT_BEGIN] * 3]
        for _ in range(4):
            await refused(Overloaded, ledger.place())
        # Keys are known from before: who asks is told that the ledger is away, not that he is unknown.
        assert (await principal_of(ledger.service, ledger.secret)).team == "acme"
        await ledger.place()
        assert await ledger.balance() == (10 * HOLD, HOLD)

    tell(tmp_path, story)


def test_draining_refuses_new_holds_and_settles_what_runs(tmp_path: Path) -> None:
    async def story(ledger: Ledger, store: FaultyStore) -> None:
        head = await ledger.place()
        placing = asyncio.ensure_future(ledger.place())
        await asyncio.sleep(0)
        await ledger.service.drain()
        assert placing.done()
        await refused(Overloaded, ledger.place())
        assert (await ledger.service.describe())["is_draining"]
        await ledger.settle(failed(head))
        await ledger.settle(failed(await placing))

    tell(tmp_path, story)


def test_after_close_everything_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        store = FaultyStore(f"sqlite:///{tmp_path / 'midstream.db'}")
        async with open_ledger("", store=store) as ledger:
            await ledger.make_team()
            head = await ledger.place()
        await ledger.service.close()
        calls: list[Awaitable[Any]] = [
            ledger.place(),
            ledger.settle(completed(head)),
            ledger.service.find(key_of(head)),
            ledger.service.housekeeping(),
            ledger.service.audit(),
        ]
        for call in calls:
            await refused(Overloaded, call)

    asyncio.run(main())


def test_questions_are_bounded_too(tmp_path: Path) -> None:
    async def main() -> None:
        store = FaultyStore(f"sqlite:///{tmp_path / 'midstream.db'}")
        gate = threading.Event()
        reading = ReadingThreads(store, ThreadPoolExecutor, reads_max=3)
        asked = [asyncio.ensure_future(reading.run(lambda _c: gate.wait(30))) for _ in range(4)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert [type(call.exception()) for call in done] == [Overloaded]
        gate.set()
        await asyncio.wait(asked)
        assert await reading.run(lambda _c: 7) == 7
        await reading.aclose()
        store.close()

    asyncio.run(main())


def test_a_service_needs_no_loop_to_be_made(tmp_path: Path) -> None:
    """Ray constructs an actor outside of its loop."""
    store = FaultyStore(f"sqlite:///{tmp_path / 'midstream.db'}")
    service = LedgerService(store, settings=Settings(), clock=Clock())
    assert repr(service).startswith("<LedgerService open=0 teams=0 <GroupCommit waiting=0")

    async def main() -> None:
        assert await service.settle(Settlement.of(failed(header()))) is None
        with pytest.raises(InvalidRequest):
            await service.create_key("acme", "\0")
        await service.close()

    asyncio.run(main())
