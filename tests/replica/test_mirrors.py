"""Goal: whoever reads through a replica is told everything, however others come and go beside it.

Method: a replica's mirrors over one carrier that is played here: it remembers which channel reads what,
as a real one does, and the test decides how long each call takes and how it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from actors.completion.channel import CHANNEL_REOPEN_S, ChannelSource
from actors.core.completion.event_log import EventLog
from actors.core.completion.readers import Departure
from actors.core.errors import ActorAway, CompletionNotFound, FailureCode, Overloaded
from actors.core.events import CancelSource, Event, Finished, TextDelta
from actors.core.record import CompletionRecord
from actors.core.request import StartCommand
from actors.ports.carrier import ABSENT, CarrierLink, ChannelBatch
from actors.ports.directory import CarrierLost
from actors.ports.ledger import Located, Placed
from actors.ports.runtime import CancelAnswer, ReaderLeft
from actors.replica.mirror import Mirror, MirrorSubscription
from actors.replica.mirrors import Mirrors
from actors.testing import settle_loop
from tests.support.ledger import completed, header
from tests.support.virtual_time import run_virtual

NAME = "cmp_1"
ACTOR = "completion-1"


class PlayedLink:
    """A carrier of one completion. `answers` are awaited by `attach`, one per call."""

    def __init__(self) -> None:
        self.is_read = False
        self.attaches = 0
        self.answers: list[asyncio.Future[None]] = []
        self.departures: list[Departure] = []

    async def start(self, command: StartCommand, channel: str) -> Placed:
        raise AssertionError("nothing is started here")

    async def cancel(self, completion_id: str, source: CancelSource) -> CancelAnswer:
        raise AssertionError("nothing is cancelled here")

    async def record(self, completion_id: str) -> CompletionRecord:
        raise AssertionError("no record is asked for here")

    async def attach(self, completion_id: str, channel: str, cursor: int) -> None:
        self.attaches += 1
        self.is_read = True
        if self.answers:
            await self.answers.pop(0)

    async def detach(self, completion_id: str, channel: str, departure: Departure) -> None:
        self.is_read = False
        self.departures.append(departure)

    async def channel(
        self, channel: str, reading: Mapping[str, int]
    ) -> AsyncIterator[ChannelBatch]:
        await asyncio.Event().wait()
        yield []


class PlayedCarriers:
    """The way to that carrier."""

    def __init__(self, link: PlayedLink) -> None:
        self._link = link

    def link(self, carrier: str) -> CarrierLink:
        return self._link

    def forget(self, carrier: str) -> None:
        raise AssertionError("it lives")


class Bench:
    def __init__(self) -> None:
        self.link = PlayedLink()
        self.carriers = PlayedCarriers(self.link)
        self.mirrors = mirrors(self.carriers)

    def answer(self) -> asyncio.Future[None]:
        """Hold the next attach back until this is set."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.link.answers.append(future)
        return future

    def join(self) -> asyncio.Task[MirrorSubscription | None]:
        return asyncio.get_running_loop().create_task(self.mirrors.join(ACTOR, NAME))


def mirrors(carriers: Any, ledger: Any = None, **options: Any) -> Mirrors:
    """Without a ledger no end is looked up."""
    told: dict[str, Any] = {
        "on_ended": lambda mirror: None,
        "on_lost": lambda carrier: None,
    }
    return Mirrors(carriers, ledger, channel="replica", **told | options)


def played(check: Any) -> None:
    async def run() -> None:
        bench = Bench()
        try:
            async with asyncio.timeout(20):
                await check(bench)
        finally:
            await bench.mirrors.aclose()

    asyncio.run(run())


def rows(*texts: str) -> list[Event]:
    return [TextDelta(0, text, 1) for text in texts]


def test_rows_that_come_again_wake_nobody() -> None:
    async def check(bench: Bench) -> None:
        mirror = Mirror(NAME)
        reader = MirrorSubscription(mirror, on_close=lambda closed, reason: None)
        assert mirror.receive(0, rows("a", "b"))
        assert len(await reader.read()) == 2
        reading = asyncio.ensure_future(reader.read())
        await settle_loop()
        assert mirror.receive(0, rows("a", "b"))
        await settle_loop()
        assert not reading.done(), "there is nothing to tell"
        assert mirror.receive(1, rows("b", "c"))
        assert await reading == [TextDelta(0, "c", 1)]

    played(check)


