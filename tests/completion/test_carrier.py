"""Goal: a completion whose readers have gone is left, whatever became of the call that says so.

Method: a real carrier; the test plays the replica, lease after lease, with a clock turned by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

import pytest

from actors.completion.carrier import Carrier
from actors.core.completion.readers import Departure
from actors.core.completion.transitions import StreamState
from actors.core.errors import CarrierBusy, InsufficientCredit, Overloaded
from actors.core.events import CancelSource, FinishReason, Started, TextDelta, Usage, UsageReported
from actors.core.upstream import UpstreamBatch
from actors.ports.carrier import ABSENT, DRAIN_LEASE_S
from actors.settings import Settings
from actors.testing import ManualClock, ScriptedLedger, ScriptedProvider, settle_loop
from tests.support.commands import command
from tests.support.virtual_time import run_virtual


class Here:
    actor = "completion-1"
    node_id = "n1"
    pid = 1


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.provider = ScriptedProvider()
        self.ledger = ScriptedLedger()
        self.settings = Settings()
        self.carrier = Carrier(
            Here(),
            slots_max=9,
            provider_of=lambda name: self.provider,
            ledger=self.ledger,
            clock=self.clock,
            settings=self.settings,
        )

    async def start(self, completion_id: str) -> None:
        await self.carrier.start(command(completion_id=completion_id), "replica")
        await settle_loop()
        self.provider.upstreams[-1].open()

    async def lease(self, reading: Mapping[str, int]) -> None:
        """Open the channel and break it off, as a connection does."""
        batches = self.carrier.channel("replica", reading)
        first = asyncio.ensure_future(anext(aiter(batches)))
        await settle_loop()
        first.cancel()
        await asyncio.wait({first})


def test_a_completion_that_the_channel_reads_no_more_is_left_although_nobody_said_so() -> None:
    """The call that detaches may be lost with its connection, while the channel goes on for others."""

    async def run() -> None:
        bench = Bench()
        await bench.start("cmp_1")
        await bench.start("cmp_2")
        read, unread = bench.carrier.running
        if read.header.completion_id != "cmp_1":
            read, unread = unread, read
        for _ in range(3):
            await bench.lease({"cmp_1": -1})
        await bench.clock.advance(bench.settings.reader_grace_s + 0.1)
        assert len(read.readers) == 1
        assert unread.completion.is_settled
        assert unread.completion.stream is StreamState.CANCELLED

    asyncio.run(run())


def test_a_start_that_overtook_the_opening_of_the_channel_stays_read() -> None:
    async def run() -> None:
        bench = Bench()
        await bench.start("cmp_1")
        for reading in ({}, {"cmp_1": -1}, {}):
            await bench.lease(reading)
        [driver] = bench.carrier.running
        assert len(driver.readers) == 1

    asyncio.run(run())


def test_a_start_that_is_made_again_after_its_completion_ended_is_answered_as_before() -> None:
    """Its connection broke before the answer came, and whoever waits for it must not be refused."""

    async def run() -> None:
        bench = Bench()
        await bench.start("cmp_1")
        events = (TextDelta(0, " a", 1), UsageReported(Usage(12, 1)))
        bench.provider.upstreams[-1].send(
            UpstreamBatch(events, None, FinishReason.STOP, None, True)
        )
        await settle_loop()
        await bench.lease({"cmp_1": -1})
        assert bench.carrier.log_of("cmp_1") is None, "it was forgotten"
        again = await bench.carrier.start(command(completion_id="cmp_1"), "replica")
        assert again == bench.ledger.answer
        assert len(bench.ledger.placements) == len(bench.provider.upstreams) == 1

    asyncio.run(run())


def test_a_standing_channel_is_told_of_a_start_before_its_provider_says_anything() -> None:
    """Else the first frame of every answer waited for the first token, or for the lease's end."""

    async def run() -> None:
        bench = Bench()
        batches = aiter(bench.carrier.channel("replica", {}))
        first = asyncio.ensure_future(anext(batches))
        await settle_loop()
        await bench.start("cmp_1")
        assert await first == [("cmp_1", 0, [Started(12)])]
        await cast(AsyncGenerator[Any, None], batches).aclose()

    asyncio.run(run())


def test_who_drains_takes_nothing_new_and_lets_what_runs_end() -> None:
    async def run() -> None:
        bench = Bench()
        await bench.start("cmp_1")
        [driver] = bench.carrier.running
        assert await bench.carrier.drain(cancels=False) == 1
        assert driver.completion.source is None
        with pytest.raises(CarrierBusy, match="nothing new"):
            await bench.start("cmp_2")
        again = await bench.carrier.start(command(completion_id="cmp_1"), "replica")
        assert again == bench.ledger.answer, "what it has is not new"
        assert await bench.carrier.drain(cancels=True) == 1
        await settle_loop()
        assert driver.completion.source is CancelSource.SHUTDOWN
        assert bench.carrier.running == ()
        assert await bench.carrier.drain(cancels=True) == 1, "its reader has not got its end"
        await bench.lease({"cmp_1": -1})
        assert await bench.carrier.drain(cancels=True) == 0

    asyncio.run(run())


