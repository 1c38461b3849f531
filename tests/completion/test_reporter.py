"""Goal: the registry learns what a carrier carries, and nothing gathers without a bound while it is away.

Method: a real reporter and drivers that are never started; the registry is the test's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from actors.completion import reporter as reporting
from actors.completion.driver import CompletionDriver
from actors.completion.reporter import Reporter
from actors.core.errors import Overloaded
from actors.core.record import CompletionHeader
from actors.ports.registry import CarrierReport, Registry
from actors.settings import Settings
from actors.testing import ManualClock, ScriptedLedger, ScriptedProvider
from tests.support.commands import command


class Away:
    """The registry: it fails so many times, then takes each report."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.reports: asyncio.Queue[CarrierReport] = asyncio.Queue()

    async def report(self, report: CarrierReport) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.reports.put_nowait(report)


def driver(completion_id: str) -> CompletionDriver:
    order = command(completion_id=completion_id)
    return CompletionDriver(
        order,
        CompletionHeader.of(order),
        provider=ScriptedProvider(),
        ledger=ScriptedLedger(),
        clock=ManualClock(),
        settings=Settings(),
        on_change=lambda _: None,
        on_settled=lambda _: None,
    )


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_PAUSE_S", 0.0)


def reported(registry: Away, check: Callable[[Reporter], Awaitable[Any]]) -> None:
    async def run() -> None:
        reporter = Reporter("c1")
        task = asyncio.ensure_future(reporter.run(cast(Registry, registry)))
        try:
            async with asyncio.timeout(20):
                await check(reporter)
        finally:
            task.cancel()

    asyncio.run(run())


def test_what_changed_is_told_once_and_numbered() -> None:
    registry = Away()

    async def check(reporter: Reporter) -> None:
        one, two = driver("cmp_1"), driver("cmp_2")
        reporter.began(one)
        reporter.began(two)
        first = await registry.reports.get()
        assert [began.completion_id for began in first.began] == ["cmp_1", "cmp_2"]
        assert (first.running, first.ended, first.is_whole) == (2, (), False)
        reporter.ended(one)
        second = await registry.reports.get()
        assert (second.running, second.began, second.ended) == (1, (), ("cmp_1",))
        assert second.number > first.number

    reported(registry, check)


@pytest.mark.parametrize("error", [Overloaded("away"), TimeoutError(), RuntimeError("a bug")])
def test_after_a_report_that_failed_all_that_runs_is_told(error: Exception) -> None:
    registry = Away(error, error)

    async def check(reporter: Reporter) -> None:
        gone, running = driver("cmp_1"), driver("cmp_2")
        reporter.began(gone)
        reporter.began(running)
        reporter.ended(gone)
        report = await registry.reports.get()
        assert report.is_whole
        assert [began.completion_id for began in report.began] == ["cmp_2"]

    reported(registry, check)


def test_news_that_nobody_takes_does_not_gather_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "_NEWS_MAX", 10)

    async def run() -> None:
        reporter = Reporter("c1")
        for number in range(100):
            one = driver(f"cmp_{number}")
            reporter.began(one)
            reporter.ended(one)
        assert len(reporter._began) + len(reporter._ended) <= 11
        registry = Away()
        task = asyncio.ensure_future(reporter.run(cast(Registry, registry)))
        report = await registry.reports.get()
        task.cancel()
        assert report.is_whole
        assert report.running == 0

    asyncio.run(run())
