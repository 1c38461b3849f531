"""One stream of the plan, from its intended start to its end: asked for, read, cancelled, left, resumed.

Owns the order of these, and what is measured of them. Latency counts from the intended start, which
is before the request when this process, its connections or the server are behind: a server that
stalls is charged with everybody who had to wait, not only with the one it answered late.

Cancel: whoever cancels the task that runs a stream closes its connections; the stream is then broken.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp

from actors.loadtest.connections import UNREACHED, LoadConnections, Refused
from actors.loadtest.metrics import Measurements, Metric, Outcome, StreamRow
from actors.loadtest.plan import CancelAfter, Fate, Plan, StreamPlan
from actors.loadtest.reading import Reading, WrongStream
from actors.loadtest.speech import Speech, SpokenCall
from actors.loadtest.timeline import Mark
from actors.ports.clock import Clock

__all__ = ["Bench", "run_stream"]

_ID_HEADER = "Midstream-Completion-Id"


@dataclass(frozen=True, slots=True)
class Bench:
    """What the streams of a worker share.

    Args:
        start_ns: of the run, on this worker's clock.
        run_name: the first part of each request's own id.
        token_per_frame: whether every token is a frame of its own, so that they can be counted.
    """

    plan: Plan
    speech: Speech
    connections: LoadConnections
    measured: Measurements
    clock: Clock
    start_ns: int
    run_name: str
    token_per_frame: bool

    def since_start_s(self, at_ns: int) -> float:
        return (at_ns - self.start_ns) / 1e9

    def is_in_window(self, at_s: float) -> bool:
        """Whether what happens then, since the run's start, counts for rates: not before, not after."""
        plan = self.plan
        is_before_end = not plan.duration_s or at_s < plan.warmup_s + plan.duration_s
        return plan.warmup_s <= at_s and is_before_end


async def run_stream(
    bench: Bench, stream: StreamPlan, *, intended_ns: int, is_measured: bool
) -> tuple[Outcome, Refused | None]:
    """Run it; return how it ended, and the refusal where it was refused."""
    return await _LoadedStream(bench, stream, intended_ns, is_measured).run()


