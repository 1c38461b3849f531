"""What carries completions: drivers by id, channels by name, and a number of slots.

A `CompletionActor` is a carrier in a process of its own; `InMemoryRuntime` has one in this process.
`actors.ports.carrier` has it as its callers see it. No Ray here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from typing import Protocol

from actors.completion.channel import ChannelSource
from actors.completion.checkpointer import Checkpointer
from actors.completion.driver import CompletionDriver
from actors.completion.reporter import Reporter
from actors.core.completion.event_log import EventLog
from actors.core.completion.readers import Departure
from actors.core.errors import CarrierBusy, CompletionNotFound, Overloaded
from actors.core.events import CancelSource
from actors.core.record import CompletionHeader, CompletionRecord
from actors.core.request import StartCommand
from actors.ports.carrier import DRAIN_LEASE_S, CarrierFacts, ChannelBatch
from actors.ports.clock import Clock
from actors.ports.ledger import HoldLedger, Placed
from actors.ports.provider import Provider
from actors.ports.runtime import CancelAnswer, CancelOutcome
from actors.settings import Settings

__all__ = ["Carrier", "Owner"]

_ANSWERS_MAX = 4_096
"""Latest starts whose answer is kept: one whose connection broke is made again, when the completion may
have ended and been forgotten."""

_PART = 0.8
"""Of the time that a cancel may take: when a carrier says that it only waits for the ledger."""

_STOPPED = "The completion was stopped; what became of it is known when the ledger answers again."


def _nothing(_driver: CompletionDriver) -> None:
    pass


class Owner(Protocol):
    """Who the carrier is: written into headers so that others find it."""

    @property
    def actor(self) -> str: ...
    @property
    def node_id(self) -> str: ...
    @property
    def pid(self) -> int: ...


class Carrier:
    """Drivers of up to `slots_max` completions at once, each with its own machine, log and meter.

    Args:
        provider_of: resolves a command's provider name.
        fingerprint: of the deploy.
        on_began, on_freed: called with each completion that took a slot, and when it was settled or
            refused and the slot is free again.
        thread: where long records are encoded; None encodes them where they are.
    """

    def __init__(
        self,
        owner: Owner,
        *,
        slots_max: int,
        provider_of: Callable[[str], Provider],
        ledger: HoldLedger,
        clock: Clock,
        settings: Settings,
        fingerprint: str = "",
        on_began: Callable[[CompletionDriver], None] = _nothing,
        on_freed: Callable[[CompletionDriver], None] = _nothing,
        thread: Executor | None = None,
    ) -> None:
        self._owner = owner
        self.reporter = Reporter(owner.actor)
        self.checkpointer = Checkpointer(owner.actor, ledger, running=lambda: self.running)
        self._fingerprint = fingerprint
        self._slots_max = slots_max
        self._provider_of = provider_of
        self._ledger = ledger
        self._clock = clock
        self._settings = settings
        self._on_began = on_began
        self._on_freed = on_freed
        self._thread = thread
        self._drivers: dict[str, CompletionDriver] = {}
        self._running: set[str] = set()
        self._channels: dict[str, ChannelSource] = {}
        self._answers: dict[str, Placed] = {}  # of starts, the latest last
        self._drains_until_s = 0.0

    def __repr__(self) -> str:
        return f"<Carrier {len(self._running)}/{self._slots_max} {sorted(self._running)[:1]}>"

    @property
    def running(self) -> tuple[CompletionDriver, ...]:
        """The completions that hold a slot."""
        return tuple(self._drivers[completion_id] for completion_id in self._running)

    async def start(self, command: StartCommand, channel: str) -> Placed:
        completion_id = command.completion_id
        answer = self._answers.get(completion_id)
        if answer is not None:
            return answer
        driver = self._drivers.get(completion_id) or self._begin(command, channel)
        answer = self._answers[completion_id] = await driver.placed()
        if len(self._answers) > _ANSWERS_MAX:
            del self._answers[next(iter(self._answers))]
        return answer

    async def cancel(self, completion_id: str, source: CancelSource) -> CancelAnswer:
        driver = self._driver(completion_id)
        driver.cancel(source)
        try:
            async with asyncio.timeout(_PART * self._settings.cancel_timeout_s):
                return CancelAnswer(CancelOutcome.JOINED, await driver.settled())
        except TimeoutError:
            if driver.waits_for_ledger:
                raise Overloaded(_STOPPED) from None
        return CancelAnswer(CancelOutcome.JOINED, await driver.settled())

    async def record(self, completion_id: str) -> CompletionRecord:
        return self._driver(completion_id).record()

    async def attach(self, completion_id: str, channel: str, cursor: int) -> None:
        driver = self._driver(completion_id)
        driver.readers.attach(channel)
        self._channel(channel).attach(completion_id, cursor)

    async def detach(self, completion_id: str, channel: str, departure: Departure) -> None:
        self._detach(completion_id, channel, departure)

    def channel(self, channel: str, reading: Mapping[str, int]) -> AsyncIterator[ChannelBatch]:
        for completion_id in reading.keys() & self._drivers.keys():
            self._drivers[completion_id].readers.attach(channel)
        source = self._channel(channel)
        for completion_id in source.left(reading):
            self._detach(completion_id, channel, Departure.LOST)
        return source.batches(reading)

    async def ping(self) -> None:
        pass

    async def describe(self) -> CarrierFacts:
        owner = self._owner
        return CarrierFacts(
            actor=owner.actor,
            node_id=owner.node_id,
            pid=owner.pid,
            fingerprint=self._fingerprint,
            slots=self._settings.streams_per_actor,
            slots_max=self._slots_max,
            report=self.reporter.whole(),
            rows=tuple(driver.row() for driver in self.running),
        )

    async def drain(self, *, cancels: bool) -> int:
        self._drains_until_s = _now_s() + DRAIN_LEASE_S
        if cancels:
            for driver in self.running:
                driver.cancel(CancelSource.SHUTDOWN)
        return len(self._drivers)

    # For the channels: see channel.LogOwner.

    def log_of(self, completion_id: str) -> EventLog | None:
        driver = self._drivers.get(completion_id)
        return driver.completion.log if driver else None

    def delivered(self, completion_id: str) -> None:
        self._forget_if_read(completion_id)

    # Inside.

    def _begin(self, command: StartCommand, channel: str) -> CompletionDriver:
        if _now_s() < self._drains_until_s:
            raise CarrierBusy("This actor takes nothing new.")
        if len(self._running) >= self._slots_max:
            raise CarrierBusy("This actor carries as many completions as it may.")
        owner = self._owner
        driver = CompletionDriver(
            command,
            CompletionHeader.of(command, actor=owner.actor, node_id=owner.node_id, pid=owner.pid),
            provider=self._provider_of(command.provider),
            ledger=self._ledger,
            clock=self._clock,
            settings=self._settings,
            on_change=self._changed,
            on_settled=self._settled,
            thread=self._thread,
        )
        self._drivers[command.completion_id] = driver
        self._running.add(command.completion_id)
        driver.readers.attach(channel)
        self._channel(channel).attach(command.completion_id, -1)
        driver.start()
        self.reporter.began(driver)
        self.checkpointer.began()
        self._on_began(driver)
        return driver

    def _driver(self, completion_id: str) -> CompletionDriver:
        """Return the driver of what runs here. A settled completion is the store's, and may be deleted
        there, although it stays here until every channel has its end.
        """
        driver = self._drivers.get(completion_id)
        if driver is None or driver.completion.is_settled:
            raise CompletionNotFound
        return driver

    def _detach(self, completion_id: str, channel: str, departure: Departure) -> None:
        source = self._channels.get(channel)
        if source is not None:
            source.detach(completion_id)
        driver = self._drivers.get(completion_id)
        if driver is not None:
            driver.reader_left(channel, departure)
            self._forget_if_read(completion_id)

    def _channel(self, name: str) -> ChannelSource:
        source = self._channels.get(name)
        if source is None:
            source = ChannelSource(self, on_lost=lambda lost: self._channel_lost(name, lost))
            self._channels[name] = source
        return source

    def _channel_lost(self, name: str, source: ChannelSource) -> None:
        if self._channels.get(name) is source:
            del self._channels[name]
        for completion_id in source.completions:
            driver = self._drivers.get(completion_id)
            if driver is not None:
                driver.reader_left(name, Departure.LOST)
                self._forget_if_read(completion_id)

    def _changed(self, driver: CompletionDriver) -> None:
        for source in self._channels.values():
            source.mark(driver.header.completion_id)

    def _settled(self, driver: CompletionDriver) -> None:
        completion_id = driver.header.completion_id
        self._running.discard(completion_id)
        if driver.completion.log.finished is None:
            # Its hold was refused: there is no end that a channel could deliver.
            for source in self._channels.values():
                source.detach(completion_id)
        self.reporter.ended(driver)
        self._on_freed(driver)
        self._forget_if_read(completion_id)

    def _forget_if_read(self, completion_id: str) -> None:
        """Drop a settled completion once every channel has its end; its record is in the store."""
        driver = self._drivers.get(completion_id)
        if driver is None or completion_id in self._running:
            return
        if not any(completion_id in source.completions for source in self._channels.values()):
            del self._drivers[completion_id]


def _now_s() -> float:
    return asyncio.get_running_loop().time()
