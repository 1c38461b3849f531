"""The completion: two coupled machines, because the stream and the money end at different moments.

Everything that changes a completion's state is in this file, and nothing here can wait: inputs come
in, effects go out, and facts are appended to the log. The driver carries the effects out and brings
their results back as inputs.

The stream is PENDING until its hold is durable, CONNECTING until the provider answers, STREAMING
until it ends. A cancel makes it CANCELLING until the upstream connection is closed. COMPLETED,
FAILED and CANCELLED are terminal, and the first terminal state stands for ever.

The hold is NONE until it was placed, PENDING until it is resolved, and then POSTED, VOIDED or
EXPIRED for ever.

The joint rule, written once in `_terminate`: a stream that turns terminal with a pending hold causes
exactly one `Settle`. A completion is *settled* when its stream is terminal and its hold is not
pending; only then does the terminal event enter the log, so that what a reader sees as the end is
durable.

Which input moves which state where stands in the tables of `actors.core.transitions`.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors import Failure, FailureCode, IllegalTransition
from actors.core.event_log import EventLog
from actors.core.events import (
    BlockFinished,
    CancelSource,
    Finished,
    FinishReason,
    Started,
    Status,
    UsageReported,
)
from actors.core.request import StartCommand
from actors.core.token_meter import TokenMeter
from actors.core.transitions import (
    HOLD_TRANSITIONS,
    IGNORED,
    TRANSITIONS,
    CancelRequested,
    CloseUpstream,
    DeltasReceived,
    Effect,
    HoldPlaced,
    HoldRefused,
    HoldState,
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

__all__ = ["Completion", "Timeouts"]


_MONEY_INPUTS = (HoldPlaced, HoldRefused, SettlementStood)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Intervals in nanoseconds; total counts from dispatch, idle from the last thing received."""

    connect_ns: int
    first_token_ns: int
    idle_ns: int
    total_ns: int