def test_one_attach_serves_all_who_come_at_once() -> None:
    async def check(bench: Bench) -> None:
        first, second = bench.join(), bench.join()
        assert await first is not None
        assert await second is not None
        assert await bench.join() is not None
        assert bench.link.attaches == 1

    played(check)


def test_all_who_waited_for_an_attach_learn_that_the_completion_has_gone() -> None:
    """The first of them asked; the others must not wait on for what nobody will send."""

    async def check(bench: Bench) -> None:
        answer = bench.answer()
        joining = [bench.join() for _ in range(3)]
        await settle_loop()
        answer.set_exception(CompletionNotFound())
        late = bench.join()
        assert await asyncio.gather(*joining, late) == [None] * 4
        assert NAME not in bench.mirrors

    played(check)


def test_all_who_waited_for_an_attach_learn_that_it_failed() -> None:
    async def check(bench: Bench) -> None:
        answer = bench.answer()
        joining = [bench.join() for _ in range(3)]
        await settle_loop()
        answer.set_exception(Overloaded("Away."))
        errors = await asyncio.gather(*joining, return_exceptions=True)
        assert [type(error) for error in errors] == [Overloaded] * 3
        assert NAME not in bench.mirrors
        assert await bench.join() is not None, "and the next one tries again"

    played(check)


def test_a_caller_that_goes_while_it_attaches_leaves_no_reader_behind() -> None:
    async def check(bench: Bench) -> None:
        answer = bench.answer()
        leaving, staying = bench.join(), bench.join()
        await settle_loop()
        leaving.cancel()
        await settle_loop()
        answer.set_result(None)
        subscription = await staying
        assert subscription is not None
        await subscription.aclose(ReaderLeft.CLIENT_GONE)
        assert NAME not in bench.mirrors
        await settle_loop()
        assert not bench.link.is_read

    played(check)


@pytest.mark.parametrize("turns", range(3))
def test_who_comes_as_the_last_reader_leaves_is_read_to(turns: int) -> None:
    """Leaving and coming are two calls, and the second must not be undone by the first."""

    async def check(bench: Bench) -> None:
        first = await bench.join()
        assert first is not None
        await first.aclose(ReaderLeft.CLIENT_GONE)
        await settle_loop(turns)
        assert await bench.join() is not None
        await settle_loop()
        assert bench.link.is_read

    played(check)


def test_a_carrier_that_is_out_of_reach_when_a_reader_leaves_learns_it_by_the_lease() -> None:
    class Away(PlayedLink):
        async def detach(self, completion_id: str, channel: str, departure: Departure) -> None:
            raise ActorAway("Away.")

    async def run() -> None:
        reading = mirrors(PlayedCarriers(Away()))
        reader = await reading.join(ACTOR, NAME)
        assert reader is not None
        await reader.aclose(ReaderLeft.DETACHED)
        await reader.aclose(ReaderLeft.CLIENT_GONE)
        await settle_loop()
        await reading.aclose()

    run_virtual(run())


class PlayedStore:
    """The ledger, as far as a reader asks it for an end; away for the first so many calls."""

    def __init__(self, *, away: int = 0, error: Exception | None = None) -> None:
        self.away = away
        self.asked = 0
        self.error = error or Overloaded("The ledger is away.")

    async def find_by_id(self, completion_id: str) -> Located | None:
        self.asked += 1
        if self.asked <= self.away:
            raise self.error
        return Located(completion_id, ACTOR, "", is_settled=True)

    async def record(self, completion_id: str) -> CompletionRecord:
        return completed(header(completion_id=completion_id), tokens=3)


async def read_to_the_end(store: PlayedStore, **options: Any) -> list[Event]:
    """Read a completion whose carrier dies; return what its reader was told."""
    lost: list[str] = []
    ended: list[str] = []
    reading = mirrors(
        DeadCarriers(),
        store,
        on_lost=lost.append,
        on_ended=lambda mirror: ended.append(mirror.completion_id),
        **options,
    )
    events: list[Event] = []
    try:
        subscription = reading.open(ACTOR, NAME)
        while not (events and isinstance(events[-1], Finished)):
            events += await subscription.read()
        assert ended == [NAME], "before the reader has left"
        await subscription.aclose(ReaderLeft.FINISHED)
    finally:
        await reading.aclose()
    assert lost == [ACTOR]
    return events


