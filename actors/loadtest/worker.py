"""One worker: its share of the plan's streams, started when they are due.

Owns the schedule in time: the slots of a closed loop, the arrivals of an open one, the warm-up, the
end. It must not know Ray, reports or what another worker does.

An open loop never waits for a stream: when all connections are taken, the arrivals behind it wait,
and their latency counts from when they were due. A closed loop's stream is due when its slot is free.

Cancel: the streams that run are broken off and their connections closed.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from actors.loadtest.connections import Refused, base_url, open_connections
from actors.loadtest.metrics import Measurements
from actors.loadtest.plan import Arrival, Plan, Share, arrivals, stream_plan
from actors.loadtest.speech import speech_of
from actors.loadtest.stream import Bench, run_stream
from actors.loadtest.timeline import Mark
from actors.ports.clock import Clock, SystemClock
from actors.simulator.models import ALIASES, MODELS, Content

__all__ = ["WorkerProgress", "Worker", "is_made_of_words", "simulated"]

_PAUSE_AFTER_ERROR_S = 0.1
_DESCRIPTORS_MAX = 1_048_576


@dataclass(frozen=True, slots=True)
class WorkerProgress:
    """How far a worker is, in sums; `ttft_p50_ms` is 0 before the first token."""

    started: int = 0
    ended: int = 0
    tokens: int = 0
    errors: int = 0
    ttft_p50_ms: float = 0.0
    seconds: float = 0.0

    @property
    def live(self) -> int:
        return self.started - self.ended

    @classmethod
    def total(cls, parts: list[WorkerProgress]) -> WorkerProgress:
        """Return the sum; the first token's is the slowest worker's."""
        return cls(
            started=sum(part.started for part in parts),
            ended=sum(part.ended for part in parts),
            tokens=sum(part.tokens for part in parts),
            errors=sum(part.errors for part in parts),
            ttft_p50_ms=max((part.ttft_p50_ms for part in parts), default=0.0),
            seconds=max((part.seconds for part in parts), default=0.0),
        )


class Worker:
    """Runs its share of a plan once.

    Args: run_name: names the run's requests; the same for all of its workers.
    """

    def __init__(
        self, plan: Plan, share: Share, *, run_name: str, clock: Clock | None = None
    ) -> None:
        self._plan = plan
        self._share = share
        self._run_name = run_name
        self._clock = clock or SystemClock()
        self._numbers = share.numbers()
        self._left = share.of(plan.count) if plan.count else -1
        self._measured = Measurements()
        self._running: set[asyncio.Task[None]] = set()
        self._bench: Bench | None = None
        self._is_stopped = False

    async def run(self, start_at_s: float = 0.0) -> Measurements:
        """Run everything; return what was measured.

        Args:
            start_at_s: wall clock of the run's start, for workers that begin together; one that is
                past is now.
        """
        _allow_descriptors()
        await asyncio.sleep(max(0.0, start_at_s - self._clock.wall_s()))
        plan = self._plan
        async with open_connections(
            base_url(plan.url), plan.api_key, quiet_timeout_s=plan.quiet_timeout_s
        ) as connections:
            self._bench = Bench(
                plan,
                speech_of(plan),
                connections,
                self._measured,
                self._clock,
                self._clock.now_ns(),
                self._run_name,
                token_per_frame=_has_token_per_frame(plan.model),
            )
            try:
                await self._start_streams(self._bench)
                self._measured.seconds = max(0.0, self._elapsed_s() - plan.warmup_s)
                await self._drain()
            finally:
                await self._break_off()
        return self._measured

    def stop(self, reason: str) -> None:
        """Start nothing more; what runs goes on to its end."""
        self._is_stopped = True
        self._measured.stopped = self._measured.stopped or reason

    def progress(self) -> WorkerProgress:
        measured = self._measured
        sums = [sum(counts) for counts in zip(*measured.timeline.buckets, strict=True)]
        sums = sums or [0] * len(Mark)
        recent = sorted(measured.recent_ttft_ns)
        return WorkerProgress(
            started=sums[Mark.STARTED],
            ended=sums[Mark.ENDED],
            tokens=sums[Mark.TOKENS],
            errors=sums[Mark.ERRORS],
            ttft_p50_ms=recent[len(recent) // 2] / 1e6 if recent else 0.0,
            seconds=self._elapsed_s() if self._bench else 0.0,
        )

    # Starting.

    async def _start_streams(self, bench: Bench) -> None:
        if self._plan.load.arrival is Arrival.CLOSED:
            slots = min(self._share.of(self._plan.load.streams), self._plan.connections_max)
            await asyncio.gather(*(self._fill_slot(bench) for _ in range(slots)))
        else:
            await self._follow_arrivals(bench, arrivals(self._plan, self._share))

    async def _fill_slot(self, bench: Bench) -> None:
        while True:
            intended_ns = self._clock.now_ns()
            ticket = self._ticket(bench.since_start_s(intended_ns))
            if ticket is None:
                return
            task = self._begin(bench, *ticket, intended_ns)
            if self._plan.duration_s:
                await self._until_over(task)
            else:
                await asyncio.wait([task])

    async def _until_over(self, task: asyncio.Task[None]) -> None:
        """Wait for the stream, or for the end of the time: it may run on into the drain."""
        left_s = self._plan.warmup_s + self._plan.duration_s - self._elapsed_s()
        await asyncio.wait([task], timeout=max(0.0, left_s))

    async def _follow_arrivals(self, bench: Bench, offsets: Iterator[float]) -> None:
        free = asyncio.Semaphore(self._plan.connections_max)
        for offset_s in offsets:
            ticket = self._ticket(offset_s)
            if ticket is None:
                break
            await asyncio.sleep(max(0.0, offset_s - self._elapsed_s()))
            await free.acquire()
            task = self._begin(bench, *ticket, bench.start_ns + int(offset_s * 1e9))
            task.add_done_callback(lambda _: free.release())
        if self._plan.duration_s and not self._is_stopped:
            end_s = self._plan.warmup_s + self._plan.duration_s
            await asyncio.sleep(max(0.0, end_s - self._elapsed_s()))
        elif self._running:
            await asyncio.wait(self._running)

    def _ticket(self, offset_s: float) -> tuple[int, bool] | None:
        """Return the number of the stream that is due then, and whether it counts; None at the end."""
        plan = self._plan
        is_measured = offset_s >= plan.warmup_s
        is_over = plan.duration_s and offset_s >= plan.warmup_s + plan.duration_s
        if self._is_stopped or is_over or (is_measured and not self._left):
            return None
        if is_measured:
            self._left -= 1
        return next(self._numbers), is_measured

    def _begin(
        self, bench: Bench, number: int, is_measured: bool, intended_ns: int
    ) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._run_stream(bench, number, is_measured, intended_ns))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _run_stream(
        self, bench: Bench, number: int, is_measured: bool, intended_ns: int
    ) -> None:
        stream = stream_plan(self._plan, number)
        outcome, refusal = await run_stream(
            bench, stream, intended_ns=intended_ns, is_measured=is_measured
        )
        if refusal is not None and refusal.is_for_all:
            self.stop(_sentence(refusal))
        elif outcome.is_error and self._plan.load.arrival is Arrival.CLOSED:
            # A slot that is refused at once would ask again at once, for ever.
            await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    # Ending.

    async def _drain(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=self._plan.drain_timeout_s)

    async def _break_off(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _elapsed_s(self) -> float:
        assert self._bench is not None
        return self._bench.since_start_s(self._clock.now_ns())


def _allow_descriptors() -> None:
    """Let this process have as many connections as it may: each is a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _sentence(refusal: Refused) -> str:
    if refusal.is_for_money:
        return (
            f"The team's credit does not suffice: {refusal} Give it more with "
            "`midstream credits grant`, or ask for less."
        )
    return f"The server refuses every stream: {refusal}"


def simulated(model: str) -> str:
    """Return the simulator's own name of a model that is sold under several."""
    base, _, _ = model.partition("@")
    return ALIASES.get(base, base)


def is_made_of_words(model: str) -> bool:
    """Whether its answers are plain text of the simulator's, each word one token."""
    known = MODELS.get(simulated(model))
    return known is not None and known.content in (Content.WORDS, Content.MULTI_BYTE_WORDS)


def _has_token_per_frame(model: str) -> bool:
    known = MODELS.get(simulated(model))
    is_plain = known is not None and known.tokens_per_frame == 1 and known.tokens_max is None
    return is_plain and is_made_of_words(model)
