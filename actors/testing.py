"""Test doubles that ship: a clock turned by hand, a provider that plays a script, a ledger in memory,
and the whole runtime without Ray.

`InMemoryRuntime` is the driver and the carrier themselves, in this process, with whatever ledger and
providers it is given: most of what a test meets there is the real code.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actors.completion.carrier import Carrier
from actors.core.errors import CompletionRuntimeError, UpstreamError
from actors.core.request import StartCommand
from actors.core.upstream import UpstreamBatch
from actors.ports.carrier import CarrierLink
from actors.ports.clock import Clock, SystemClock, Timer
from actors.ports.directory import CarrierLost
from actors.ports.ledger import (
    Checkpoint,
    CompletionKey,
    HoldExtension,
    HoldPlacement,
    Ledger,
    Located,
    Placed,
    Settlement,
)
from actors.ports.provider import NativeProviders, Provider
from actors.ports.registry import CarrierReport, Slot
from actors.ports.runtime import CompletionRow
from actors.registry.draining import refusal
from actors.replica.runtime import ReplicaRuntime
from actors.settings import Settings

__all__ = [
    "InMemoryRuntime",
    "ManualClock",
    "ScriptedLedger",
    "ScriptedProvider",
    "ScriptedUpstream",
    "settle_loop",
]


_SLOTS = 1_000
"""Completions that run at once in a runtime in memory."""


async def settle_loop(turns: int = 20) -> None:
    """Let everything that is ready run: as many turns of the loop as a chain of callbacks may take."""
    for _ in range(turns):
        await asyncio.sleep(0)


@dataclass(slots=True, eq=False)
class _ManualTimer:
    deadline_ns: int
    callback: Callable[[], None]
    is_cancelled: bool = False

    def __lt__(self, other: _ManualTimer) -> bool:
        return self.deadline_ns < other.deadline_ns

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualClock:
    """Time stands still until `advance`. Wall time starts at 1,800,000,000 s."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._timers: list[_ManualTimer] = []

    def now_ns(self) -> int:
        return self._now_ns

    def wall_s(self) -> float:
        return 1_800_000_000.0 + self._now_ns / 1e9

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> Timer:
        timer = _ManualTimer(deadline_ns, callback)
        heapq.heappush(self._timers, timer)
        return timer

    async def advance(self, seconds: float) -> None:
        """Move on, firing each timer at its own time, and let the loop settle after each."""
        end_ns = self._now_ns + int(seconds * 1e9)
        while self._timers and self._timers[0].deadline_ns <= end_ns:
            timer = heapq.heappop(self._timers)
            self._now_ns = max(self._now_ns, timer.deadline_ns)
            if not timer.is_cancelled:
                timer.callback()
            await settle_loop()
        self._now_ns = end_ns
        await settle_loop()


class ScriptedUpstream:
    """One request to a `ScriptedProvider`: the test opens it, feeds it and sees it closed."""

    def __init__(self, command: StartCommand) -> None:
        self.command = command
        self.is_closed = False
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batches: asyncio.Queue[UpstreamBatch] = asyncio.Queue()

    def open(self) -> None:
        """The provider answers 2xx."""
        self._opened.set_result(None)

    def refuse(self, error: UpstreamError) -> None:
        self._opened.set_exception(error)

    def send(self, batch: UpstreamBatch) -> None:
        self._batches.put_nowait(batch)

    async def connect(self) -> None:
        await self._opened

    async def batches(self) -> AsyncIterator[UpstreamBatch]:
        while True:
            batch = await self._batches.get()
            yield batch
            if batch.is_end or batch.failure is not None:
                return

    async def aclose(self) -> None:
        self.is_closed = True


class ScriptedProvider:
    """Hands out `ScriptedUpstream`s and keeps them in order."""

    def __init__(self) -> None:
        self.upstreams: list[ScriptedUpstream] = []

    def open(self, command: StartCommand) -> ScriptedUpstream:
        self.upstreams.append(ScriptedUpstream(command))
        return self.upstreams[-1]


