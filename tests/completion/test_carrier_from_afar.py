"""Goal: a carrier in another process is the carrier itself: all that it takes and says travels.

Method: a real carrier behind a real server, asked over TCP by the client that its port declares.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest

from actors.completion.carrier import Carrier
from actors.core.completion.readers import Departure
from actors.core.errors import CarrierBusy, CompletionNotFound, InsufficientCredit
from actors.core.events import CancelSource, Finished, FinishReason, Started, Status, TextDelta
from actors.core.upstream import UpstreamBatch
from actors.ports.carrier import CarrierLink, ChannelBatch
from actors.ports.clock import SystemClock
from actors.ports.ledger import Placed, RateState
from actors.ports.runtime import CancelOutcome
from actors.rpc.contracts import CARRIER, fingerprint
from actors.rpc.peer import Peer
from actors.rpc.serving import Server
from actors.rpc.tcp import TcpTransport
from actors.settings import Settings
from actors.testing import ScriptedLedger, ScriptedProvider, settle_loop
from tests.support.commands import command

A = TextDelta(0, " ä", 1)


class Here:
    actor = "completion-1"
    node_id = "n1"
    pid = 1


class Bench:
    def __init__(self) -> None:
        self.provider = ScriptedProvider()
        self.ledger = ScriptedLedger()
        self.carrier = Carrier(
            Here(),
            slots_max=1,
            provider_of=lambda name: self.provider,
            ledger=self.ledger,
            clock=SystemClock(),
            settings=Settings(),
        )


@asynccontextmanager
async def far(bench: Bench) -> AsyncIterator[CarrierLink]:
    """The carrier as another process has it."""
    transport = TcpTransport("secret", fingerprint())
    server = Server(transport, {CARRIER: bench.carrier})
    address = await server.start("127.0.0.1")

    async def find() -> object:
        return address

    peer = Peer(transport, find)  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(20):
            yield CARRIER.client(peer)
    finally:
        await peer.aclose()
        await server.aclose()


async def read(link: CarrierLink, completion_id: str) -> list[object]:
    """Read a completion to its end."""
    events: list[object] = []
    batches = cast(AsyncGenerator[ChannelBatch, None], link.channel("replica", {completion_id: -1}))
    async with aclosing(batches) as lease:
        async for batch in lease:
            for _, _, news in batch:
                events += news
            if events and isinstance(events[-1], Finished):
                return events
    return events


def test_a_completion_is_started_read_and_recorded_from_afar() -> None:
    async def run() -> None:
        bench = Bench()
        bench.ledger.answer = Placed(rate=RateState(10, 9, 1_800_000_000.0))
        async with far(bench) as link:
            assert (
                await link.start(command(completion_id="cmp_1"), "replica") == bench.ledger.answer
            )
            await settle_loop()
            upstream = bench.provider.upstreams[-1]
            assert upstream.command == command(completion_id="cmp_1")
            upstream.open()
            upstream.send(UpstreamBatch((A,)))
            upstream.send(UpstreamBatch((A,), None, FinishReason.STOP, None, True))
            events = await read(link, "cmp_1")
            assert events[:3] == [Started(12), A, A]
            assert isinstance(events[-1], Finished)
            assert events[-1].status is Status.COMPLETED

    asyncio.run(run())


def test_a_completion_is_joined_shown_left_and_cancelled_from_afar() -> None:
    async def run() -> None:
        bench = Bench()
        async with far(bench) as link:
            await link.start(command(completion_id="cmp_1"), "replica")
            await settle_loop()
            await link.attach("cmp_1", "other", -1)
            [driver] = bench.carrier.running
            assert len(driver.readers) == 2
            await link.detach("cmp_1", "other", Departure.CLIENT_GONE)
            assert len(driver.readers) == 1
            shown = await link.record("cmp_1")
            assert (shown.header, shown.status) == (driver.header, None)
            answer = await link.cancel("cmp_1", CancelSource.CLIENT_REQUEST)
            assert answer.outcome is CancelOutcome.JOINED
            assert answer.record.status is Status.CANCELLED
            assert answer.record.receipt is not None

    asyncio.run(run())


def test_what_a_carrier_refuses_is_told_as_itself() -> None:
    async def run() -> None:
        bench = Bench()
        async with far(bench) as link:
            await link.start(command(completion_id="cmp_1"), "replica")
            with pytest.raises(CarrierBusy):
                await link.start(command(completion_id="cmp_2"), "replica")
            for ask in (link.record("cmp_3"), link.cancel("cmp_3", CancelSource.ADMIN)):
                with pytest.raises(CompletionNotFound):
                    await ask
            await link.cancel("cmp_1", CancelSource.ADMIN)
            refusal = InsufficientCredit(needed_microcredits=2, available_microcredits=1)
            bench.ledger._place_errors = [refusal]
            with pytest.raises(InsufficientCredit) as told:
                await link.start(replace(command(), completion_id="cmp_4"), "replica")
            assert told.value.needed_microcredits == 2

    asyncio.run(run())
