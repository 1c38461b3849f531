"""Goal: at whatever instant a cancel comes, the hold is resolved once and the money adds up.

Method: 240 completions on the runtime without Ray, with a real ledger on SQLite and a real HTTP
upstream. Each is cancelled in one phase of its life, at a random moment of it. Where a phase is too
short to hit by luck, the seam beside it is made slow: the answer of a ledger that has the hold already
comes late, as over a slow network. Every second hold grows by steps that are asked for twice, since each
first answer is lost, so that cancels meet extensions too. The phase that was really hit is read off the
record.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

import httpx

from actors.core.completion.token_meter import hold_microcredits
from actors.core.errors import CompletionNotFound, Overloaded
from actors.core.events import CancelSource, Finished, Started, Status, UsageReported
from actors.core.record import CompletionRecord
from actors.core.request import StartCommand
from actors.ledger.service import LedgerService
from actors.ledger.store import Store
from actors.ports.ledger import (
    CompletionKey,
    HoldExtension,
    HoldPlacement,
    Placed,
    Settlement,
)
from actors.ports.runtime import CancelAnswer, CancelOutcome, ReaderLeft
from actors.settings import Settings
from actors.simulator.app import Simulator
from actors.simulator.server import SimulatorServer
from actors.testing import InMemoryRuntime
from actors.upstream.client import ProviderClient
from actors.upstream.config import ProviderConfig
from actors.upstream.tokenizer import count_text
from tests.support.commands import command

COMPLETIONS = 240
HITS_MIN = 20
GRANT_MICROCREDITS = 10**9
TOKENS = 10
STEP_TOKENS = 4


class Phase(StrEnum):
    BEFORE_HOLD = "before the hold"
    HOLD_TO_DISPATCH = "hold to dispatch"
    BEFORE_FIRST_TOKEN = "before the first token"
    MID_STREAM = "mid-stream"
    LAST_TOKEN_TO_END = "last token to the end"
    AFTER = "after the end"


class _SlowAnswers(LedgerService):
    """A ledger whose answer to a placement is late although the hold is durable."""

    delay_s = 0.15
    extended: ClassVar[set[HoldExtension]] = set()

    async def place(self, placement: HoldPlacement) -> Placed:
        placed = await super().place(placement)
        await asyncio.sleep(self.delay_s)
        return placed

    async def extend(self, extension: HoldExtension) -> int:
        """The first answer is lost on its way, although more is held by then."""
        held = await super().extend(extension)
        await asyncio.sleep(self.delay_s / 3)
        if extension not in self.extended:
            self.extended.add(extension)
            raise Overloaded("The answer was lost.")
        return held

    async def settle(self, settlement: Settlement) -> CompletionRecord | None:
        await asyncio.sleep(self.delay_s)
        return await super().settle(settlement)


class _Stage:
    def __init__(
        self, runtime: InMemoryRuntime, ledger: _SlowAnswers, seed: int, key_id: str
    ) -> None:
        self.runtime = runtime
        self.ledger = ledger
        self.random = random.Random(seed)
        self.key_id = key_id

    async def run_one(self, number: int, phase: Phase) -> tuple[Phase, CompletionRecord]:
        order = _order(number, self.key_id)
        key = CompletionKey(order.team, order.dialect, order.wire_id)
        if phase is Phase.BEFORE_HOLD:
            await self.runtime.ledger.remember_cancellation(key)
        starting = asyncio.ensure_future(self.runtime.start(order))
        answer = None
        if phase is not Phase.BEFORE_HOLD:
            answer = await self._cancel_in(phase, key)
        started = await starting
        while not isinstance((await started.subscription.read())[-1], Finished):
            pass
        await started.subscription.aclose(ReaderLeft.FINISHED)
        record = await self.runtime.get(key)
        return _hit(record, answer), record

    async def _cancel_in(self, phase: Phase, key: CompletionKey) -> CancelAnswer:
        """Wait until the phase begins, then for a random part of it."""
        await self._phase_began(phase, key)
        part_s = {Phase.MID_STREAM: 0.05, Phase.BEFORE_FIRST_TOKEN: 0.03}.get(phase, 0.002)
        await asyncio.sleep(self.random.uniform(0, part_s))
        return await self.runtime.cancel(key, CancelSource.CLIENT_REQUEST)

    async def _phase_began(self, phase: Phase, key: CompletionKey) -> None:
        while not await self._has_begun(phase, key):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.0005)

    async def _has_begun(self, phase: Phase, key: CompletionKey) -> bool:
        try:
            record = await self.runtime.get(key)
        except CompletionNotFound:
            return False
        match phase:
            case Phase.HOLD_TO_DISPATCH:
                return True  # The store has it, so the hold is durable; the owner is told later.
            case Phase.BEFORE_FIRST_TOKEN:
                return any(isinstance(e, Started) for e in record.events)
            case Phase.MID_STREAM:
                return len(record.events) > 1
            case Phase.LAST_TOKEN_TO_END:
                return any(isinstance(e, UsageReported) for e in record.events)
        return record.finished is not None


def _order(number: int, key_id: str) -> StartCommand:
    made = command(
        completion_id=f"cmp_{number:04}", max_output_tokens=TOKENS, created_at_s=time.time()
    )
    made = replace(made, provider="simulator", key_id=key_id)
    if number % 2:
        return made
    held = hold_microcredits(made.prices, made.prompt_tokens_estimated, STEP_TOKENS)
    return replace(made, hold_microcredits=held, hold_step_tokens=STEP_TOKENS)


def _hit(record: CompletionRecord, answer: CancelAnswer | None) -> Phase:
    """Which phase the cancel really met, by the record's own times."""
    if answer is None:
        return Phase.BEFORE_HOLD
    if answer.outcome is CancelOutcome.TERMINAL:
        return Phase.AFTER
    if record.status is Status.COMPLETED:
        return Phase.LAST_TOKEN_TO_END
    times = record.timeline
    if times.dispatched_at_s is None:
        return Phase.HOLD_TO_DISPATCH
    if times.first_token_at_s is None:
        return Phase.BEFORE_FIRST_TOKEN
    return Phase.MID_STREAM