class ScriptedLedger:
    """Places, extends, keeps and settles in memory; `hold_back` makes callers wait, errors come first.

    Args:
        place_errors, extend_errors, settle_errors, checkpoint_errors: raised one per call, in order,
            before any call succeeds.
    """

    def __init__(
        self,
        *,
        place_errors: Sequence[CompletionRuntimeError] = (),
        extend_errors: Sequence[CompletionRuntimeError] = (),
        settle_errors: Sequence[CompletionRuntimeError] = (),
        checkpoint_errors: Sequence[Exception] = (),
    ) -> None:
        self.placements: list[HoldPlacement] = []
        self.extensions: list[HoldExtension] = []
        self.settlements: list[Settlement] = []
        self.checkpoints: list[Checkpoint] = []
        self.kept: dict[str, int] = {}  # events, by completion; what is not here is not open
        self.answer = Placed()
        self._place_errors = list(place_errors)
        self._extend_errors = list(extend_errors)
        self._settle_errors = list(settle_errors)
        self._checkpoint_errors = list(checkpoint_errors)
        self._gate = asyncio.Event()
        self._gate.set()

    def hold_back(self) -> None:
        self._gate.clear()

    def let_go(self) -> None:
        self._gate.set()

    async def place(self, placement: HoldPlacement) -> Placed:
        await self._gate.wait()
        if self._place_errors:
            raise self._place_errors.pop(0)
        self.placements.append(placement)
        self.kept.setdefault(placement.header.completion_id, 0)
        return self.answer

    async def extend(self, extension: HoldExtension) -> int:
        await self._gate.wait()
        if self._extend_errors:
            raise self._extend_errors.pop(0)
        self.extensions.append(extension)
        return extension.total_microcredits

    async def checkpoint(self, actor: str, stretches: list[Checkpoint]) -> dict[str, int]:
        await self._gate.wait()
        if self._checkpoint_errors:
            raise self._checkpoint_errors.pop(0)
        open_ = [stretch for stretch in stretches if stretch.completion_id in self.kept]
        for stretch in open_:
            if stretch.count and stretch.first == self.kept[stretch.completion_id]:
                self.checkpoints.append(stretch)
                self.kept[stretch.completion_id] += stretch.count
        return {stretch.completion_id: self.kept[stretch.completion_id] for stretch in open_}

    async def settle(self, settlement: Settlement) -> None:
        await self._gate.wait()
        if self._settle_errors:
            raise self._settle_errors.pop(0)
        self.settlements.append(settlement)


@dataclass(frozen=True, slots=True)
class _Here:
    actor: str = "in-memory"
    node_id: str = "local"
    pid: int = 0


class InMemoryRuntime(ReplicaRuntime):
    """`ReplicaRuntime` with one carrier, in this process.

    Args: providers: by name, as commands name them.
    """

    def __init__(
        self,
        ledger: Ledger,
        providers: Callable[[str], Provider],
        *,
        settings: Settings,
        clock: Clock | None = None,
        simulator_url: str | None = None,
        native: NativeProviders | None = None,
    ) -> None:
        self.carrier = Carrier(
            replace(_Here(), pid=os.getpid()),
            slots_max=_SLOTS,
            provider_of=providers,
            ledger=ledger,
            clock=clock or SystemClock(),
            settings=settings,
        )
        self.registry = _RegistryOfOne(self.carrier, ledger)
        super().__init__(
            _OneCarrier(self.carrier),
            self.registry,
            ledger,
            settings=settings,
            replica="in-memory",
            node_id=_Here().node_id,
            native=native,
            simulator_url=simulator_url,
        )


class _OneCarrier:
    """The ways to carriers where there is one."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def link(self, carrier: str) -> CarrierLink:
        if carrier != _Here().actor:
            raise CarrierLost
        return self._carrier

    async def look(self, carrier: str) -> None:
        pass  # It lives as long as this process.

    def forget(self, carrier: str) -> None:
        pass


class _RegistryOfOne:
    """The registry of one carrier, whose own count of its slots is the truth."""

    def __init__(self, carrier: Carrier, ledger: Ledger) -> None:
        self._carrier = carrier
        self._ledger = ledger
        self._is_draining = False

    async def lease(self, replica: str, node_id: str, count: int, given: int) -> list[Slot]:
        if self._is_draining:
            raise refusal()
        return [Slot(_Here().actor)] * count

    async def renew(self, replica: str, held: dict[str, int], given: int) -> list[str]:
        return []

    async def recalls(self, replica: str) -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 0

    async def locate(self, key: CompletionKey) -> Located | None:
        return await self._ledger.find(key)

    async def report(self, report: CarrierReport) -> None:
        raise AssertionError("the carrier is at hand")

    async def rows(self) -> list[CompletionRow]:
        return [driver.row() for driver in self._carrier.running]

    async def describe(self) -> dict[str, Any]:
        return {"running": len(self._carrier.running), "is_draining": self._is_draining}

    async def warm(self, carriers: int, timeout_s: float) -> int:
        return 1

    async def drain(self, *, cancels: bool) -> int:
        self._is_draining = True
        return await self._carrier.drain(cancels=cancels)