class Completion:
    """One completion's state, log and meter.

    Feed it with `handle`; after each call ask `next_deadline_ns` and call `handle_timer` when that
    has come. All times are of one monotonic clock, in nanoseconds, given by the caller.
    """

    def __init__(self, command: StartCommand, *, timeouts: Timeouts, log_bytes_max: int) -> None:
        self.stream = StreamState.PENDING
        self.hold = HoldState.NONE
        self.log = EventLog(bytes_max=log_bytes_max)
        self.meter = TokenMeter(
            prices=command.prices,
            prompt_tokens_estimated=command.prompt_tokens_estimated,
            hold_microcredits=command.hold_microcredits,
            is_exact=command.tokenizer_is_exact,
        )
        self.source: CancelSource | None = None
        self._prompt_tokens_estimated = command.prompt_tokens_estimated
        self._timeouts = timeouts
        self._open_blocks: set[int] = set()
        self._has_token = False
        self._phase_began_ns = 0
        self._dispatched_ns: int | None = None

    def __repr__(self) -> str:
        return f"<Completion {self.stream}, hold {self.hold}, {len(self.log)} events>"

    @property
    def is_settled(self) -> bool:
        return self.stream.is_terminal and self.hold is not HoldState.PENDING

    def handle(self, input: Input, *, now_ns: int) -> tuple[Effect, ...]:
        """Take one input; return what the driver must do, in order.

        Raises:
            IllegalTransition: no table allows the pair. Our own bug; nothing has changed.
        """
        kind = type(input)
        if (self.stream, kind) in IGNORED:
            return ()
        self._check(input)
        before = self.stream
        self.stream = TRANSITIONS[self.stream, kind]
        match input:
            case HoldPlaced():
                return self._hold_placed(before, now_ns)
            case UpstreamOpened():
                self._phase_began_ns = now_ns
            case DeltasReceived():
                return self._received(input, now_ns)
            case UpstreamFinished():
                return self._terminate(
                    Status.COMPLETED, input.finish_reason, None, input.stop_sequence
                )
            case UpstreamFailed():
                settle = self._terminate(Status.FAILED, FinishReason.ERROR, input.failure)
                return (CloseUpstream(), *settle)
            case CancelRequested():
                self.source = input.source
                return () if before is StreamState.PENDING else (CloseUpstream(),)
            case UpstreamClosed():
                return self._terminate(Status.CANCELLED, FinishReason.CANCELLED, None)
            case SettlementStood():
                self.hold = input.hold
                self.log.append(input.finished)
            case HoldRefused():
                pass  # Nothing is held and nothing was recorded: the completion never was.
        return ()

    def next_deadline_ns(self) -> int | None:
        """Return when `handle_timer` is due; None while nothing is timed."""
        if self._dispatched_ns is None:
            return None
        total_ns = self._dispatched_ns + self._timeouts.total_ns
        phase = self._phase_timeout_ns()
        return None if phase is None else min(total_ns, self._phase_began_ns + phase)

    def handle_timer(self, *, now_ns: int) -> tuple[Effect, ...]:
        """Act on a deadline that has come; nothing happens before it."""
        deadline_ns = self.next_deadline_ns()
        if deadline_ns is None or now_ns < deadline_ns:
            return ()
        assert self._dispatched_ns is not None
        if now_ns >= self._dispatched_ns + self._timeouts.total_ns:
            return self.handle(CancelRequested(CancelSource.DEADLINE), now_ns=now_ns)
        failure = Failure(FailureCode.UPSTREAM_TIMEOUT, self._timeout_message())
        return self.handle(UpstreamFailed(failure), now_ns=now_ns)

    def _check(self, input: Input) -> None:
        kind = type(input)
        legal = (self.stream, kind) in TRANSITIONS
        if legal and isinstance(input, _MONEY_INPUTS):
            targets = HOLD_TRANSITIONS.get((self.hold, kind), frozenset())
            legal = input.hold in targets if isinstance(input, SettlementStood) else bool(targets)
        # A cancel that came before the hold has no connection whose closing could be told of.
        if isinstance(input, UpstreamClosed) and self._dispatched_ns is None:
            legal = False
        if not legal:
            raise IllegalTransition(f"{kind.__name__} while {self!r}")

    def _hold_placed(self, before: StreamState, now_ns: int) -> tuple[Effect, ...]:
        self.hold = HoldState.PENDING
        if before is StreamState.CANCELLING:
            return self._terminate(Status.CANCELLED, FinishReason.CANCELLED, None)
        self._dispatched_ns = self._phase_began_ns = now_ns
        self.log.append(Started(self._prompt_tokens_estimated))
        return (OpenUpstream(),)

    def _received(self, input: DeltasReceived, now_ns: int) -> tuple[Effect, ...]:
        self._phase_began_ns = now_ns
        if input.running is not None:
            self.meter.run(input.running)
        for event in input.events:
            if isinstance(event, UsageReported):
                self.meter.report(event.usage)
            elif isinstance(event, BlockFinished):
                self._open_blocks.discard(event.block)
            elif self.log.is_full or not self.meter.has_room(event.tokens):
                return self.handle(CancelRequested(CancelSource.BUDGET), now_ns=now_ns)
            else:
                self.meter.count(event)
                self._open_blocks.add(event.block)
                self._has_token = True
            self.log.append(event)
        return ()

    def _terminate(
        self,
        status: Status,
        reason: FinishReason,
        error: Failure | None,
        stop_sequence: str | None = None,
    ) -> tuple[Effect, ...]:
        """Close the open blocks and settle: the joint rule of stream and money."""
        assert self.hold is HoldState.PENDING, "a stream ends once, and only after its hold"
        for block in sorted(self._open_blocks):
            self.log.append(BlockFinished(block, is_complete=status is Status.COMPLETED))
        self._open_blocks.clear()
        usage, charge = self.meter.settle(status, was_dispatched=self._dispatched_ns is not None)
        source = self.source if status is Status.CANCELLED else None
        return (Settle(Finished(status, reason, source, error, usage, charge, stop_sequence)),)

    def _phase_timeout_ns(self) -> int | None:
        match self.stream:
            case StreamState.CONNECTING:
                return self._timeouts.connect_ns
            case StreamState.STREAMING if not self._has_token:
                return self._timeouts.first_token_ns
            case StreamState.STREAMING:
                return self._timeouts.idle_ns
        return None

    def _timeout_message(self) -> str:
        if self.stream is StreamState.CONNECTING:
            return "The provider did not answer in time."
        if not self._has_token:
            return "The provider sent no first token in time."
        return "The provider fell silent in mid-stream."
