"""Goal: the logs of what runs are kept, a call a second, and whoever is cut off from the ledger ends it.

Method: a real carrier on virtual time, whose ledger and provider are played.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from actors.completion import checkpointer
from actors.completion.carrier import Carrier
from actors.completion.driver import CompletionDriver
from actors.core.completion.partial_log import joined
from actors.core.completion.transitions import StreamState
from actors.core.errors import ActorAway, Overloaded
from actors.core.events import Event, TextDelta
from actors.core.request import Retention, StartCommand
from actors.core.upstream import UpstreamBatch
from actors.settings import Settings
from actors.testing import ManualClock, ScriptedLedger, ScriptedProvider, settle_loop
from tests.support.commands import command
from tests.support.virtual_time import run_virtual


class There:
    actor = "completion-1"
    node_id = "n1"
    pid = 1


class Bench:
    def __init__(self, ledger: ScriptedLedger) -> None:
        self.ledger = ledger
        self.provider = ScriptedProvider()
        self.carrier = Carrier(
            There(),
            slots_max=9,
            provider_of=lambda name: self.provider,
            ledger=ledger,
            clock=ManualClock(),
            settings=Settings(),
        )

    async def start(self, **changes: Any) -> CompletionDriver:
        made: StartCommand = replace(
            command(completion_id=f"cmp_{len(self.provider.upstreams)}", max_output_tokens=10**6),
            **changes,
        )
        await self.carrier.start(made, "replica")
        await settle_loop()
        self.provider.upstreams[-1].open()
        return next(d for d in self.carrier.running if d.header.completion_id == made.completion_id)

    async def say(self, *texts: str, upstream: int = 0) -> None:
        events = tuple(TextDelta(0, text, 1) for text in texts)
        self.provider.upstreams[upstream].send(UpstreamBatch(events))
        await settle_loop()

    def kept(self, completion_id: str = "cmp_0") -> tuple[Event, ...]:
        stretches = [s for s in self.ledger.checkpoints if s.completion_id == completion_id]
        return joined(stretch.events for stretch in stretches)


@asynccontextmanager
async def keeping(**errors: Any) -> AsyncIterator[Bench]:
    bench = Bench(ScriptedLedger(**errors))
    running = asyncio.ensure_future(bench.carrier.checkpointer.run())
    try:
        yield bench
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait({running})


def log_of(driver: CompletionDriver) -> tuple[Event, ...]:
    return tuple(driver.completion.log.read_after(-1))


def test_each_second_what_is_new_of_all_streams_goes_in_one_call() -> None:
    async def run() -> None:
        async with keeping() as bench:
            one, two = await bench.start(), await bench.start()
            await bench.say(" a", " b")
            await bench.say(" c", upstream=1)
            assert bench.ledger.checkpoints == []
            await asyncio.sleep(1.3)
            assert bench.kept("cmp_0") == log_of(one)
            assert bench.kept("cmp_1") == log_of(two)
            await bench.say(" d")
            await asyncio.sleep(1.1)
            assert bench.kept("cmp_0") == log_of(one)
            assert len(bench.ledger.checkpoints) == 3, "nothing is new of the other"

    run_virtual(run())


def test_much_text_does_not_wait_for_the_second() -> None:
    async def run() -> None:
        async with keeping() as bench:
            driver = await bench.start()
            await asyncio.sleep(1.3)
            await bench.say("x" * checkpointer._UNKEPT_BYTES)
            await asyncio.sleep(0.3)
            assert bench.kept() == log_of(driver)

    run_virtual(run())


def test_a_call_carries_so_much_and_the_next_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(checkpointer, "_EVENTS_MAX", 2)
        monkeypatch.setattr(checkpointer, "_CALL_CHARACTERS", 1)
        async with keeping() as bench:
            one, two = await bench.start(), await bench.start()
            await bench.say(" a", " b", " c")
            await bench.say(" d", upstream=1)
            await asyncio.sleep(1.3)
            assert [(s.completion_id, s.count) for s in bench.ledger.checkpoints] in (
                [("cmp_0", 2)],
                [("cmp_1", 2)],
            )
            await asyncio.sleep(4.0)
            first = log_of(one), log_of(two)
            # The first of them takes all the room until it is kept.
            assert bench.kept("cmp_0") == first[0]
            assert bench.kept("cmp_1") == first[1]

    run_virtual(run())


@pytest.mark.parametrize("retention", [Retention.BRIEF, Retention.RECEIPT])
def test_what_may_not_be_written_down_does_not_leave_the_process(retention: Retention) -> None:
    async def run() -> None:
        async with keeping() as bench:
            driver = await bench.start(retention=retention)
            await bench.say(" secret")
            await asyncio.sleep(3.0)
            assert bench.ledger.checkpoints == []
            assert driver.is_streaming

    run_virtual(run())


def test_a_ledger_that_is_away_is_told_later_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        errors = [ActorAway("It is being restarted."), ValueError("a bug"), ActorAway("Still.")]
        async with keeping(checkpoint_errors=errors) as bench:
            driver = await bench.start()
            await bench.say(" a")
            await asyncio.sleep(3.5)
            assert bench.ledger.checkpoints == []
            await asyncio.sleep(1.5)
            assert bench.kept() == log_of(driver)

    with caplog.at_level(logging.WARNING):
        run_virtual(run())
    assert len([r for r in caplog.records if "keeps no logs" in r.getMessage()]) == 1


def test_what_a_lost_answer_took_is_not_sent_again() -> None:
    async def run() -> None:
        async with keeping() as bench:
            driver = await bench.start()
            await bench.say(" a", " b")
            bench.ledger.kept["cmp_0"] = 2
            await asyncio.sleep(3.0)
            assert [(s.first, s.count) for s in bench.ledger.checkpoints] == [(2, 1)]
            assert driver.is_streaming

    run_virtual(run())


def test_whoever_was_given_a_verdict_closes_its_upstream() -> None:
    async def run() -> None:
        async with keeping() as bench:
            driver = await bench.start()
            await bench.say(" a")
            del bench.ledger.kept["cmp_0"]
            await asyncio.sleep(1.5)
            assert bench.provider.upstreams[0].is_closed
            assert driver.completion.stream is StreamState.FAILED
            (settlement,) = bench.ledger.settlements
            assert settlement.charge_microcredits == 0

    run_virtual(run())


def test_whoever_is_cut_off_from_the_ledger_closes_its_upstreams_after_half_a_minute() -> None:
    async def run() -> None:
        errors = [ActorAway("Cut off.")] * 1_000
        async with keeping(checkpoint_errors=errors) as bench:
            await bench.start()
            await asyncio.sleep(29.0)
            assert not bench.provider.upstreams[0].is_closed
            await asyncio.sleep(3.0)
            assert bench.provider.upstreams[0].is_closed

    run_virtual(run())


def test_a_ledger_that_answers_and_cannot_write_cuts_nobody_off() -> None:
    """A disk may be full for an hour."""

    async def run() -> None:
        errors = [Overloaded("The ledger could not commit.")] * 1_000
        async with keeping(checkpoint_errors=errors) as bench:
            driver = await bench.start()
            await asyncio.sleep(120.0)
            assert driver.is_streaming

    run_virtual(run())


def test_whoever_was_stopped_for_long_asks_before_it_gives_up() -> None:
    """A process that was stopped has not reached anybody either, and may still be believed in."""

    async def run() -> None:
        async with keeping() as bench:
            driver = await bench.start()
            await asyncio.sleep(2.0)
            bench.carrier.checkpointer._reached_at_s -= 1_000.0
            await asyncio.sleep(2.0)
            assert driver.is_streaming

    run_virtual(run())


def test_when_nothing_runs_nobody_is_asked() -> None:
    async def run() -> None:
        async with keeping() as bench:
            driver = await bench.start()
            await asyncio.sleep(1.3)
            bench.provider.upstreams[0].send(UpstreamBatch(is_end=True))
            await settle_loop()
            assert not driver.is_streaming
            await asyncio.sleep(5.0)
            assert not bench.carrier.checkpointer._began.is_set()
            assert repr(bench.carrier.checkpointer) == "<Checkpointer of completion-1, 0 logs>"
            await bench.start()
            await bench.say(" a", upstream=1)
            await asyncio.sleep(1.5)
            assert bench.kept("cmp_1")

    run_virtual(run())
