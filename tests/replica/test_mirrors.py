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
from actors.core.errors import ActorAway, CompletionNotFound, Overloaded
from actors.core.events import CancelSource, Event, Finished, TextDelta
from actors.core.record import CompletionRecord
from actors.core.request import StartCommand
from actors.ports.carrier import ABSENT, CarrierLink, ChannelBatch
from actors.ports.directory import CarrierLost
from actors.ports.ledger import Checkpoint, Located, Placed
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

    async def look(self, carrier: str) -> None:
        pass

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
        "reader_grace_s": 30.0,
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

    async def checkpoint(self, actor: str, stretches: list[Checkpoint]) -> dict[str, int]:
        return {}

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


def test_no_end_is_made_up_where_the_ledger_stays_away() -> None:
    store = PlayedStore(away=1_000)
    with pytest.raises(Overloaded):
        run_virtual(read_to_the_end(store, loss_timeout_s=0.25))
    assert store.asked > 1


def test_no_end_is_made_up_where_the_store_answers_nonsense() -> None:
    with pytest.raises(Overloaded):
        run_virtual(read_to_the_end(PlayedStore(away=1, error=ValueError("nonsense"))))


def test_no_end_is_made_up_where_no_verdict_comes() -> None:
    with pytest.raises(Overloaded):
        run_virtual(read_to_the_end(OpenStore()))


class OpenStore(PlayedStore):
    """It has the completion, and no end of it."""

    async def find_by_id(self, completion_id: str) -> Located | None:
        self.asked += 1
        return Located(completion_id, ACTOR, "", is_settled=False)


class EmptyStore(PlayedStore):
    """It has never heard of the completion: its hold was refused."""

    async def find_by_id(self, completion_id: str) -> Located | None:
        self.asked += 1
        return None


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
    async def run() -> None:
        store = EmptyStore()
        link = ScriptedLink([[(NAME, ABSENT, [])]], [[(NAME, 0, rows("a"))]])
        reading = mirrors(PlayedCarriers(link), store)
        start: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        reader = reading.starting(ACTOR, NAME, start)
        assert await reader.read() == [TextDelta(0, "a", 1)]
        assert store.asked == 0
        await reader.aclose(ReaderLeft.DETACHED)
        await reading.aclose()

    run_virtual(run())


def test_who_joined_a_start_that_was_then_refused_is_told_that_there_is_none() -> None:
    """The carrier has nothing to say of it any more, and the store never will."""

    async def run() -> None:
        absent: ChannelBatch = [(NAME, ABSENT, [])]
        link = ScriptedLink([absent], [absent], [absent])
        reading = mirrors(PlayedCarriers(link), EmptyStore())
        start: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        starting = reading.starting(ACTOR, NAME, start)
        joined = await reading.join(ACTOR, NAME)
        assert joined is not None
        start.set_exception(Overloaded("Refused."))
        await starting.aclose(ReaderLeft.CLIENT_GONE)
        with pytest.raises(CompletionNotFound):
            async with asyncio.timeout(10):
                await joined.read()
        assert NAME not in reading
        await joined.aclose(ReaderLeft.DETACHED)
        await settle_loop()
        assert link.departures == [], "there is nothing that it could be taken off"
        await reading.aclose()

    run_virtual(run())


def test_events_before_a_break_are_read_by_everybody() -> None:
    async def run() -> None:
        link = ScriptedLink([[(NAME, 0, rows("a"))], [(NAME, ABSENT, [])]])
        reading = mirrors(PlayedCarriers(link), EmptyStore())
        readers = [reading.open(ACTOR, NAME) for _ in range(2)]
        await asyncio.sleep(1)
        for reader in readers:
            assert await reader.read() == [TextDelta(0, "a", 1)]
            with pytest.raises(CompletionNotFound):
                await reader.read()
            await reader.aclose(ReaderLeft.DETACHED)
        await reading.aclose()

    run_virtual(run())


def test_what_the_carrier_has_after_all_goes_on() -> None:
    """It said that it has not, and got it in the same moment."""

    async def run() -> None:
        link = ScriptedLink([[(NAME, ABSENT, [])]], [[(NAME, 0, rows("a"))]])
        reading = mirrors(PlayedCarriers(link), OpenStore(), loss_timeout_s=0.0)
        reader = reading.open(ACTOR, NAME)
        assert await reader.read() == [TextDelta(0, "a", 1)]
        reader_waits = asyncio.ensure_future(reader.read())
        await asyncio.sleep(60)
        assert not reader_waits.done()
        reader_waits.cancel()
        await reader.aclose(ReaderLeft.DETACHED)
        await reading.aclose()

    run_virtual(run())


def test_a_start_that_goes_to_another_carrier_is_read_there() -> None:
    """Who joined it at the first one, which died, waits for what the store says; the start does not."""

    class Two:
        def __init__(self) -> None:
            self.second = ScriptedLink([[(NAME, 0, rows("a"))]])
            self.first = PlayedLink()
            self.first_died = asyncio.Event()

        def link(self, carrier: str) -> CarrierLink:
            if carrier == "second":
                return self.second
            if self.first_died.is_set():
                raise CarrierLost
            return self.first

        async def look(self, carrier: str) -> None:
            self.link(carrier)

    async def run() -> None:
        two = Two()
        reading = mirrors(two, OpenStore())
        joined = await reading.join("first", NAME)
        assert joined is not None
        two.first_died.set()
        start: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(1):
            started = reading.starting("second", NAME, start)
            assert await started.read() == [TextDelta(0, "a", 1)]
        await started.aclose(ReaderLeft.DETACHED)
        assert NAME in reading, "of the first carrier"
        with pytest.raises(Overloaded):
            await joined.read()
        await joined.aclose(ReaderLeft.DETACHED)
        assert NAME not in reading
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