class DeadCarriers:
    def link(self, carrier: str) -> CarrierLink:
        raise CarrierLost

    def forget(self, carrier: str) -> None:
        raise AssertionError("that is for whoever was told")


def test_a_reader_of_a_dead_carrier_waits_for_a_ledger_that_is_away() -> None:
    """Both die together when their host does; the completion may have ended well before that."""
    store = PlayedStore(away=3)
    events = run_virtual(read_to_the_end(store))
    assert store.asked == 4
    assert tuple(events) == completed(header(completion_id=NAME), tokens=3).events


def test_a_ledger_that_stays_away_leaves_the_reader_with_a_lost_end() -> None:
    store = PlayedStore(away=1_000)
    [end] = run_virtual(read_to_the_end(store, loss_timeout_s=0.25))
    assert isinstance(end, Finished)
    assert end.error is not None
    assert end.error.code is FailureCode.COMPLETION_LOST
    assert store.asked > 1


def test_a_reader_is_told_an_end_although_the_store_answers_nonsense() -> None:
    store = PlayedStore(away=1, error=ValueError("nonsense"))
    [end] = run_virtual(read_to_the_end(store))
    assert isinstance(end, Finished)
    assert end.error is not None
    assert end.error.code is FailureCode.COMPLETION_LOST


class ScriptedLink(PlayedLink):
    """Plays `leases`, one list of batches per opening; then each lease ends as it begins."""

    def __init__(self, *leases: list[ChannelBatch]) -> None:
        super().__init__()
        self._leases = list(leases)
        self.opened: list[dict[str, int]] = []
        self.closed = 0

    async def channel(
        self, channel: str, reading: Mapping[str, int]
    ) -> AsyncIterator[ChannelBatch]:
        self.opened.append(dict(reading))
        try:
            for batch in self._leases.pop(0) if self._leases else []:
                yield batch
        finally:
            self.closed += 1


def test_a_batch_that_is_missing_ends_the_lease_and_is_sent_by_the_next() -> None:
    async def run() -> None:
        gap: list[ChannelBatch] = [
            [(NAME, 0, rows("a"))],
            [(NAME, 2, rows("c"))],
            [("other", 0, [])],
        ]
        link = ScriptedLink(gap, [[(NAME, 1, rows("b", "c"))]])
        reading = mirrors(PlayedCarriers(link))
        reader = reading.open(ACTOR, NAME)
        events: list[Event] = []
        while len(events) < 3:
            events += await reader.read()
        assert events == [TextDelta(0, text, 1) for text in "abc"]
        assert link.opened[:2] == [{NAME: -1}, {NAME: 0}]
        assert link.closed == 2, "each was closed before the next was opened"
        await reader.aclose(ReaderLeft.DETACHED)
        await reading.aclose()

    run_virtual(run())


def test_a_lease_that_ends_as_it_begins_is_not_opened_again_at_once() -> None:
    async def run() -> None:
        link = ScriptedLink()
        reading = mirrors(PlayedCarriers(link))
        reader = reading.open(ACTOR, NAME)
        await asyncio.sleep(1.05)
        assert 5 < len(link.opened) < 15
        await reader.aclose(ReaderLeft.DETACHED)
        await reading.aclose()

    run_virtual(run())


def test_the_slot_is_free_when_the_end_comes_and_not_when_a_slow_reader_has_read_it() -> None:
    async def run() -> None:
        end = completed(header(completion_id=NAME), tokens=0).events[-1]
        link = ScriptedLink([[(NAME, 0, [end])]])
        ended: list[bool] = []
        reading = mirrors(
            PlayedCarriers(link), on_ended=lambda mirror: ended.append(mirror.is_finished)
        )
        reader = reading.open(ACTOR, NAME)
        await settle_loop()
        assert ended == [True]
        assert list(await reader.read()) == [end]
        with pytest.raises(EOFError):
            await reader.read()
        await reader.aclose(ReaderLeft.FINISHED)
        await reading.aclose()

    run_virtual(run())


