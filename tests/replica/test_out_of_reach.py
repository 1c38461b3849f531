"""Goal: who is asked and never answers, as on a host that is cut off, is not waited for without end.

Method: a replica's runtime over a real ledger and a completion that runs, whose owner, or whose way
to it, says nothing. What it is on real hosts is the two-node tests' to show.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from actors.completion.carrier import Carrier
from actors.core.completion.readers import Departure
from actors.core.errors import (
    ActorAway,
    FailureCode,
    NotCancellable,
    Overloaded,
)
from actors.core.events import CancelSource, Event, Finished, TextDelta
from actors.core.record import CompletionRecord
from actors.core.request import Dialect, StartCommand
from actors.ledger.client import patient
from actors.ports.carrier import CarrierLink, ChannelBatch
from actors.ports.directory import CarrierLost
from actors.ports.ledger import CompletionKey, Ledger, Located, Placed
from actors.ports.registry import Slot
from actors.ports.runtime import CancelAnswer, CancelOutcome, CompletionRow, ReaderLeft
from actors.replica.mirrors import Mirrors
from actors.replica.records import settled_record
from actors.replica.runtime import ReplicaRuntime
from actors.rpc.contract import RemoteMethod
from serve_app.dialects.base import Operation
from serve_app.dialects.chat.errors import error_reply
from tests.dialects.recordings import HEADER
from tests.http.rig import Rig, finish, rig, say, until
from tests.support.virtual_time import run_virtual

Batches = AsyncIterator[ChannelBatch]
FirstLease = Callable[[Carrier, str, Batches], Awaitable[None]]


async def silence() -> Any:
    await asyncio.Event().wait()


class SilentLink:
    async def start(self, command: StartCommand, channel: str) -> Placed:
        return await silence()  # type: ignore[no-any-return]

    async def cancel(self, completion_id: str, source: CancelSource) -> CancelAnswer:
        return await silence()  # type: ignore[no-any-return]

    async def record(self, completion_id: str) -> CompletionRecord:
        return await silence()  # type: ignore[no-any-return]

    async def attach(self, completion_id: str, channel: str, cursor: int) -> None:
        await silence()

    async def detach(self, completion_id: str, channel: str, departure: Departure) -> None:
        await silence()

    async def channel(
        self, channel: str, reading: Mapping[str, int]
    ) -> AsyncIterator[ChannelBatch]:
        await silence()
        yield []


class CutOff:
    """A cluster that finds completions, or not even that, and no owner that answers."""

    def __init__(self, made: Rig, *, finds: bool, link: CarrierLink | None = None) -> None:
        self._ledger = made.ledger
        self._finds = finds
        self._link = link or SilentLink()

    def link(self, carrier: str) -> CarrierLink:
        return self._link

    async def look(self, carrier: str) -> None:
        pass

    def forget(self, carrier: str) -> None:
        raise AssertionError("no slot was given")

    async def lease(self, replica: str, node_id: str, count: int, given: int) -> list[Slot]:
        raise Overloaded("No actor is free.")

    async def renew(self, replica: str, held: dict[str, int], given: int) -> list[str]:
        raise AssertionError("no slot was given")

    async def locate(self, key: CompletionKey) -> Located | None:
        if not self._finds:
            await silence()
        return await self._ledger.find(key)

    async def rows(self) -> list[CompletionRow]:
        return []

    async def describe(self) -> dict[str, Any]:
        return {}


def runtime_over(cluster: CutOff, made: Rig, **changes: Any) -> ReplicaRuntime:
    return ReplicaRuntime(
        cluster,
        cluster,
        made.ledger,
        settings=made.settings.with_changes(**changes),
        replica="elsewhere",
        node_id="n1",
    )


@asynccontextmanager
async def cut_off(folder: Path, *, finds: bool) -> AsyncIterator[tuple[ReplicaRuntime, Rig]]:
    """A runtime that sees a running completion named `there`, and cannot reach its owner."""
    async with rig(folder) as made:
        call = made.create(headers={"Midstream-Completion-Id": "there"}, stream=True)
        (await made.upstream()).open()
        runtime = runtime_over(CutOff(made, finds=finds), made, cancel_timeout_s=0.05)
        yield runtime, made
        assert len(made.runtime.carrier.running) == 1, "the completion knows nothing of it"
        call.hang_up()
        await made.settled()
        await runtime.aclose()


KEY = CompletionKey("acme", Dialect.CHAT, "there")


@pytest.mark.parametrize("finds", [True, False], ids=["owner", "way to it"])
def test_a_cancel_says_in_time_that_it_cannot(tmp_path: Path, finds: bool) -> None:
    async def whole() -> None:
        async with cut_off(tmp_path, finds=finds) as (runtime, _):
            with pytest.raises(NotCancellable):
                await asyncio.wait_for(runtime.cancel(KEY, CancelSource.CLIENT_REQUEST), 20)

    asyncio.run(whole())


def test_a_cancel_goes_by_the_store_at_once_where_the_registry_is_silent(tmp_path: Path) -> None:
    async def whole() -> None:
        async with rig(tmp_path) as made:
            call = made.create(headers={"Midstream-Completion-Id": "there"}, stream=True)
            (await made.upstream()).open()
            cluster = CutOff(made, finds=False, link=made.runtime.carrier)
            # Less than a registry takes that is restarted.
            runtime = runtime_over(cluster, made, cancel_timeout_s=1.0)
            answer = await runtime.cancel(KEY, CancelSource.CLIENT_REQUEST)
            assert answer.outcome is CancelOutcome.JOINED
            await call.done()
            await runtime.aclose()

    asyncio.run(whole())


def test_a_cancel_by_the_operator_does_as_well(tmp_path: Path) -> None:
    async def whole() -> None:
        async with cut_off(tmp_path, finds=True) as (runtime, made):
            (driver,) = made.runtime.carrier.running
            name = driver.header.completion_id
            with pytest.raises(NotCancellable):
                await asyncio.wait_for(runtime.cancel_by_id(name, CancelSource.ADMIN), 20)

    asyncio.run(whole())


def test_reading_a_record_says_in_time_that_it_cannot(tmp_path: Path) -> None:
    async def whole() -> None:
        async with cut_off(tmp_path, finds=True) as (runtime, _):
            with pytest.raises(Overloaded):
                await asyncio.wait_for(runtime.get(KEY), 20)

    asyncio.run(whole())


class BrokenOnce:
    """A way to a carrier whose first lease goes wrong, as `first_lease` says; the next ones do not."""

    def __init__(self, carrier: Carrier, first_lease: FirstLease) -> None:
        self._carrier = carrier
        self._first_lease = first_lease
        self._leases = 0

    async def start(self, command: StartCommand, channel: str) -> Placed:
        return await self._carrier.start(command, channel)

    async def cancel(self, completion_id: str, source: CancelSource) -> CancelAnswer:
        return await self._carrier.cancel(completion_id, source)

    async def record(self, completion_id: str) -> CompletionRecord:
        return await self._carrier.record(completion_id)

    async def attach(self, completion_id: str, channel: str, cursor: int) -> None:
        await self._carrier.attach(completion_id, channel, cursor)

    async def detach(self, completion_id: str, channel: str, departure: Departure) -> None:
        await self._carrier.detach(completion_id, channel, departure)

    async def channel(
        self, channel: str, reading: Mapping[str, int]
    ) -> AsyncIterator[ChannelBatch]:
        self._leases += 1
        batches = self._carrier.channel(channel, reading)
        if self._leases == 1:
            await self._first_lease(self._carrier, channel, batches)
            return
        async for batch in batches:
            yield batch


async def is_lost_and_silent(carrier: Carrier, channel: str, batches: Batches) -> None:
    """The carrier takes the replica for dead, and the replica hears nothing."""
    await is_lost_in_between(carrier, channel, batches)
    await silence()


async def is_lost_in_between(carrier: Carrier, channel: str, batches: Batches) -> None:
    """The lease ends as it should, but the replica is so late with the next that it is taken for dead."""
    (driver,) = carrier.running
    await until(lambda: len(driver.readers) == 2, "the replica's reader is attached")
    await carrier.detach(driver.header.completion_id, channel, Departure.LOST)


async def swallows_the_end(carrier: Carrier, channel: str, batches: Batches) -> None:
    """The carrier hands over all there is, and what it handed over never arrives."""
    async for batch in batches:
        if any(isinstance(event, Finished) for _, _, events in batch for event in events):
            raise ActorAway("Away.")


@pytest.mark.parametrize(
    "first_lease",
    [is_lost_and_silent, is_lost_in_between, swallows_the_end],
    ids=lambda f: f.__name__,
)
def test_a_reader_misses_nothing_whatever_became_of_a_lease(
    tmp_path: Path, first_lease: FirstLease
) -> None:
    async def whole() -> None:
        async with rig(tmp_path) as made:
            call = made.create(stream=True)
            upstream = await made.upstream()
            upstream.open()
            (driver,) = made.runtime.carrier.running
            mirrors = Mirrors(
                CutOff(made, finds=True, link=BrokenOnce(made.runtime.carrier, first_lease)),
                made.ledger,
                channel="elsewhere",
                on_ended=lambda _mirror: None,
                on_lost=lambda _carrier: None,
                reader_grace_s=30.0,
                silence_timeout_s=0.05 if first_lease is is_lost_and_silent else 8.0,
            )
            name = driver.header.completion_id
            reader = await asyncio.wait_for(mirrors.join("in-memory", name), 20)
            assert reader is not None
            say(upstream, TextDelta(0, "a", 1), TextDelta(0, "b", 1))
            finish(upstream, 2)
            events: list[Event] = []
            while not events or not isinstance(events[-1], Finished):
                events += await asyncio.wait_for(reader.read(), 20)
            await reader.aclose(ReaderLeft.FINISHED)
            await mirrors.aclose()
            await call.done()
            assert tuple(events) == (await made.ledger.record(name)).events

    asyncio.run(whole())


def test_an_actor_that_is_away_is_told_as_overload() -> None:
    reply = error_reply(
        ActorAway("Away."), operation=Operation.CANCEL, request_id="req_1", is_strict=False
    )
    assert reply.status == 503
    assert b"retry-after" in dict(reply.headers)


class Silence:
    """Where the ledger is asked, and nobody answers."""

    async def call(self, method: RemoteMethod, arguments: tuple[Any, ...]) -> Any:
        await asyncio.get_running_loop().create_future()

    def stream(self, method: RemoteMethod, arguments: tuple[Any, ...]) -> AsyncIterator[Any]:
        raise AssertionError("The ledger has no streams.")


def test_a_ledger_that_does_not_answer_is_away() -> None:
    async def whole() -> None:
        ledger = patient(Silence(), {"authenticate": 0.05, "find": 0.05})
        for asked in (ledger.authenticate(["0" * 64]), ledger.find(KEY)):
            with pytest.raises(Overloaded):
                await asyncio.wait_for(asked, 20)

    asyncio.run(whole())


class Dying(SilentLink):
    """An owner whose process was killed: away at first, dead when Ray has noticed."""

    def __init__(self) -> None:
        self.asked = 0

    async def record(self, completion_id: str) -> CompletionRecord:
        self.asked += 1
        if self.asked == 1:
            raise ActorAway("Away.")
        raise CarrierLost


def test_reading_a_record_outlasts_the_moment_in_which_its_owner_dies(tmp_path: Path) -> None:
    async def whole() -> None:
        async with rig(tmp_path) as made:
            call = made.create(headers={"Midstream-Completion-Id": "there"}, stream=True)
            (await made.upstream()).open()
            (driver,) = made.runtime.carrier.running
            owner = Dying()
            runtime = runtime_over(CutOff(made, finds=True, link=owner), made)
            reading = asyncio.ensure_future(runtime.get(KEY))
            await until(lambda: owner.asked == 2, "it is asked again")
            await made.ledger.lose(driver.header.actor)
            record = await asyncio.wait_for(reading, 20)
            assert record.finished is not None
            assert record.finished.error is not None
            assert record.finished.error.code is FailureCode.COMPLETION_LOST
            call.hang_up()
            await made.settled()
            await runtime.aclose()

    asyncio.run(whole())


class SettledBetween:
    """A ledger that settles a completion between two questions about it."""

    def __init__(self, record: CompletionRecord) -> None:
        self._record = record
        self._located = Located(record.header.completion_id, "", "", is_settled=False)

    async def find(self) -> Located | None:
        found, self._located = self._located, replace(self._located, is_settled=True)
        return found

    async def record(self, completion_id: str) -> CompletionRecord:
        assert self._located.is_settled
        return self._record


def test_a_record_that_is_settled_while_it_is_looked_for_is_found() -> None:
    record = CompletionRecord(HEADER, ())
    ledger = SettledBetween(record)
    assert run_virtual(settled_record(cast(Ledger, ledger), ledger.find)) is record


def test_a_record_that_is_never_settled_is_not_waited_for_without_end() -> None:
    async def find() -> Located | None:
        return Located(HEADER.completion_id, "", "", is_settled=False)

    with pytest.raises(Overloaded):  # There is one, so that it is not found would be wrong.
        run_virtual(settled_record(cast(Ledger, None), find))