async def _story(folder: Path, seed: int) -> None:
    async with AsyncExitStack() as stack:
        server = SimulatorServer(Simulator())
        url = await server.start()
        stack.push_async_callback(server.stop)
        settings = Settings()
        ledger = _SlowAnswers(
            Store(f"sqlite:///{folder / 'ledger.db'}"), settings=settings, clock=time.time
        )
        stack.push_async_callback(ledger.close)
        await ledger.create_team("demo", "org", credits_microcredits=GRANT_MICROCREDITS)
        issued = await ledger.create_key("demo", "tests")
        client = ProviderClient(
            "simulator",
            ProviderConfig.model_validate({"base_url": f"{url}/v1"}),
            api_key=None,
            settings=settings,
            count=count_text,
        )
        stack.push_async_callback(client.aclose)
        runtime = InMemoryRuntime(ledger, lambda name: client, settings=settings)
        stack.push_async_callback(runtime.aclose)
        await _cancel_them_all(_Stage(runtime, ledger, seed, issued.key_id), url)


async def _cancel_them_all(stage: _Stage, url: str) -> None:
    phases = [phase for phase in Phase for _ in range(COMPLETIONS // len(Phase))]
    stage.random.shuffle(phases)
    hits: Counter[Phase] = Counter()
    charged = 0
    for start in range(0, COMPLETIONS, 8):
        batch = phases[start : start + 8]
        ended = await asyncio.gather(
            *(stage.run_one(start + i, phase) for i, phase in enumerate(batch))
        )
        for phase, record in ended:
            hits[phase] += 1
            charged += await _check(record, url)
    print(dict(hits))
    balance = await stage.ledger.balance("demo")
    assert balance.held_microcredits == 0
    assert balance.credits_microcredits == GRANT_MICROCREDITS - charged, "the equation is exact"
    audit = await stage.ledger.audit()
    assert audit["ok"], audit
    assert all(hits[phase] >= HITS_MIN for phase in Phase), hits
    assert len(stage.ledger.extended) >= HITS_MIN


async def _check(record: CompletionRecord, url: str) -> int:
    """Hold one record's charge against the upstream's own log; return the charge."""
    end = record.finished
    assert end is not None
    if record.timeline.dispatched_at_s is None:
        assert end.charge.total_microcredits == 0
        return 0
    async with httpx.AsyncClient(trust_env=False) as client:
        path = f"{url}/_simulator/requests?completion_id={record.header.completion_id}"
        rows = (await client.get(path)).json()["data"]
    logged = end.usage.completion_tokens
    assert logged <= (rows[0]["tokens_sent"] if rows else 0)
    prompt = end.usage.prompt_tokens
    assert end.charge.total_microcredits == 75 * prompt + 450 * logged
    return end.charge.total_microcredits


def test_every_instant_of_a_cancel_adds_up(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    asyncio.run(asyncio.wait_for(_story(tmp_path, seed), 400))
