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

While it streams, the hold is extended before the meter reaches it. What came and is not held for yet
waits (`is_waiting_for_hold`), and the driver reads no more: for `_HOLD_WAIT_NS` at most, then the stream
ends with source `budget`, as it does at once where the ledger refuses and what is held is used up.

Which input moves which state where stands in the tables of `actors.core.completion.transitions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.core.completion.event_log import EventLog
from actors.core.completion.token_meter import TokenMeter
from actors.core.completion.transitions import (
    HOLD_TRANSITIONS,
    IGNORED,
    TRANSITIONS,
    CancelRequested,
    CloseUpstream,
    DeltasReceived,
    Effect,
    ExtendHold,
    ExtensionRefused,
    HoldExtended,
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
from actors.core.errors import Failure, FailureCode, IllegalTransition
from actors.core.events import (
    BlockFinished,
    CancelSource,
    Delta,
    Finished,
    FinishReason,
    Opaque,
    Started,
    Status,
    UsageReported,
)
from actors.core.request import StartCommand

__all__ = ["Completion", "Timeouts"]


_MONEY_INPUTS = (HoldPlaced, HoldRefused, SettlementStood)

_HOLD_WAIT_NS = 5_000_000_000
"""How long what came waits for a ledger that is away."""

_Received = Delta | Opaque | BlockFinished | UsageReported


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Intervals in nanoseconds: connect until the provider answered, first token until it said something,
    both from dispatch, as is total; idle between two things that it says. Figures alone say nothing.
    """

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
            output_tokens_max=command.max_output_tokens,
            hold_step_tokens=command.hold_step_tokens,
            charges_failed=command.charges_failed,
        )
        self.source: CancelSource | None = None
        self._prompt_tokens_estimated = command.prompt_tokens_estimated
        self._timeouts = timeouts
        self._open_blocks: set[int] = set()
        self._has_token = False
        self._phase_began_ns = 0
        self._dispatched_ns: int | None = None
        self._opened_ns: int | None = None
        self._first_token_ns: int | None = None
        self._cancelled_ns = 0
        self._hidden_reasoning_tokens_per_1000_s = command.hidden_reasoning_tokens_per_1000_s
        # The hold's extension: what was asked for, and what came that is not held for.
        self._extending_to: int | None = None
        self._is_extension_refused = False
        self._waiting: tuple[_Received, ...] = ()
        self._waiting_since_ns: int | None = None

    def __repr__(self) -> str:
        return f"<Completion {self.stream}, hold {self.hold}, {len(self.log)} events>"

    @property
    def is_settled(self) -> bool:
        return self.stream.is_terminal and self.hold is not HoldState.PENDING

    @property
    def has_token(self) -> bool:
        """Whether the provider has said anything of the answer."""
        return self._has_token

    @property
    def is_waiting_for_hold(self) -> bool:
        """Whether nothing more may be read before the hold was extended, or was not."""
        return self._waiting_since_ns is not None

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
            case HoldExtended():
                return self._extended(input, now_ns)
            case ExtensionRefused():
                return self._not_extended(now_ns)
            case UpstreamOpened():
                self._opened_ns = now_ns
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
                self._cancelled_ns = now_ns
                self._stop_waiting()
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
        if self._waiting_since_ns is not None:
            return min(total_ns, self._waiting_since_ns + _HOLD_WAIT_NS)
        phase = self._phase_timeout_ns()
        return None if phase is None else min(total_ns, self._phase_began_ns + phase)

    def handle_timer(self, *, now_ns: int) -> tuple[Effect, ...]:
        """Act on a deadline that has come; nothing happens before it."""
        deadline_ns = self.next_deadline_ns()
        if deadline_ns is None or now_ns < deadline_ns:
            return ()
        assert self._dispatched_ns is not None
        if self._waiting_since_ns is not None and now_ns >= self._waiting_since_ns + _HOLD_WAIT_NS:
            return self._not_extended(now_ns)
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
        if isinstance(input, UpstreamFinished) and self.is_waiting_for_hold:
            legal = False  # It would end before what came of it.
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
        if any(type(event) is not UsageReported for event in input.events):
            self._phase_began_ns = now_ns  # Figures alone are no progress.
        if input.running is not None:
            self.meter.run(input.running)
        if self._waiting:
            self._waiting += input.events
            return ()
        return self._take(input.events, now_ns)

    def _take(self, events: Sequence[_Received], now_ns: int) -> tuple[Effect, ...]:
        """Log what is held for; the rest waits for the hold's extension, where there may be one."""
        for place, event in enumerate(events):
            if isinstance(event, UsageReported):
                self.meter.report(event.usage)
            elif isinstance(event, BlockFinished):
                self._open_blocks.discard(event.block)
            elif self.log.is_full or not self.meter.is_within_limit(event.tokens):
                return self.handle(CancelRequested(CancelSource.BUDGET), now_ns=now_ns)
            elif not self.meter.is_held(event.tokens):
                self._waiting = tuple(events[place:])
                return self._wait_for_hold(event.tokens, now_ns)
            else:
                self.meter.count(event)
                self._open_blocks.add(event.block)
                self._has_token = True
                if self._first_token_ns is None:
                    self._first_token_ns = now_ns
            self.log.append(event)
        effects = self._extension()
        if self._extending_to is not None and self.meter.is_overdrawn:
            self._waiting_since_ns = now_ns
        return effects

    # The hold's extension.

    def _extension(self, tokens: int = 0) -> tuple[Effect, ...]:
        """Ask for more where the meter comes near to what is held, once at a time."""
        if self._extending_to is not None or self._is_extension_refused:
            return ()
        self._extending_to = self.meter.hold_wanted(tokens)
        return () if self._extending_to is None else (ExtendHold(self._extending_to),)

    def _wait_for_hold(self, tokens: int, now_ns: int) -> tuple[Effect, ...]:
        effects = self._extension(tokens)
        if self._extending_to is None:
            return self.handle(CancelRequested(CancelSource.BUDGET), now_ns=now_ns)
        self._waiting_since_ns = now_ns
        return effects

    def _extended(self, input: HoldExtended, now_ns: int) -> tuple[Effect, ...]:
        self.meter.extend(input.hold_microcredits)
        self._extending_to = None
        if self._waiting_since_ns is None:
            return self._extension()
        self._phase_began_ns = now_ns
        return self._take(self._stop_waiting(), now_ns)

    def _not_extended(self, now_ns: int) -> tuple[Effect, ...]:
        self._extending_to = None
        self._is_extension_refused = True
        if self._stop_waiting():
            return self.handle(CancelRequested(CancelSource.BUDGET), now_ns=now_ns)
        return ()  # What is held is used up first; an answer that is whole is not cut for its price.

    def _stop_waiting(self) -> tuple[_Received, ...]:
        waiting, self._waiting = self._waiting, ()
        self._waiting_since_ns = None
        return waiting

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
        self._stop_waiting()
        usage, charge = self.meter.settle(
            status,
            was_dispatched=self._dispatched_ns is not None,
            hidden_reasoning_tokens=self._hidden_reasoning_tokens(),
        )
        source = self.source if status is Status.CANCELLED else None
        return (Settle(Finished(status, reason, source, error, usage, charge, stop_sequence)),)

    def _hidden_reasoning_tokens(self) -> int:
        """Return what the provider is taken to have thought, from its answer's head to a first token."""
        if self._opened_ns is None:
            return 0
        shown_ns = self._cancelled_ns if self._first_token_ns is None else self._first_token_ns
        hidden_ns = max(0, min(shown_ns, self._cancelled_ns) - self._opened_ns)
        return hidden_ns * self._hidden_reasoning_tokens_per_1000_s // 1_000_000_000_000

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
