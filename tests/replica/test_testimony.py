"""Goal: the ledger is told what it does not have of a mirror and nothing else, and waited for in bounds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from actors.core.completion.partial_log import closings, joined
from actors.core.errors import ActorAway
from actors.core.events import Event, Finished, Started, TextDelta
from actors.core.record import CompletionRecord
from actors.ports.carrier import CarrierLink
from actors.ports.directory import CarrierLost
from actors.ports.ledger import NEVER_KEPT, Checkpoint, Located
from actors.ports.runtime import ReaderLeft
from actors.replica import testimony
from actors.replica.mirror import Mirror
from tests.replica.test_mirrors import ACTOR, NAME, DeadCarriers, PlayedLink, mirrors
from tests.support.ledger import failed, header
from tests.support.virtual_time import run_virtual

LOG: tuple[Event, ...] = (Started(12), *(TextDelta(0, f" w{n}", 1) for n in range(6)))


class Hearing:
    """The ledger: it has so many events of the completion already, and raises these first."""

    def __init__(self, kept: int = 0, *errors: Exception, most: int = 100) -> None:
        self.kept = kept
        self.errors = list(errors)
        self.most = most
        self.taken: list[Checkpoint] = []
        self.asked = 0

    async def checkpoint(self, actor: str, stretches: Sequence[Checkpoint]) -> dict[str, int]:
        assert actor == ACTOR
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        (stretch,) = stretches
        if stretch.count and stretch.first == self.kept and self.kept + stretch.count <= self.most:
            self.taken.append(stretch)
            self.kept += stretch.count
        return {stretch.completion_id: self.kept}

    @property
    def text(self) -> tuple[Event, ...]:
        return joined(stretch.events for stretch in self.taken)


def heard(hearing: Any, events: Sequence[Event] = LOG, *, timeout_s: float = 5.0) -> None:
    mirror = Mirror(NAME, ACTOR)
    mirror.extend(events)
    run_virtual(testimony.testify(hearing, mirror, timeout_s=timeout_s))


@pytest.mark.parametrize("kept", [0, 3, len(LOG), len(LOG) + 1])
def test_the_ledger_is_told_what_it_does_not_have(kept: int) -> None:
    hearing = Hearing(kept)
    heard(hearing)
    assert hearing.text == LOG[kept:]


def test_a_long_mirror_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testimony, "_EVENTS_MAX", 3)
    hearing = Hearing()
    heard(hearing)
    assert hearing.text == LOG
    assert len(hearing.taken) == 3


def test_what_may_not_be_written_down_is_not_told() -> None:
    hearing = Hearing(NEVER_KEPT)
    heard(hearing)
    assert (hearing.asked, hearing.taken) == (1, [])


def test_what_the_ledger_does_not_take_is_not_offered_again() -> None:
    hearing = Hearing(most=2)
    heard(hearing)
    assert (hearing.asked, hearing.taken) == (2, [])


def test_a_ledger_that_is_away_is_asked_again_and_not_for_ever() -> None:
    back = Hearing(0, *[ActorAway("Away.")] * 20)
    heard(back)
    assert back.text == LOG
    gone = Hearing(0, *[ActorAway("Away.")] * 1_000)
    heard(gone)
    assert gone.asked == pytest.approx(51, abs=2)


def test_a_bug_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    hearing = Hearing(0, ValueError("a bug"))
    with caplog.at_level(logging.ERROR):
        heard(hearing)
    assert hearing.asked == 1
    assert "could not be offered" in caplog.text


class Verdict(Hearing):
    """It has told the loss, with so many of the events in its record."""

    def __init__(self, recorded: int) -> None:
        super().__init__(most=recorded)
        self._recorded = recorded

    async def find_by_id(self, completion_id: str) -> Located | None:
        return Located(completion_id, ACTOR, "", is_settled=True)

    async def record(self, completion_id: str) -> CompletionRecord:
        record = failed(header(completion_id=completion_id))
        assert record.finished is not None
        log = LOG[: self._recorded]
        return CompletionRecord(record.header, (*log, *closings(log), record.finished))


@pytest.mark.parametrize(
    ("recorded", "mirrored"), [(7, 3), (7, 7), (5, 7), (0, 4), (0, 1)], ids=str
)
def test_a_reader_is_told_the_rest_and_one_end(recorded: int, mirrored: int) -> None:
    """What was shown is a prefix of what is recorded; where less could be saved, it is closed and ended."""

    async def run() -> None:
        verdict = Verdict(recorded)
        reading = mirrors(DeadCarriers(), verdict)
        mirror = Mirror(NAME, ACTOR)
        mirror.extend(LOG[:mirrored])
        reading._reading[ACTOR] = {NAME: mirror}
        await reading._end_from_store(mirror)
        *events, end = mirror.events
        shown = LOG[: max(recorded, mirrored)]
        assert tuple(events) == (*shown, *closings(shown))
        assert isinstance(end, Finished)
        await reading.aclose()

    run_virtual(run())


class HungCarriers:
    """Its connection stands and brings nothing; the cluster says that it is dead, after two looks."""

    def __init__(self) -> None:
        self.looks = 0

    def link(self, carrier: str) -> CarrierLink:
        return PlayedLink()

    async def look(self, carrier: str) -> None:
        self.looks += 1
        if self.looks == 1:
            raise ActorAway("The cluster does not answer.")
        if self.looks == 2:
            await asyncio.Event().wait()
        raise CarrierLost

    def forget(self, carrier: str) -> None:
        raise AssertionError("that is for whoever was told")


def test_a_carrier_that_hung_until_it_was_ended_is_known_to_be_dead() -> None:
    async def run() -> None:
        carriers, verdict, lost = HungCarriers(), Verdict(3), list[str]()
        reading = mirrors(carriers, verdict, on_lost=lost.append, silence_timeout_s=2.0)
        reader = reading.open(ACTOR, NAME)
        events: list[Event] = []
        while not (events and isinstance(events[-1], Finished)):
            events += await reader.read()
        assert (lost, carriers.looks) == ([ACTOR], 3)
        await reader.aclose(ReaderLeft.FINISHED)
        await reading.aclose()

    run_virtual(run())