class _LoadedStream:
    def __init__(
        self, bench: Bench, stream: StreamPlan, intended_ns: int, is_measured: bool
    ) -> None:
        self._bench = bench
        self._plan = stream
        self._intended_ns = intended_ns
        self._is_measured = is_measured
        request_id = f"{bench.run_name}-{stream.number}"
        self._row = StreamRow(stream.number, completion_id=request_id, is_measured=is_measured)
        self._reading = Reading(bench.speech.reader(), self._gap)
        self._cancelling: asyncio.Task[None] | None = None
        self._cancel_ns: int | None = None
        self._observers: list[asyncio.Task[Reading]] = []
        self._left_ns: int | None = None
        self._error = "The run ended before the stream did."

    async def run(self) -> tuple[Outcome, Refused | None]:
        bench, refusal = self._bench, None
        began_ns = bench.clock.now_ns()
        self._record(Metric.START_LAG, began_ns - self._intended_ns)
        bench.measured.timeline.add(Mark.STARTED, bench.since_start_s(began_ns))
        try:
            self._row.outcome = await self._read_all()
        except Refused as error:
            self._row.outcome, self._error, refusal = Outcome.REFUSED, str(error), error
        except WrongStream as error:
            self._row.outcome, self._error = Outcome.WRONG, str(error)
        except UNREACHED as error:
            self._error = f"The connection broke: {type(error).__name__}."
        finally:
            await self._settle()
        return self._row.outcome, refusal

    # Reading.

    async def _read_all(self) -> Outcome:
        bench, plan = self._bench, self._plan
        headers = {"X-Request-Id": self._row.completion_id}
        if plan.fate is Fate.RESUME:
            headers["Midstream-On-Disconnect"] = "continue"
        leaves = plan.fate in (Fate.RESUME, Fate.DISCONNECT)
        has_left = await self._read(bench.speech.create(plan), headers, leaves=leaves)
        if not has_left:
            return self._outcome()
        self._left_ns = bench.clock.now_ns()
        if plan.fate is Fate.DISCONNECT:
            self._row.left_at_s = bench.clock.wall_s()
            return Outcome.LEFT
        self._reading.reconnect()
        call = bench.speech.attach(self._row.wire_id, self._reading.cursor)
        await self._read(call, {}, leaves=False)
        return self._outcome()

    async def _read(self, call: SpokenCall, headers: dict[str, str], *, leaves: bool) -> bool:
        """Read to the end; return whether it left before that, as it was to."""
        clock, reading = self._bench.clock, self._reading
        async with self._bench.connections.stream(call, **headers) as response:
            self._opened(response)
            while data := await response.content.readany():
                now_ns = clock.now_ns()
                tokens = reading.receive(data, now_ns)
                self._received(tokens, now_ns)
                if reading.ending is not None:
                    self._ended(now_ns)
                elif leaves and reading.tokens >= self._plan.leave_after:
                    response.close()
                    return True
        return False

    def _opened(self, response: aiohttp.ClientResponse) -> None:
        self._row.is_started = True
        self._row.wire_id = self._row.wire_id or response.headers.get(_ID_HEADER, "")
        if self._row.wire_id and not self._observers:
            self._observers = [
                asyncio.ensure_future(self._observe()) for _ in range(self._plan.observers)
            ]
        after = self._bench.plan.cancel_after
        if self._plan.fate is Fate.CANCEL and not after.tokens:
            self._cancel_in(after)

    def _received(self, tokens: int, now_ns: int) -> None:
        if self._left_ns is not None:
            self._record(Metric.RESUME, now_ns - self._left_ns)
            self._left_ns = None
        if not tokens:
            return
        bench, reading = self._bench, self._reading
        now_s = bench.since_start_s(now_ns)
        bench.measured.timeline.add(Mark.TOKENS, now_s, tokens)
        if bench.is_in_window(now_s):
            bench.measured.window_tokens += tokens
        if reading.tokens == tokens:
            bench.measured.recent_ttft_ns.append(now_ns - self._intended_ns)
            self._record(Metric.TTFT, now_ns - self._intended_ns)
        cancel_at = bench.plan.cancel_after.tokens
        if self._plan.fate is Fate.CANCEL and 0 < cancel_at <= reading.tokens:
            self._cancel_in(CancelAfter())

    def _gap(self, gap_ns: int, pairs: int) -> None:
        if self._is_measured:
            self._bench.measured.histograms[Metric.ITL].record(gap_ns, pairs)

    def _ended(self, now_ns: int) -> None:
        """Take the terminal frame's word, once."""
        ending = self._reading.ending
        if self._row.is_whole or ending is None:
            return
        row = self._row
        row.is_whole, row.ended_at_s = True, self._bench.clock.wall_s()
        row.charged_microcredits = ending.charged_microcredits
        row.completion_id = ending.completion_id or row.completion_id
        self._record(Metric.E2E, now_ns - self._intended_ns)
        if self._cancel_ns is not None and ending.status == "cancelled":
            self._record(Metric.CANCEL_TOLD, now_ns - self._cancel_ns)

    def _outcome(self) -> Outcome:
        ending = self._reading.ending
        if ending is None:
            self._error = "The stream ended without an end."
            return Outcome.BROKEN
        if ending.status == "failed":
            self._error = f"The stream failed: {ending.message}"
            return Outcome.FAILED
        if ending.status == "cancelled":
            if self._cancel_ns is not None:
                return Outcome.CANCELLED
            self._error = "The stream was cancelled by somebody else."
            return Outcome.FAILED
        bench = self._bench
        wanted = bench.speech.tokens(self._plan.max_tokens)
        if bench.token_per_frame and self._reading.tokens != wanted:
            self._error = "A completed stream has another number of tokens than was asked for."
            return Outcome.WRONG
        return Outcome.COMPLETED

    # Cancelling, by a connection of its own.

    def _cancel_in(self, after: CancelAfter) -> None:
        if self._cancelling is None:
            self._cancelling = asyncio.ensure_future(self._cancel(after.seconds))

    async def _cancel(self, after_s: float) -> None:
        bench, row = self._bench, self._row
        if after_s:
            await asyncio.sleep(after_s)
        if row.is_whole:
            return  # It ended by itself before its time.
        wire_id = row.wire_id or self._reading.wire_id
        self._cancel_ns, row.cancelled_at_s = bench.clock.now_ns(), bench.clock.wall_s()
        try:
            await bench.connections.send(bench.speech.cancel(wire_id))
        except Refused as error:
            if error.status != 409:  # It had ended, or could not be reached: the stream tells.
                bench.measured.note(f"A cancel was refused: {error}")
        except UNREACHED as error:
            bench.measured.note(f"A cancel was not answered: {type(error).__name__}.")
        else:
            self._record(Metric.CANCEL_ACK, bench.clock.now_ns() - self._cancel_ns)

    # Observers.

    async def _observe(self) -> Reading:
        bench = self._bench
        reading = Reading(bench.speech.reader())
        call = bench.speech.attach(self._row.wire_id, -1)
        async with bench.connections.stream(call) as response:
            while data := await response.content.readany():
                reading.receive(data, bench.clock.now_ns())
        return reading

    async def _check_observers(self) -> None:
        mine = self._reading
        for observed in await asyncio.gather(*self._observers, return_exceptions=True):
            if not isinstance(observed, Reading):
                self._wrong(f"An observer broke: {type(observed).__name__}.")
            elif (observed.tokens, observed.digest) != (mine.tokens, mine.digest):
                self._wrong("An observer saw another text than the stream's reader.")
            self._bench.measured.observers += 1

    def _wrong(self, words: str) -> None:
        self._row.outcome, self._error = Outcome.WRONG, words

    # The end.

    async def _settle(self) -> None:
        """Wait for what else was under way, and count the stream."""
        bench, row, reading = self._bench, self._row, self._reading
        if self._cancelling is not None:
            if self._cancel_ns is None or not row.is_whole:
                self._cancelling.cancel()
            await asyncio.wait([self._cancelling])
        if row.is_whole:
            await self._check_observers()
        for observer in self._observers:
            observer.cancel()
        row.tokens, row.characters, row.digest = reading.tokens, reading.characters, reading.digest
        row.wire_id = row.wire_id or reading.wire_id
        now_s = bench.since_start_s(bench.clock.now_ns())
        measured = bench.measured
        measured.timeline.add(Mark.ENDED, now_s)
        if row.outcome.is_error:
            measured.timeline.add(Mark.ERRORS, now_s)
            measured.note(self._error)
        is_good = False
        if self._is_measured:
            measured.outcomes[row.outcome.value] += 1
            is_good = self._judge()
            measured.good += is_good
        if bench.is_in_window(now_s):
            measured.window_ended += 1
            measured.window_good += is_good
        measured.keep(row)

    def _judge(self) -> bool:
        """Return whether a stream that was to complete did so within the limits."""
        reading, measured, row = self._reading, self._bench.measured, self._row
        spoken_ns = reading.last_ns - reading.first_ns
        tpot_ns = spoken_ns // max(1, reading.tokens - 1)
        if reading.tokens > 1:
            self._record(Metric.TPOT, tpot_ns)
        if row.outcome in (Outcome.CANCELLED, Outcome.LEFT):
            return False
        measured.judged += 1
        if row.outcome is not Outcome.COMPLETED:
            return False
        figures = {
            "ttft": reading.first_ns - self._intended_ns,
            "itl": reading.gap_max_ns,
            "tpot": tpot_ns,
            "e2e": reading.last_ns - self._intended_ns,
        }
        limits = self._bench.plan.slo.limits
        return all(figures[name] <= limit * 1e9 for name, limit in limits.items())

    def _record(self, metric: Metric, duration_ns: int) -> None:
        if self._is_measured:
            self._bench.measured.histograms[metric].record(duration_ns)
