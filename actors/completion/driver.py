"""The loop around one completion: inputs in, effects carried out, readers woken.

A driver owns one machine. `_feed` is the only door to it, timers included: it hands over an input,
carries out the effects, wakes the readers and re-arms one timer. What takes time runs in tasks of the
driver's own, so a caller that is cancelled stops waiting and stops nothing else: the upstream is
`UpstreamPump`'s, the money `HoldKeeper`'s.

It knows the provider and the ledger as ports, and no Ray.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from msgspec.structs import replace as replace_members

from actors.completion.hold_keeper import HoldKeeper
from actors.completion.moments import Moments
from actors.completion.upstream_pump import UpstreamPump
from actors.core.completion.machine import Completion, Timeouts
from actors.core.completion.readers import Departure, Readers
from actors.core.completion.transitions import (
    CancelRequested,
    CloseUpstream,
    DeltasReceived,
    Effect,
    ExtendHold,
    HoldPlaced,
    HoldRefused,
    Input,
    OpenUpstream,
    Settle,
    SettlementStood,
    StreamState,
    UpstreamClosed,
    UpstreamFailed,
    UpstreamOpened,
)
from actors.core.errors import (
    CompletionNotFound,
    CompletionRuntimeError,
    Failure,
    IllegalTransition,
)
from actors.core.events import CancelSource, Finished, Status
from actors.core.record import CompletionHeader, CompletionRecord
from actors.core.request import DisconnectPolicy, StartCommand
from actors.ports.clock import Clock, Timer
from actors.ports.ledger import HoldLedger, Placed
from actors.ports.provider import Provider
from actors.ports.runtime import CompletionRow
from actors.settings import Settings

__all__ = ["CompletionDriver"]

_log = logging.getLogger(__name__)


def _timeouts(command: StartCommand, settings: Settings) -> Timeouts:
    return Timeouts(
        connect_ns=_ns(command.connect_timeout_s or settings.connect_timeout_s),
        first_token_ns=_ns(command.first_token_timeout_s or settings.first_token_timeout_s),
        idle_ns=_ns(command.idle_timeout_s or settings.idle_timeout_s),
        total_ns=_ns(command.total_timeout_s),
    )


class CompletionDriver:
    """Runs one completion from its hold to its settlement.

    Args:
        thread: where a long record is encoded; None encodes it where it is.
        on_change: called after each input that may have changed the log; must not raise or wait.
        on_settled: called once, when the completion is settled or was refused.
    """

    __slots__ = (
        "_clock",
        "_extending",
        "_hold",
        "_moments",
        "_on_change",
        "_on_settled",
        "_placed",
        "_pump",
        "_settled",
        "_tasks",
        "_timer",
        "_timer_ns",
        "command",
        "completion",
        "header",
        "readers",
    )

    def __init__(
        self,
        command: StartCommand,
        header: CompletionHeader,
        *,
        provider: Provider,
        ledger: HoldLedger,
        clock: Clock,
        settings: Settings,
        on_change: Callable[[CompletionDriver], None],
        on_settled: Callable[[CompletionDriver], None],
        thread: Executor | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.command = command
        self.header = header
        self.completion = Completion(
            command,
            timeouts=_timeouts(command, settings),
            log_bytes_max=settings.log_bytes_max,
        )
        self.readers = Readers(
            cancels_when_left=not command.request.background
            and command.request.on_disconnect is DisconnectPolicy.CANCEL,
            grace_ns=_ns(settings.reader_grace_s),
            outwaits=command.outwaits_its_reader,
        )
        self._pump = UpstreamPump(
            command,
            provider,
            feed=self._feed,
            waits_for_hold=lambda: self.completion.is_waiting_for_hold,
        )
        self._hold = HoldKeeper(command, header, ledger=ledger, clock=clock, thread=thread)
        self._clock = clock
        self._on_change = on_change
        self._on_settled: Callable[[CompletionDriver], None] | None = on_settled
        self._moments = Moments()
        self._timer: Timer | None = None
        self._timer_ns: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._placed: asyncio.Future[Placed] = loop.create_future()
        self._settled: asyncio.Future[CompletionRecord] = loop.create_future()
        self._extending: asyncio.Task[None] | None = None

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

        Raises: CompletionNotFound: its hold was refused, so it never was. IllegalTransition: a bug of ours.
        Cancel: nothing changes.
        """
        return await asyncio.shield(self._settled)

    def cancel(self, source: CancelSource) -> None:
        """Request a cancellation; the first source stands. Wait with `settled`."""
        self._feed(CancelRequested(source))

    @property
    def is_streaming(self) -> bool:
        """Whether a provider was asked, and nothing has ended it yet."""
        return self.completion.stream in (StreamState.CONNECTING, StreamState.STREAMING)

    @property
    def waits_for_ledger(self) -> bool:
        """Whether nothing is open at a provider, or will be, and only the ledger's word is missing."""
        return self.completion.stream.is_terminal or (
            self.completion.stream is StreamState.CANCELLING and not self._pump.is_open
        )

    def fail(self, failure: Failure) -> None:
        """Close the upstream of a stream that may not go on here; what stands of it is the ledger's word."""
        if self.is_streaming:
            self._feed(UpstreamFailed(failure))

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
            receipt=moments.receipt(completion.source),
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

    # The only door to the machine.

    def _feed(self, input: Input | None) -> None:
        """Take what happened; None is the time that passed."""
        completion, now_ns = self.completion, self._clock.now_ns()
        if input is None:
            effects = completion.handle_timer(now_ns=now_ns)
        else:
            effects = completion.handle(input, now_ns=now_ns)
        self._note(input)
        for effect in effects:
            self._carry_out(effect)
        self._pump.wake()
        if effects or input is not None:
            self._on_change(self)
        self._arm()

    def _note(self, input: Input | None) -> None:
        """Note when it happened, where the timeline or the receipt says so."""
        completion, moments = self.completion, self._moments
        match input:
            case DeltasReceived():
                if moments.first_token_s is None and completion.has_token:
                    moments.first_token_s = self._clock.wall_s()
            case HoldPlaced():
                moments.hold_placed_s = self._clock.wall_s()
            case UpstreamOpened():
                moments.opened_s = self._clock.wall_s()
        if completion.source is not None and moments.cancel_requested_s is None:
            moments.cancel_requested_s = self._clock.wall_s()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case OpenUpstream():
                self._moments.dispatched_s = self._clock.wall_s()
                self._pump.open(self._spawn)
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
        if self.readers.handle_timer(now_ns=self._clock.now_ns()):
            self.cancel(CancelSource.CLIENT_DISCONNECT)
        self._feed(None)

    # Effects that take time.

    async def _place(self) -> None:
        try:
            placed = await self._hold.place()
        except CompletionRuntimeError as error:
            await self._refused(error)
            return
        if placed.is_cancelled:
            self.cancel(CancelSource.CLIENT_REQUEST)
        self._feed(HoldPlaced())
        self._placed.set_result(placed)

    async def _refused(self, error: CompletionRuntimeError) -> None:
        """End a completion that never was: its start is told why, and who cancels it that it is not."""
        self._feed(HoldRefused())
        self._placed.set_exception(error)
        self._placed.exception()  # Marked as seen: its caller may have left.
        await self._hold.undo(error)
        self._end(error, CompletionNotFound())

    async def _extend(self, total_microcredits: int) -> None:
        answer = await self._hold.extend(
            total_microcredits,
            is_wanted=lambda: self.completion.stream is StreamState.STREAMING,
        )
        if answer is not None:
            self._feed(answer)

    async def _close_upstream(self) -> None:
        await self._pump.close()
        if self._pump.is_open:
            self._moments.upstream_closed_s = self._clock.wall_s()
        if self.completion.stream is StreamState.CANCELLING:
            self._feed(UpstreamClosed())

    async def _settle(self, finished: Finished) -> None:
        if finished.status is Status.FAILED:
            await self._pump.close()
        finished = replace_members(
            finished,
            charge=finished.charge if self._hold.is_charged else finished.charge.waived(),
            finished_at_s=self._moments.finished_s or 0.0,
        )
        record = self.record()
        record = replace(record, events=(*record.events, finished))
        stands, hold = await self._hold.settle(record)
        end = stands.finished
        assert end is not None, "the hold's keeper answers with terminal records only"
        if self._extending is not None:
            self._extending.cancel()
        self._feed(SettlementStood(end, hold))
        self._disarm()
        self._settled.set_result(stands)
        self._freed()

    # Its end.

    def _end(self, not_placed: CompletionRuntimeError, not_settled: CompletionRuntimeError) -> None:
        """Tell everybody who waits that there will be no record, and free the slot."""
        waits: tuple[tuple[asyncio.Future[Any], CompletionRuntimeError], ...] = (
            (self._placed, not_placed),
            (self._settled, not_settled),
        )
        for future, error in waits:
            if not future.done():
                future.set_exception(error)
                future.exception()  # Marked as seen: there may be nobody who waits for it.
        self._freed()

    def _freed(self) -> None:
        on_settled, self._on_settled = self._on_settled, None
        if on_settled is not None:
            on_settled(self)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # The loop itself keeps only weak references.
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Give the completion up where a task of its own failed: a bug of ours, and nobody may hang on it.

        Its readers learn of it as of an actor that died: the ledger finds that nobody carries it.
        """
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        _log.error("%s is given up", self.header.completion_id, exc_info=error)
        self._disarm()
        if self._pump.is_open:
            closing = asyncio.get_running_loop().create_task(self._pump.close())
            self._tasks.add(closing)
            closing.add_done_callback(self._tasks.discard)
        ours = IllegalTransition("The runtime failed while it carried the completion.")
        self._end(ours, ours)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
