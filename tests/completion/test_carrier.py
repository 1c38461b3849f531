"""Goal: a completion whose readers have gone is left, whatever became of the call that says so.

Method: a real carrier; the test plays the replica, lease after lease, with a clock turned by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from actors.completion.carrier import Carrier
from actors.core.completion.transitions import StreamState
from actors.core.events import FinishReason, TextDelta, Usage, UsageReported
from actors.core.upstream import UpstreamBatch
from actors.settings import Settings
from actors.testing import ManualClock, ScriptedLedger, ScriptedProvider, settle_loop
from tests.support.commands import command


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
            slots=9,
            provider_of=lambda name: self.provider,
            ledger=self.ledger,
            clock=self.clock,
            settings=self.settings,
            on_began=lambda driver: None,
            on_freed=lambda driver: None,
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