def test_a_drain_that_nobody_orders_any_more_lapses() -> None:
    async def run() -> None:
        bench = Bench()
        await bench.carrier.drain(cancels=False)
        await asyncio.sleep(DRAIN_LEASE_S - 0.1)
        with pytest.raises(CarrierBusy):
            await bench.start("cmp_1")
        await asyncio.sleep(0.2)
        await bench.start("cmp_1")
        assert len(bench.carrier.running) == 1

    run_virtual(run())


def test_a_channel_that_nobody_opens_again_is_lost_with_its_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actors.completion.channel.CHANNEL_REOPEN_S", 0.0)

    async def run() -> None:
        bench = Bench()
        await bench.start("cmp_1")
        [driver] = bench.carrier.running
        await bench.lease({"cmp_1": -1})
        await settle_loop()
        assert len(driver.readers) == 0
        await bench.clock.advance(bench.settings.reader_grace_s + 0.1)
        assert driver.completion.source is CancelSource.CLIENT_DISCONNECT

    asyncio.run(run())


def test_a_refused_start_leaves_nothing_and_its_channel_is_told_that_it_is_absent() -> None:
    async def run() -> None:
        bench = Bench()
        bench.ledger._place_errors = [
            InsufficientCredit(needed_microcredits=2, available_microcredits=1)
        ]
        with pytest.raises(InsufficientCredit):
            await bench.carrier.start(command(completion_id="cmp_1"), "replica")
        assert bench.carrier.running == ()
        assert bench.carrier.log_of("cmp_1") is None
        batches = aiter(bench.carrier.channel("replica", {"cmp_1": -1}))
        assert await anext(batches) == [("cmp_1", ABSENT, [])]
        await cast(AsyncGenerator[Any, None], batches).aclose()
        await bench.carrier.detach("cmp_1", "nobody", Departure.LOST)
        assert repr(bench.carrier) == "<Carrier 0/9 []>"

    asyncio.run(run())


def test_a_cancel_whose_upstream_is_closed_does_not_wait_for_a_ledger_that_is_away() -> None:
    async def run() -> None:
        bench = Bench()
        await bench.start("cmp_1")
        await settle_loop()
        bench.ledger.hold_back()
        with pytest.raises(Overloaded, match="was stopped"):
            await bench.carrier.cancel("cmp_1", CancelSource.CLIENT_REQUEST)
        assert bench.provider.upstreams[-1].is_closed
        bench.ledger.let_go()
        answer = await bench.carrier.cancel("cmp_1", CancelSource.CLIENT_REQUEST)
        assert answer.record.finished is not None
        assert answer.record.finished.source is CancelSource.CLIENT_REQUEST

    run_virtual(run())


def test_a_cancel_whose_upstream_does_not_close_waits_as_long_as_its_caller() -> None:
    async def run() -> None:
        bench = Bench()
        await bench.start("cmp_1")
        await settle_loop()
        closing = asyncio.Event()
        bench.provider.upstreams[-1].aclose = closing.wait  # type: ignore[method-assign]
        asking = bench.carrier.cancel("cmp_1", CancelSource.CLIENT_REQUEST)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("actors.completion.upstream_pump._CLOSE_TIMEOUT_S", 60.0)
            asked = asyncio.ensure_future(asking)
            await asyncio.sleep(bench.settings.cancel_timeout_s)
            assert not asked.done()
            closing.set()
            assert (await asked).record.finished is not None

    run_virtual(run())


def test_a_long_replay_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.completion.channel._EVENTS_PER_FLUSH", 2)

    async def run() -> None:
        bench = Bench()
        await bench.start("cmp_1")
        bench.provider.upstreams[-1].send(UpstreamBatch((TextDelta(0, " a", 1),) * 4))
        await settle_loop()
        batches = aiter(bench.carrier.channel("replica", {"cmp_1": -1}))
        sizes = [len(news) for _ in range(3) for _, _, news in await anext(batches)]
        assert sizes == [2, 2, 1]
        later = aiter(bench.carrier.channel("replica", {"cmp_1": 4}))
        second = asyncio.ensure_future(anext(later))
        await settle_loop()
        with pytest.raises(StopAsyncIteration):  # One that is opened again ends the one before.
            bench.provider.upstreams[-1].send(UpstreamBatch((TextDelta(0, " a", 1),)))
            await anext(batches)
        assert await second == [("cmp_1", 5, [TextDelta(0, " a", 1)])]
        await cast(AsyncGenerator[Any, None], later).aclose()

    asyncio.run(run())