def test_a_completion_that_its_carrier_has_no_more_is_ended_once_by_the_store() -> None:
    async def run() -> None:
        store = PlayedStore(away=5)
        absent: ChannelBatch = [(NAME, ABSENT, [])]
        link = ScriptedLink([[(NAME, 0, rows("a"))], absent], [absent], [absent])
        reading = mirrors(PlayedCarriers(link), store)
        reader = reading.open(ACTOR, NAME)
        events: list[Event] = []
        while not (events and isinstance(events[-1], Finished)):
            events += await reader.read()
        assert store.asked == 6, "one of them asks"
        await reader.aclose(ReaderLeft.FINISHED)
        await reading.aclose()

    run_virtual(run())


def test_a_completion_that_is_on_its_way_to_its_carrier_is_waited_for() -> None:
    class Open(PlayedStore):
        async def find_by_id(self, completion_id: str) -> Located | None:
            self.asked += 1
            return Located(completion_id, ACTOR, "", is_settled=False)

    async def run() -> None:
        store = Open()
        link = ScriptedLink([[(NAME, ABSENT, [])]], [[(NAME, 0, rows("a"))]])
        reading = mirrors(PlayedCarriers(link), store)
        reader = reading.open(ACTOR, NAME)
        assert await reader.read() == [TextDelta(0, "a", 1)]
        assert store.asked == 1
        await reader.aclose(ReaderLeft.DETACHED)
        await reading.aclose()

    run_virtual(run())


def test_a_carrier_that_does_not_let_a_reader_in_is_out_of_reach() -> None:
    async def run() -> None:
        link = PlayedLink()
        link.answers.append(asyncio.get_running_loop().create_future())
        reading = mirrors(PlayedCarriers(link))
        with pytest.raises(Overloaded):
            await reading.join(ACTOR, NAME)
        assert NAME not in reading
        await reading.aclose()

    run_virtual(run())


class NoLogs:
    def log_of(self, completion_id: str) -> EventLog | None:
        return None

    def delivered(self, completion_id: str) -> None:
        raise AssertionError("nothing is sent")


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is turned by hand."""

    now_s = 1_000.0

    def time(self) -> float:
        return self.now_s


def test_a_channel_waits_anew_for_its_replica_when_something_is_attached() -> None:
    """The replica opens the channel as it attaches, and its call may arrive a moment later."""
    loop = SteppedLoop()

    async def run() -> None:
        async def turn(seconds: float) -> None:
            loop.now_s += seconds
            await settle_loop()

        lost: list[ChannelSource] = []
        source = ChannelSource(NoLogs(), on_lost=lost.append)
        await turn(CHANNEL_REOPEN_S - 0.1)
        source.attach(NAME, -1)
        await turn(CHANNEL_REOPEN_S - 0.1)
        assert lost == []
        await turn(0.2)
        assert lost == [source], "but not for ever"

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run())


class OneLog:
    """The owner of one completion's log."""

    def __init__(self) -> None:
        self.log = EventLog(bytes_max=1_000)

    def log_of(self, completion_id: str) -> EventLog | None:
        return self.log

    def delivered(self, completion_id: str) -> None:
        raise AssertionError("it has no end")


def test_a_channel_sends_nothing_when_there_is_nothing_new() -> None:
    """Every batch is a call between processes; one that is empty costs as much as any."""

    async def run() -> None:
        owner = OneLog()
        source = ChannelSource(owner, on_lost=lambda _source: None)
        batches = source.batches({})
        source.attach("cmp_1", -1)
        source.mark("cmp_1")
        first = asyncio.ensure_future(anext(batches))
        await settle_loop()
        assert not first.done()
        owner.log.append(TextDelta(0, "a", 1))
        source.mark("cmp_1")
        assert await first == [("cmp_1", 0, rows("a"))]
        source.mark("cmp_1")
        again = asyncio.ensure_future(anext(batches))
        await settle_loop()
        assert not again.done()
        again.cancel()
        await asyncio.wait({again})

    asyncio.run(run())
