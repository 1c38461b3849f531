"""A load test from its first question to its last figure: probe, load, audit, level by level.

Owns the order. It must not know terminals or files: whoever shows something passes an `Observer`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any, Protocol

from actors.loadtest.audit import ORPHAN_GRACE_S, Audit
from actors.loadtest.connections import LoadConnections, base_url, open_connections
from actors.loadtest.fleet import WORKERS_MAX, Fleet, LocalFleet
from actors.loadtest.ground_truth import Findings
from actors.loadtest.knee import is_past
from actors.loadtest.metrics import Measurements
from actors.loadtest.plan import Plan, PlanError
from actors.loadtest.report.figures import level_figures, run_figures, step_of
from actors.loadtest.speech import speech_of
from actors.loadtest.target import (
    Target,
    TargetAccount,
    credits_needed,
    probe,
    read_account,
)
from actors.loadtest.worker import WorkerProgress, is_made_of_words
from actors.ports.clock import SystemClock

__all__ = ["Observer", "Where", "run_load_test"]

_ASKING_TIMEOUT_S = 30.0
_PROGRESS_PERIOD_S = 0.5


class Observer(Protocol):
    """Who is told while it runs."""

    def say(self, sentence: str) -> None:
        """Take a sentence for the operator."""
        ...

    def show(self, level: float, progress: WorkerProgress) -> None:
        """Take how far the level is, about twice a second."""
        ...


@dataclass(frozen=True, slots=True)
class Where:
    """Where load comes from, and what is known beside the plan.

    Args:
        is_local: one process without Ray.
        address, workers: see `open_ray_fleet`.
        simulator_url, admin_key: see `target.probe`.
    """

    is_local: bool = False
    address: str = ""
    workers: int = 0
    simulator_url: str | None = None
    admin_key: str | None = None
    orphan_grace_s: float = ORPHAN_GRACE_S


def run_load_test(
    plan: Plan, levels: Sequence[float], where: Where, observer: Observer
) -> dict[str, Any]:
    """Run it at each level until one is past the knee; return every figure. Blocking.

    Args: levels: rising; one for a run that is no sweep.

    Raises:
        PlanError: what was asked for makes no load test.
        LoadError: it could not be run.
    """
    with _fleet(where) as fleet:
        return asyncio.run(_LoadTest(plan, where, fleet, observer).run(levels))


@contextmanager
def _fleet(where: Where) -> Iterator[Fleet]:
    if where.is_local:
        yield LocalFleet()
        return
    if not 0 <= where.workers <= WORKERS_MAX:
        raise PlanError(f"--workers must be between 0 and {WORKERS_MAX}.")
    if not where.address:
        os.environ.update(_private_ray_variables())
    # Ray is imported where it is wanted: everything else here works without it.
    from actors.loadtest.actor import open_ray_fleet

    fleet = open_ray_fleet(where.address, where.workers)
    try:
        yield fleet
    finally:
        asyncio.run(fleet.aclose())


def _private_ray_variables() -> dict[str, str]:
    """Return what Ray reads when it is imported: nobody else gets into a Ray of this run's own."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_task_events_report_interval_ms": "0",
        "RAY_enable_metrics_collection": "0",
    }


class _LoadTest:
    def __init__(self, plan: Plan, where: Where, fleet: Fleet, observer: Observer) -> None:
        self._plan = replace(plan, url=base_url(plan.url))
        self._where = where
        self._fleet = fleet
        self._observer = observer
        self._name = f"load-{token_hex(4)}"

    async def run(self, levels: Sequence[float]) -> dict[str, Any]:
        """Run every level. What is asked of the server is asked over `_connections`."""
        async with open_connections(
            self._plan.url, self._plan.api_key, quiet_timeout_s=_ASKING_TIMEOUT_S
        ) as self._connections:
            self._target = await self._probe()
            async with self._open_truth() as self._truth:
                done = await self._levels(levels)
        return run_figures(self._plan, self._fleet.workers, self._target, done)

    async def _levels(self, levels: Sequence[float]) -> list[dict[str, Any]]:
        done: list[dict[str, Any]] = []
        before = None
        for level in levels:
            plan = replace(self._plan, load=self._plan.load.at(level))
            measured, findings = await self._level(plan)
            done.append(level_figures(plan, measured, findings))
            step = step_of(done[-1])
            if measured.stopped or is_past(before, step):
                break
            before = step
        return done

    async def _level(self, plan: Plan) -> tuple[Measurements, Findings]:
        before = await self._account(plan)
        measured = await self._load(plan)
        audit = Audit(
            self._connections,
            self._truth,
            self._target,
            speech_of(plan),
            clock=SystemClock(),
            is_words=is_made_of_words(plan.model),
            admin_key=self._where.admin_key,
            orphan_grace_s=self._where.orphan_grace_s,
        )
        return measured, await audit.run(measured, before)

    async def _account(self, plan: Plan) -> TargetAccount | None:
        prices = self._target.prices  # Midstream alone tells them.
        if prices is None:
            return None
        account = await read_account(self._connections)
        if account.is_metered:
            self._observer.say(credits_needed(plan, prices, account))
        return account

    async def _load(self, plan: Plan) -> Measurements:
        # A name of its own for each level: the stream of a number is at every one.
        run_name = f"{self._name}-{plan.load.level:g}"
        running = asyncio.ensure_future(self._fleet.run(plan, run_name))
        try:
            with _on_interrupt(self._stop):
                while not running.done():
                    await asyncio.wait([running], timeout=_PROGRESS_PERIOD_S)
                    self._observer.show(plan.load.level, await self._fleet.progress())
        finally:
            running.cancel()
            await asyncio.wait([running])
        return running.result()

    async def _stop(self) -> None:
        self._observer.say("Stopping when the streams that run have ended; again, at once.")
        await self._fleet.stop("The run was interrupted.")

    async def _probe(self) -> Target:
        where, plan = self._where, self._plan
        target = await probe(
            self._connections, plan, simulator_url=where.simulator_url, admin_key=where.admin_key
        )
        if plan.needs_control and not target.is_midstream:
            raise PlanError(
                "Cancelling, resuming and observing need a Midstream server; "
                "--disconnect-fraction works on every other."
            )
        return target

    def _open_truth(self) -> AbstractAsyncContextManager[LoadConnections | None]:
        if self._target.simulator_url is None:
            return nullcontext()
        # The log wants the admin key; it is told to nobody but the simulator that the server named.
        key = self._where.admin_key if self._where.simulator_url is None else None
        url = base_url(self._target.simulator_url)
        return open_connections(url, key, quiet_timeout_s=_ASKING_TIMEOUT_S)


@contextmanager
def _on_interrupt(stop: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Let the first Ctrl-C stop the run in order; the second one breaks it off, as ever.

    Python gives signals to the main thread alone: on another one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Future[None]] = []

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        stopping.append(asyncio.ensure_future(stop()))

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
