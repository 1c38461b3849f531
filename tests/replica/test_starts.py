"""Goal: whatever a start meets, its slot goes back as what it is: free, unknown, or gone with its carrier.

Method: the runtime of a replica over carriers that are played here, on a loop that does not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from actors.completion.channel import ChannelBatch
from actors.core.completion.readers import Departure
from actors.core.errors import (
    ActorAway,
    CarrierBusy,
    CompletionNotFound,
    InsufficientCredit,
    NotCancellable,
    Overloaded,
    UnknownModel,
)
from actors.core.events import CancelSource
from actors.core.record import CompletionRecord
from actors.core.request import StartCommand
from actors.ports.carrier import CarrierLink
from actors.ports.directory import CarrierLost
from actors.ports.ledger import CompletionKey, Located, Placed
from actors.ports.registry import Slot
from actors.ports.runtime import CancelAnswer, CompletionRow, ReaderLeft
from actors.replica.runtime import ReplicaRuntime
from actors.settings import Settings
from actors.testing import settle_loop
from tests.support.commands import command
from tests.support.virtual_time import run_virtual

REFUSALS = [
    InsufficientCredit(needed_microcredits=2, available_microcredits=1),
    UnknownModel("nothing"),
]
UNKNOWN = [ActorAway("Away."), Overloaded("An actor failed."), ValueError("nonsense")]


class PlayedCarrier:
    """Answers each start with the next of `answers`, and with yes when there are none."""

    def __init__(self) -> None:
        self.answers: list[BaseException | asyncio.Future[Placed]] = []
        self.cancel_error: Exception | None = None
        self.started: list[str] = []
        self.detached: list[Departure] = []

    async def start(self, command: StartCommand, channel: str) -> Placed:
        self.started.append(command.completion_id)
        answer = self.answers.pop(0) if self.answers else Placed()
        if isinstance(answer, BaseException):
            raise answer
        return await answer if isinstance(answer, asyncio.Future) else answer

    async def cancel(self, completion_id: str, source: CancelSource) -> CancelAnswer:
        assert self.cancel_error is not None
        raise self.cancel_error

    async def record(self, completion_id: str) -> CompletionRecord:
        raise CompletionNotFound

    async def attach(self, completion_id: str, channel: str, cursor: int) -> None:
        raise CompletionNotFound

    async def detach(self, completion_id: str, channel: str, departure: Departure) -> None:
        self.detached.append(departure)

    async def channel(
        self, channel: str, reading: Mapping[str, int]
    ) -> AsyncIterator[ChannelBatch]:
        await asyncio.sleep(3)
        yield []


class Bench:
    """Carriers `c0` and `c1` with a slot each; what the registry knows of them is what it is told."""

    def __init__(self) -> None:
        self.carriers = {name: PlayedCarrier() for name in ("c0", "c1")}
        self.leased: list[str] = []
        self.free = ["c1", "c0"]
        self.held: dict[str, int] = {}
        self.forgotten: list[str] = []
        self.dead: set[str] = set()
        self.located: Located | None = None
        self.stored: Located | None = None
        self.store_error: Exception | None = None
        self.runtime = ReplicaRuntime(
            self,
            self,
            self,  # type: ignore[arg-type]  # of a ledger only `find` is asked here
            settings=Settings(),
            replica="r",
            node_id="n1",
        )

    # Carriers.

    def link(self, carrier: str) -> CarrierLink:
        if carrier in self.dead:
            raise CarrierLost
        return self.carriers[carrier]

    def forget(self, carrier: str) -> None:
        self.forgotten.append(carrier)

    # Registry.

    async def lease(self, replica: str, node_id: str, count: int, given: int) -> list[Slot]:
        if not self.free:
            await asyncio.sleep(30)
            raise Overloaded("No actor came free in time.")
        self.leased.append(self.free.pop())
        return [Slot(self.leased[-1])]

    async def renew(self, replica: str, held: dict[str, int], given: int) -> list[str]:
        self.held = held
        return []

    async def recalls(self, replica: str) -> AsyncIterator[int]:
        await asyncio.sleep(3_600)
        yield 0

    async def locate(self, key: CompletionKey) -> Located | None:
        return self.located

    async def rows(self) -> list[CompletionRow]:
        return []

    async def describe(self) -> dict[str, Any]:
        return {}

    # Ledger.

    async def find(self, key: CompletionKey) -> Located | None:
        if self.store_error:
            raise self.store_error
        return self.stored


def played(check: Callable[[Bench], Awaitable[None]]) -> None:
    async def run() -> None:
        bench = Bench()
        try:
            await check(bench)
        finally:
            await bench.runtime.aclose()

    run_virtual(run())


@pytest.mark.parametrize("error", REFUSALS, ids=lambda e: type(e).__name__)
def test_the_slot_of_a_start_that_was_refused_is_used_again(error: Exception) -> None:
    async def check(bench: Bench) -> None:
        bench.carriers["c0"].answers = [error]
        with pytest.raises(type(error)):
            await bench.runtime.start(command())
        await bench.runtime.start(command())
        assert bench.leased == ["c0"]

    played(check)


@pytest.mark.parametrize("error", UNKNOWN, ids=lambda e: type(e).__name__)
def test_the_slot_of_a_start_that_may_run_is_not_used_again(error: Exception) -> None:
    """Its answer was lost, or was none: only its carrier knows what is in the slot."""

    async def check(bench: Bench) -> None:
        bench.carriers["c0"].answers = [error]
        with pytest.raises(type(error)):
            await bench.runtime.start(command())
        await settle_loop()
        assert bench.carriers["c0"].detached == [Departure.CLIENT_GONE], "nobody will read it"
        await bench.runtime.start(command())
        assert bench.leased == ["c0", "c1"]
        await asyncio.sleep(1.5)
        assert bench.held == {"c1": 1}

    played(check)


def test_a_start_looks_on_when_its_carrier_has_died_or_is_full() -> None:
    async def check(bench: Bench) -> None:
        bench.dead = {"c0"}
        bench.carriers["c1"].answers = [CarrierBusy("Full.")] * 7
        bench.free = [*["c1"] * 8, "c0"]
        await bench.runtime.start(command())
        assert bench.forgotten == ["c0"]
        assert len(bench.carriers["c1"].started) == 8

    played(check)


def test_a_start_that_finds_no_room_says_so_when_its_time_is_over() -> None:
    async def check(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        bench.free = ["c0"] * 10_000
        bench.carriers["c0"].answers = [CarrierBusy("Full.")] * 10_000
        began_s = loop.time()
        with pytest.raises(Overloaded):
            await bench.runtime.start(command())
        assert 25 < loop.time() - began_s < 35

    played(check)


def test_a_slot_comes_back_when_the_reader_of_its_completion_leaves() -> None:
    async def check(bench: Bench) -> None:
        started = await bench.runtime.start(command())
        await started.subscription.aclose(ReaderLeft.CLIENT_GONE)
        await asyncio.sleep(1.5)
        assert bench.held == {}, "it may run on, so the slot is not ours to use again"

    played(check)


@pytest.mark.parametrize("end", [Placed(), ActorAway("Away.")], ids=["runs", "away"])
def test_a_caller_that_leaves_while_it_starts_leaves_no_reader(end: Any) -> None:
    async def check(bench: Bench) -> None:
        answer: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
        bench.carriers["c0"].answers = [answer]
        starting = asyncio.ensure_future(bench.runtime.start(command()))
        await settle_loop()
        starting.cancel()
        await settle_loop()
        assert starting.cancelled()
        assert bench.carriers["c0"].detached == [], "its carrier is told when it has it"
        if isinstance(end, Placed):
            answer.set_result(end)
        else:
            answer.set_exception(end)
        await settle_loop()
        assert bench.carriers["c0"].detached == [Departure.CLIENT_GONE]

    played(check)


def test_a_start_that_nobody_waits_for_ends_with_the_replica() -> None:
    async def check(bench: Bench) -> None:
        bench.carriers["c0"].answers = [asyncio.get_running_loop().create_future()]
        starting = asyncio.ensure_future(bench.runtime.start(command()))
        await settle_loop()
        starting.cancel()
        await settle_loop()

    played(check)


KEY = CompletionKey("acme", command().dialect, "there")
OPEN = Located("cmp_1", "c0", "n1", is_settled=False)


def test_a_cancel_whose_owner_is_away_says_that_it_cannot() -> None:
    async def check(bench: Bench) -> None:
        bench.located = OPEN
        bench.carriers["c0"].cancel_error = ActorAway("Away.")
        with pytest.raises(NotCancellable):
            await bench.runtime.cancel(KEY, CancelSource.CLIENT_REQUEST)

    played(check)


def test_where_something_ran_once_is_no_proof_that_it_is_there() -> None:
    """The registry may remember a place for ever; the store alone says what there is."""

    async def check(bench: Bench) -> None:
        bench.located = OPEN
        bench.carriers["c0"].cancel_error = CompletionNotFound()
        for ask in (
            bench.runtime.get(KEY),
            bench.runtime.subscribe(KEY),
            bench.runtime.cancel(KEY, CancelSource.CLIENT_REQUEST),
            bench.runtime.delete(KEY),
        ):
            with pytest.raises(CompletionNotFound):
                await ask

    played(check)


def test_what_was_deleted_is_not_found_although_somebody_here_reads_it_still() -> None:
    async def check(bench: Bench) -> None:
        started = await bench.runtime.start(command())
        bench.located = bench.stored = Located(
            command().completion_id, "c0", "n1", is_settled=False
        )
        again = await bench.runtime.subscribe(KEY)
        await again.aclose(ReaderLeft.DETACHED)
        bench.stored = None
        with pytest.raises(CompletionNotFound):
            await bench.runtime.subscribe(KEY)
        bench.store_error = Overloaded("Away.")
        again = await bench.runtime.subscribe(KEY)
        assert again.completion_id == started.subscription.completion_id

    played(check)


def test_what_has_lost_its_owner_is_being_settled() -> None:
    async def check(bench: Bench) -> None:
        bench.located = bench.stored = OPEN
        bench.dead = {"c0"}
        with pytest.raises(NotCancellable):
            await bench.runtime.cancel(KEY, CancelSource.CLIENT_REQUEST)

    played(check)
