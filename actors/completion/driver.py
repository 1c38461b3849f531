"""The only asyncio loop around a completion: inputs in, effects carried out, readers woken.

A driver owns one machine, its upstream connection and its settlement. Everything runs on one event
loop, and `_feed` is the one door to the machine: it hands over an input, carries out the effects,
wakes the readers and re-arms one timer. What takes time (placing the hold, the upstream, settling)
runs in tasks of the driver's own, so a caller that is cancelled stops waiting and stops nothing else.

It knows the provider and the ledger as ports, and no Ray.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from actors.completion.moments import Moments
from actors.completion.settlements import expired, hold_state, packed
from actors.core.completion.machine import Completion, Timeouts
from actors.core.completion.readers import Departure, Readers
from actors.core.completion.transitions import (
    CancelRequested,
    CloseUpstream,
    DeltasReceived,
    ExtendHold,
    ExtensionRefused,
    HoldExtended,
    HoldPlaced,
    HoldRefused,
    Input,
    OpenUpstream,
    Settle,
    SettlementStood,
    StreamState,
    UpstreamClosed,
    UpstreamFailed,
    UpstreamFinished,
    UpstreamOpened,
)
from actors.core.errors import (
    CompletionRuntimeError,
    Failure,
    FailureCode,
    InsufficientCredit,
    Overloaded,
    UpstreamError,
)
from actors.core.events import CancelSource, Finished, Status
from actors.core.record import CompletionHeader, CompletionRecord
from actors.core.request import DisconnectPolicy, StartCommand
from actors.ports.clock import Clock, Timer
from actors.ports.ledger import HoldExtension, HoldLedger, HoldPlacement, Placed, Settlement
from actors.ports.provider import Provider, UpstreamStream
from actors.ports.runtime import CompletionRow
from actors.settings import Settings

__all__ = ["HOLD_SLACK_S", "CompletionDriver", "timeouts_of"]

_log = logging.getLogger(__name__)

HOLD_SLACK_S = 120.0
"""How long a hold outlives its completion's last possible moment, for a ledger that is away."""

_END_GRACE_S = 5.0
"""How long a provider that gave its finish reason may take for its usage and the end of the stream."""

_CLOSE_TIMEOUT_S = 1.0
"""A close is local work; one that takes longer is given up, and the connection left to the kernel."""

_RETRY_S = (0.05, 1.0)
"""First and largest pause between tries to settle, which end when the hold has expired, or to extend."""


def timeouts_of(command: StartCommand, settings: Settings) -> Timeouts:
    return Timeouts(
        connect_ns=_ns(command.connect_timeout_s or settings.connect_timeout_s),
        first_token_ns=_ns(command.first_token_timeout_s or settings.first_token_timeout_s),
        idle_ns=_ns(command.idle_timeout_s or settings.idle_timeout_s),
        total_ns=_ns(command.total_timeout_s),
    )


