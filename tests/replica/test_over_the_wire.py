"""Goal: what a replica asks of a carrier in another process comes back as if it were in this one.

Method: a carrier behind a server on a real socket, and a runtime that reaches it there alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.core.errors import CompletionNotFound
from actors.core.events import CancelSource, Event, Finished, Status, TextDelta
from actors.core.request import Dialect
from actors.ports.ledger import CompletionKey
from actors.ports.runtime import CancelOutcome, ReaderLeft
from actors.ports.transport import Address
from actors.replica.links import Links
from actors.replica.runtime import ReplicaRuntime
from actors.rpc.contracts import CARRIER, fingerprint
from actors.rpc.serving import Server
from actors.rpc.tcp import TcpTransport
from tests.http.rig import Rig, finish, rig, say
from tests.replica.test_out_of_reach import CutOff

KEY = CompletionKey("acme", Dialect.CHAT, "there")


class _There:
    """The one carrier's address."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def address(self, carrier: str) -> Address:
        return self._address


@asynccontextmanager
async def over_the_wire(folder: Path) -> AsyncIterator[tuple[ReplicaRuntime, Rig]]:
    async with rig(folder) as made:
        transport = TcpTransport("a token of the tests", fingerprint())
        server = Server(transport, {CARRIER: made.runtime.carrier})
        links = Links(transport, _There(await server.start("127.0.0.1")))
        runtime = ReplicaRuntime(
            links,
            CutOff(made, finds=True),
            made.ledger,
            settings=made.settings,
            replica="elsewhere",
            node_id="n1",
        )
        try:
            async with asyncio.timeout(60):
                yield runtime, made
        finally:
            await runtime.aclose()
            await links.aclose()
            await server.aclose()


def test_a_completion_is_read_and_cancelled_from_afar(tmp_path: Path) -> None:
    async def whole() -> None:
        async with over_the_wire(tmp_path) as (runtime, made):
            call = made.create(headers={"Midstream-Completion-Id": "there"}, stream=True)
            upstream = await made.upstream()
            upstream.open()
            reader = await runtime.subscribe(KEY)
            say(upstream, TextDelta(0, "a", 1), TextDelta(0, "b", 1))
            events: list[Event] = []
            while sum(isinstance(event, TextDelta) for event in events) < 2:
                events += await reader.read()
            record = await runtime.get(KEY)
            assert list(record.events)[: len(events)] == events
            answer = await runtime.cancel(KEY, CancelSource.CLIENT_REQUEST)
            assert answer.outcome is CancelOutcome.JOINED
            while not isinstance(events[-1], Finished):
                events += await reader.read()
            assert events[-1] == answer.record.finished
            assert events[-1].status is Status.CANCELLED
            await reader.aclose(ReaderLeft.FINISHED)
            again = await runtime.cancel(KEY, CancelSource.ADMIN)
            assert again.outcome is CancelOutcome.TERMINAL
            await runtime.delete(KEY)
            with pytest.raises(CompletionNotFound):
                await runtime.get(KEY)
            await call.done()

    asyncio.run(whole())


def test_a_reader_from_afar_reads_all_of_it(tmp_path: Path) -> None:
    async def whole() -> None:
        async with over_the_wire(tmp_path) as (runtime, made):
            call = made.create(headers={"Midstream-Completion-Id": "there"}, stream=True)
            upstream = await made.upstream()
            upstream.open()
            reader = await runtime.subscribe(KEY)
            say(upstream, *(TextDelta(0, str(number), 1) for number in range(500)))
            finish(upstream, 500)
            events: list[Event] = []
            while not events or not isinstance(events[-1], Finished):
                events += await reader.read()
            await reader.aclose(ReaderLeft.FINISHED)
            await call.done()
            assert tuple(events) == (await runtime.get(KEY)).events

    asyncio.run(whole())
