"""A load test against the whole application on a socket, and faults that are planted in its upstream.

Each fault is a provider between the runtime and the simulator's real client: the runtime, its ledger
and its HTTP are the real ones, and so is the simulator's log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.core.events import TextDelta, Usage, UsageReported
from actors.core.request import Dialect, StartCommand
from actors.core.upstream import UpstreamBatch
from actors.loadtest.load_test import Where, run_load_test
from actors.loadtest.plan import Arrival, Length, Load, Plan
from actors.loadtest.worker import WorkerProgress
from actors.ports.provider import Provider, UpstreamStream
from actors.simulator.server import SimulatorServer
from actors.testing import InMemoryRuntime
from actors.upstream.catalogue import SIMULATOR
from actors.upstream.client import ProviderClient
from actors.upstream.tokenizer import count_text
from serve_app.http.app import create_app
from tests.http.rig import ADMIN_KEY, CREDITS, Rig, rig
from tests.support.instance import within

RUN_TIMEOUT_S = 180.0
LOCAL = Where(is_local=True, admin_key=ADMIN_KEY)


class Told:
    """Implements `load_test.Observer`: keeps what it is told."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.levels: list[float] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def show(self, level: float, progress: WorkerProgress) -> None:
        self.levels.append(level)


Wrap = Callable[[Provider], Provider]


@dataclass
class Target:
    """A server to be loaded."""

    run: Rig
    url: str

    def plan(self, **changes: Any) -> Plan:
        plan = Plan(
            url=self.url,
            dialect=Dialect.CHAT,
            model="sim-long-instant",
            load=Load(Arrival.CLOSED, streams=4),
            api_key=self.run.key,
            organization="org",
            count=8,
            max_tokens=Length(10, 10),
        )
        return replace(plan, **changes)

    async def load(
        self, *levels: float, where: Where = LOCAL, told: Told | None = None, **changes: Any
    ) -> dict[str, Any]:
        """Run a load test in a thread, as the command does; return its figures."""
        plan = self.plan(**changes)
        wanted = levels or (plan.load.level,)
        # Given up, its server is stopped, which ends the thread.
        async with within(RUN_TIMEOUT_S, "the load test has ended"):
            return await asyncio.to_thread(run_load_test, plan, wanted, where, told or Told())


@asynccontextmanager
async def target(
    folder: Path, wrap: Wrap | None = None, *, credits: int = CREDITS
) -> AsyncIterator[Target]:
    """Serve the application; `wrap` plants a fault in its provider."""
    async with rig(folder, simulator=True, credits=credits) as run:
        client = ProviderClient(
            SIMULATOR,
            run.catalogue.provider(SIMULATOR),
            api_key=None,
            settings=run.settings,
            count=count_text,
        )
        provider: Provider = client if wrap is None else wrap(client)
        runtime = InMemoryRuntime(
            run.ledger,
            lambda _name: provider,
            settings=run.settings,
            simulator_url=run.simulator_url,
        )
        server = SimulatorServer(create_app(runtime, run.catalogue, run.settings))
        try:
            yield Target(run, await server.start())
        finally:
            await server.stop()
            await runtime.aclose()
            await client.aclose()


class Through:
    """A provider that hands every call on; the faults are made of it."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.opened = 0

    def open(self, command: StartCommand) -> UpstreamStream:
        self.opened += 1
        return self.stream(self._provider.open(command))

    def stream(self, inner: UpstreamStream) -> UpstreamStream:
        return inner


class ThroughStream:
    def __init__(self, inner: UpstreamStream) -> None:
        self._inner = inner

    async def connect(self) -> None:
        await self._inner.connect()

    def batches(self) -> AsyncIterator[UpstreamBatch]:
        return self._inner.batches()

    async def aclose(self) -> None:
        await self._inner.aclose()


class Leaky(Through):
    """The planted orphan: its connections are read to their ends, whoever has left."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self.pumps: set[asyncio.Task[None]] = set()

    def stream(self, inner: UpstreamStream) -> UpstreamStream:
        return _LeakyStream(inner, self.pumps)


class _LeakyStream(ThroughStream):
    def __init__(self, inner: UpstreamStream, pumps: set[asyncio.Task[None]]) -> None:
        super().__init__(inner)
        self._pumps = pumps
        self._got: asyncio.Queue[UpstreamBatch] = asyncio.Queue()

    async def connect(self) -> None:
        await self._inner.connect()
        pump = asyncio.ensure_future(self._pump())
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)

    async def batches(self) -> AsyncIterator[UpstreamBatch]:
        while True:
            batch = await self._got.get()
            yield batch
            if batch.is_end or batch.failure is not None:
                return

    async def aclose(self) -> None:
        pass

    async def _pump(self) -> None:
        async for batch in self._inner.batches():
            self._got.put_nowait(batch)
        await self._inner.aclose()


class Changed(Through):
    """Every batch is changed on its way."""

    def __init__(
        self, provider: Provider, change: Callable[[UpstreamBatch], UpstreamBatch]
    ) -> None:
        super().__init__(provider)
        self._change = change

    def stream(self, inner: UpstreamStream) -> UpstreamStream:
        return _ChangedStream(inner, self._change)


class _ChangedStream(ThroughStream):
    def __init__(
        self, inner: UpstreamStream, change: Callable[[UpstreamBatch], UpstreamBatch]
    ) -> None:
        super().__init__(inner)
        self._change = change

    async def batches(self) -> AsyncIterator[UpstreamBatch]:
        async for batch in self._inner.batches():
            yield self._change(batch)


def one_token_more(batch: UpstreamBatch) -> UpstreamBatch:
    """The planted overcharge: the final figures have a token that was never sent."""

    def more(event: Any) -> Any:
        if not isinstance(event, UsageReported):
            return event
        usage = event.usage
        return UsageReported(Usage(usage.prompt_tokens, usage.completion_tokens + 1))

    return replace(batch, events=tuple(more(event) for event in batch.events))


def another_word(batch: UpstreamBatch) -> UpstreamBatch:
    """A text that is not what was sent: each piece is said in capitals."""

    def said(event: Any) -> Any:
        if not isinstance(event, TextDelta):
            return event
        return TextDelta(event.block, event.text.upper(), event.tokens)

    return replace(batch, events=tuple(said(event) for event in batch.events))


class Stalling(Through):
    """The planted stall: from one request on, the upstream answers nobody for so many seconds."""

    def __init__(self, provider: Provider, *, at: int, seconds: float) -> None:
        super().__init__(provider)
        self._at = at
        self._seconds = seconds
        self._until_s = 0.0

    def stream(self, inner: UpstreamStream) -> UpstreamStream:
        now_s = asyncio.get_running_loop().time()
        if self.opened == self._at:
            self._until_s = now_s + self._seconds
        return _StallingStream(inner, max(0.0, self._until_s - now_s))


class _StallingStream(ThroughStream):
    def __init__(self, inner: UpstreamStream, wait_s: float) -> None:
        super().__init__(inner)
        self._wait_s = wait_s

    async def connect(self) -> None:
        await asyncio.sleep(self._wait_s)
        await self._inner.connect()


class OnOpen(Through):
    """Something happens when a certain request is made."""

    def __init__(self, provider: Provider, *, at: int, do: Callable[[], None]) -> None:
        super().__init__(provider)
        self._at = at
        self._do = do

    def stream(self, inner: UpstreamStream) -> UpstreamStream:
        if self.opened == self._at:
            self._do()
        return inner