class CompletionDriver:
    """Runs one completion from its hold to its settlement.

    Args:
        thread: where a long record is encoded; None is the loop's own.
        on_change: called after each input that may have changed the log; must not raise or wait.
        on_settled: called once, when the completion is settled or was refused.
    """

    def __init__(
        self,
        command: StartCommand,
        header: CompletionHeader,
        *,
        provider: Provider,
        ledger: HoldLedger,
        thread: Executor | None = None,
        clock: Clock,
        settings: Settings,
        on_change: Callable[[CompletionDriver], None],
        on_settled: Callable[[CompletionDriver], None],
    ) -> None:
        self.command = command
        self.header = header
        self.completion = Completion(
            command,
            timeouts=timeouts_of(command, settings),
            log_bytes_max=settings.log_bytes_max,
        )
        self.readers = Readers(
            cancels_when_left=not command.request.background
            and command.request.on_disconnect is DisconnectPolicy.CANCEL,
            grace_ns=_ns(settings.reader_grace_s),
            outwaits=command.outwaits_its_reader,
        )
        self._provider = provider
        self._ledger = ledger
        self._thread = thread
        self._clock = clock
        self._on_change = on_change
        self._on_settled = on_settled
        self._moments = Moments()
        self._timer: Timer | None = None
        self._timer_ns: int | None = None
        self._upstream: UpstreamStream | None = None
        self._pumping: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._placed: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
        self._settled: asyncio.Future[CompletionRecord] = asyncio.get_running_loop().create_future()
        self._extending: asyncio.Task[None] | None = None
        self._may_read = asyncio.Event()

    def __repr__(self) -> str:
        return f"<CompletionDriver {self.header.completion_id} {self.completion!r}>"

    # What callers ask.

    def start(self) -> None:
        """Begin to place the hold. Call once."""
        self._spawn(self._place())

    async def placed(self) -> Placed:
        """Wait until the hold is durable.

        Raises: what the ledger refused with; nothing is held then.
        Cancel: nothing changes; the completion goes on.
        """
        return await asyncio.shield(self._placed)

    async def settled(self) -> CompletionRecord:
        """Wait for the record that stands.

        Raises: what the ledger refused the hold with.
        Cancel: nothing changes.
        """
        return await asyncio.shield(self._settled)

    def cancel(self, source: CancelSource, *, requested_at_s: float | None = None) -> None:
        """Request a cancellation; the first source stands. Wait with `settled`."""
        if self._moments.cancel_requested_s is None:
            self._moments.cancel_requested_s = requested_at_s or self._clock.wall_s()
        self._feed(CancelRequested(source))

    def reader_left(self, channel: str, departure: Departure) -> None:
        """Take a channel off; apply the disconnect policy if it was the last."""
        if self.readers.leave(channel, departure, now_ns=self._clock.now_ns()):
            self.cancel(CancelSource.CLIENT_DISCONNECT)
        else:
            self._arm()

    def record(self) -> CompletionRecord:
        """Return the completion as it stands, running or settled; the events are a copy."""
        completion, moments = self.completion, self._moments
        return CompletionRecord(
            header=self.header,
            events=tuple(completion.log.read_after(-1, len(completion.log))),
            timeline=moments.timeline(),
            receipt=moments.receipt(completion.source, completion.meter.tokens_output),
        )

    def row(self) -> CompletionRow:
        """Return the line that lists show of this completion."""
        header, completion = self.header, self.completion
        return CompletionRow(
            id=header.completion_id,
            wire_id=header.wire_id,
            team=header.team,
            dialect=header.dialect.value,
            model=header.model,
            status=completion.stream.value,
            source=completion.source.value if completion.source else None,
            node_id=header.node_id,
            actor=header.actor,
            pid=header.pid,
            created_at=header.created_at_s,
            tokens_output=completion.meter.tokens_output,
            charge_microcredits=0,
            readers=len(self.readers),
            tags=header.tags,
        )

    # The one door to the machine.

    def _feed(self, input: Input) -> None:
        self._carry_out(self.completion.handle(input, now_ns=self._clock.now_ns()))
        self._may_read.set()
        self._on_change(self)
        self._arm()

    def _carry_out(self, effects: tuple[Any, ...]) -> None:
        for effect in effects:
            match effect:
                case OpenUpstream():
                    self._moments.dispatched_s = self._clock.wall_s()
                    self._pumping = self._spawn(self._pump())
                case ExtendHold():
                    self._extending = self._spawn(self._extend(effect.to_microcredits))
                case CloseUpstream():
                    self._spawn(self._close_upstream())
                case Settle():
                    self._moments.finished_s = self._clock.wall_s()
                    self._spawn(self._settle(effect.finished))

    def _arm(self) -> None:
        """Keep one timer for the earliest deadline; an unchanged or later one is left to fire early."""
        deadlines = (self.completion.next_deadline_ns(), self.readers.next_deadline_ns())
        earliest = min((d for d in deadlines if d is not None), default=None)
        if earliest is None:
            self._disarm()
        elif self._timer_ns is None or earliest < self._timer_ns:
            # A timer that fires before its deadline only arms the next one: re-arming for every
            # delta would cost more than the timer itself.
            self._disarm()
            self._timer_ns = earliest
            self._timer = self._clock.call_at(earliest, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timer_ns = None

    def _on_timer(self) -> None:
        self._timer = self._timer_ns = None
        now_ns = self._clock.now_ns()
        if self.readers.handle_timer(now_ns=now_ns):
            self.cancel(CancelSource.CLIENT_DISCONNECT)
        effects = self.completion.handle_timer(now_ns=now_ns)
        self._may_read.set()
        if effects:
            if self._moments.cancel_requested_s is None:
                self._moments.cancel_requested_s = self._clock.wall_s()
            self._carry_out(effects)
            self._on_change(self)
        self._arm()

    # Effects that take time.

    async def _place(self) -> None:
        expires_at_s = self.command.created_at_s + self.command.total_timeout_s + HOLD_SLACK_S
        placement = HoldPlacement(
            header=self.header.for_store(),
            key_id=self.command.key_id,
            expires_at_s=expires_at_s,
            idempotency=self.command.idempotency,
        )
        try:
            placed = await self._ledger.place(placement)
        except CompletionRuntimeError as error:
            self._refused(error)
            return
        self._moments.hold_placed_s = self._clock.wall_s()
        if placed.is_cancelled:
            self.cancel(CancelSource.CLIENT_REQUEST)
        self._feed(HoldPlaced())
        self._placed.set_result(placed)

    def _refused(self, error: CompletionRuntimeError) -> None:
        self._feed(HoldRefused())
        for future in (self._placed, self._settled):
            future.set_exception(error)
            future.exception()  # Marked as seen: there may be nobody who waits for it.
        self._on_settled(self)

    async def _extend(self, total_microcredits: int) -> None:
        """Ask for more, again and again while the ledger is away and the stream goes on."""
        extension = HoldExtension(self.header.completion_id, total_microcredits)
        pause_s, pause_max_s = _RETRY_S
        while self.completion.stream is StreamState.STREAMING:
            try:
                held_microcredits = await self._ledger.extend(extension)
            except Overloaded:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, pause_max_s)
            except CompletionRuntimeError as error:
                if not isinstance(error, InsufficientCredit):
                    _log.warning("%s is not extended: %s", self.header.completion_id, error)
                self._feed(ExtensionRefused())
                return
            else:
                self._feed(HoldExtended(held_microcredits))
                return

    async def _pump(self) -> None:
        """Connect and read until the stream ends; every end is an input, none an exception."""
        upstream = self._upstream = self._provider.open(self.command)
        try:
            await upstream.connect()
            self._moments.opened_s = self._clock.wall_s()
            self._feed(UpstreamOpened())
            await self._read(upstream)
        except UpstreamError as error:
            self._feed(UpstreamFailed(error.failure))
        except Exception:
            # A bug of ours must not leave a completion running for ever with its hold.
            _log.exception("reading %s failed", self.header.completion_id)
            self._feed(UpstreamFailed(_OUR_BUG))
        finally:
            await upstream.aclose()

    async def _read(self, upstream: UpstreamStream) -> None:
        finished: UpstreamFinished | None = None
        try:
            async with asyncio.timeout(None) as end:
                async for batch in upstream.batches():
                    if batch.events or batch.running is not None:
                        self._receive(batch.events, batch.running)
                    await self._held_for()
                    if batch.failure is not None:
                        self._feed(UpstreamFailed(batch.failure))
                        return
                    if batch.finish_reason is not None:
                        finished = UpstreamFinished(batch.finish_reason, batch.stop_sequence)
                        end.reschedule(asyncio.get_running_loop().time() + _END_GRACE_S)
                    if batch.is_end:
                        break
        except TimeoutError:
            # The answer is whole, only its end is late: the completion does not fail for that.
            await self._held_for()
        self._feed(finished or UpstreamFailed(_CUT_SHORT))

    async def _held_for(self) -> None:
        while self.completion.is_waiting_for_hold:  # The machine's timer bounds it.
            self._may_read.clear()
            await self._may_read.wait()

    def _receive(self, events: Any, running: Any) -> None:
        now_s = self._clock.wall_s()
        self._feed(DeltasReceived(events, running))
        if self._moments.first_token_s is None and self.completion.has_token:
            self._moments.first_token_s = now_s
        self._moments.recent.append((now_s, self.completion.meter.tokens_output))

    async def _close_upstream(self) -> None:
        """Close the connection, then say so; the pump's own end does nothing more."""
        if self._pumping is not None:
            self._pumping.cancel()
            await asyncio.wait({self._pumping}, timeout=_CLOSE_TIMEOUT_S)
        if self._upstream is not None:
            # The cancel may have hit the pump while it was closing: closing twice is harmless.
            await self._upstream.aclose()
            self._moments.upstream_closed_s = self._clock.wall_s()
        if self.completion.stream is StreamState.CANCELLING:
            self._feed(UpstreamClosed())

    async def _settle(self, finished: Finished) -> None:
        if finished.status is Status.FAILED:
            await self._closed_after_failure()
        is_charged = self._placed.result().is_charged  # Nothing is settled before it is placed.
        finished = replace(
            finished,
            charge=finished.charge if is_charged else finished.charge.waived(),
            finished_at_s=self._moments.finished_s or 0.0,
        )
        record = self.record()
        record = replace(record, events=(*record.events, finished))
        try:
            stands = await self._settle_durably(await packed(record, self._thread)) or record
        except Overloaded:
            stands = expired(record)
        end = stands.finished
        assert end is not None, "the ledger keeps terminal records only"
        self._disarm()
        if self._extending is not None:
            self._extending.cancel()
        self._feed(SettlementStood(end, hold_state(end)))
        self._settled.set_result(stands)
        self._on_settled(self)

    async def _closed_after_failure(self) -> None:
        if self._pumping is not None:
            await asyncio.wait({self._pumping}, timeout=_CLOSE_TIMEOUT_S)

    async def _settle_durably(self, settlement: Settlement) -> CompletionRecord | None:
        """Settle, again and again while the ledger is away, until the hold has expired by itself."""
        expires_at_s = self.command.created_at_s + self.command.total_timeout_s + HOLD_SLACK_S
        pause_s, pause_max_s = _RETRY_S
        while True:
            try:
                return await self._ledger.settle(settlement)
            except CompletionRuntimeError as error:
                if not isinstance(error, Overloaded):
                    _log.exception("settling %s failed", self.header.completion_id)
                if self._clock.wall_s() >= expires_at_s:
                    raise Overloaded("The ledger was away until the hold expired.") from error
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, pause_max_s)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # The loop itself keeps only weak references.
        task.add_done_callback(self._tasks.discard)
        return task


_OUR_BUG = Failure(FailureCode.INTERNAL, "The runtime failed while reading the answer.")

_CUT_SHORT = Failure(
    FailureCode.UPSTREAM_UNAVAILABLE, "The provider ended the stream before the answer was whole."
)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
