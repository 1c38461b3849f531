"""Goal: every pair of state and input does what its table says, and nothing else changes anything.

Method: drive the machine into each of its reachable joint states, give it each input, and compare
with the tables; then tell whole stories and look at log, effects and charge.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from actors.core.completion.machine import Completion, Timeouts
from actors.core.completion.transitions import (
    HOLD_TRANSITIONS,
    IGNORED,
    TRANSITIONS,
    CancelRequested,
    CloseUpstream,
    DeltasReceived,
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
    Charge,
    ChargeBasis,
    Finished,
    FinishReason,
    ReasoningDelta,
    Started,
    Status,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from tests.support.commands import command

FAILURE = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "down")
END = Finished(Status.CANCELLED, FinishReason.CANCELLED, None, None, Usage(), Charge())
TEXT = TextDelta(0, " a", 1)
SECOND_NS = 1_000_000_000
TIMEOUTS = Timeouts(10 * SECOND_NS, 20 * SECOND_NS, 30 * SECOND_NS, 100 * SECOND_NS)

INPUTS: tuple[Input, ...] = (
    HoldPlaced(),
    HoldRefused(),
    HoldExtended(20_000),
    ExtensionRefused(),
    UpstreamOpened(),
    DeltasReceived((TEXT,)),
    UpstreamFinished(FinishReason.STOP),
    UpstreamFailed(FAILURE),
    CancelRequested(CancelSource.CLIENT_REQUEST),
    UpstreamClosed(),
    SettlementStood(END, HoldState.VOIDED),
)


def machine(*inputs: Input, max_output_tokens: int = 16, exact: bool = True) -> Completion:
    completion = Completion(
        command(max_output_tokens=max_output_tokens, tokenizer_is_exact=exact),
        timeouts=TIMEOUTS,
        log_bytes_max=10_000,
    )
    for input in inputs:
        completion.handle(input, now_ns=0)
    return completion


OPENED = (HoldPlaced(), UpstreamOpened())
CANCEL = CancelRequested(CancelSource.CLIENT_REQUEST)

REACHED: dict[str, Callable[[], Completion]] = {
    "pending": lambda: machine(),
    "connecting": lambda: machine(HoldPlaced()),
    "streaming": lambda: machine(*OPENED),
    "cancelling before the hold": lambda: machine(CANCEL),
    "cancelling while connecting": lambda: machine(HoldPlaced(), CANCEL),
    "cancelling in mid-stream": lambda: machine(*OPENED, DeltasReceived((TEXT,)), CANCEL),
    "completed": lambda: machine(*OPENED, UpstreamFinished(FinishReason.STOP)),
    "failed": lambda: machine(*OPENED, UpstreamFailed(FAILURE)),
    "cancelled": lambda: machine(*OPENED, CANCEL, UpstreamClosed()),
    "refused": lambda: machine(HoldRefused()),
    "settled": lambda: machine(
        *OPENED, CANCEL, UpstreamClosed(), SettlementStood(END, HoldState.VOIDED)
    ),
}


def _snapshot(completion: Completion) -> tuple[object, ...]:
    return (
        completion.stream,
        completion.hold,
        completion.source,
        tuple(completion.log.read_after(-1)),
        completion.next_deadline_ns(),
        completion.meter.usage(),
    )


@pytest.mark.parametrize("name", REACHED)
@pytest.mark.parametrize("input", INPUTS, ids=lambda i: type(i).__name__)
def test_every_pair_is_in_exactly_one_table_or_raises_and_changes_nothing(
    name: str, input: Input
) -> None:
    completion = REACHED[name]()
    before = _snapshot(completion)
    pair = (completion.stream, type(input))
    assert not (pair in TRANSITIONS and pair in IGNORED)
    if pair in IGNORED:
        assert completion.handle(input, now_ns=1) == ()
        assert _snapshot(completion) == before
        return
    try:
        completion.handle(input, now_ns=1)
    except IllegalTransition:
        assert _snapshot(completion) == before
    else:
        assert completion.stream == TRANSITIONS[pair]


def test_the_tables_cover_only_what_can_be_reached() -> None:
    moved = set()
    for make, input in itertools.product(REACHED.values(), INPUTS):
        completion = make()
        pair = (completion.stream, type(input))
        try:
            completion.handle(input, now_ns=1)
        except IllegalTransition:
            continue
        moved.add(pair)
    assert moved == set(TRANSITIONS) | set(IGNORED)


def test_a_terminal_state_is_never_left() -> None:
    terminal = {s for s in StreamState if s.is_terminal}
    assert all(TRANSITIONS[s, k] == s for s, k in TRANSITIONS if s in terminal)


def test_money_moves_only_by_its_own_table() -> None:
    assert set(HOLD_TRANSITIONS) == {
        (HoldState.NONE, HoldPlaced),
        (HoldState.NONE, HoldRefused),
        (HoldState.PENDING, SettlementStood),
    }


def test_a_completion_that_ends_by_itself() -> None:
    completion = machine()
    assert completion.handle(HoldPlaced(), now_ns=0) == (OpenUpstream(),)
    assert completion.handle(UpstreamOpened(), now_ns=0) == ()
    completion.handle(DeltasReceived((TEXT, TEXT, BlockFinished(0, True))), now_ns=0)
    completion.handle(DeltasReceived((UsageReported(Usage(12, 2)),)), now_ns=0)
    (effect,) = completion.handle(UpstreamFinished(FinishReason.STOP), now_ns=0)
    assert isinstance(effect, Settle)
    end = effect.finished
    assert end.usage == Usage(12, 2)
    assert end.charge.total_microcredits == 12 * 75 + 2 * 450
    assert end.charge.output_basis is ChargeBasis.PROVIDER_USAGE
    assert completion.log.finished is None, "the end is seen only when it is durable"
    assert not completion.is_settled
    completion.handle(SettlementStood(end, HoldState.POSTED), now_ns=0)
    assert completion.is_settled
    assert completion.log.finished == end


def test_a_cancel_in_mid_stream_charges_the_log_and_the_prompt() -> None:
    completion = machine(*OPENED, DeltasReceived((TEXT, TEXT, TEXT)))
    assert completion.handle(CANCEL, now_ns=0) == (CloseUpstream(),)
    completion.handle(DeltasReceived((TEXT,)), now_ns=0)
    (effect,) = completion.handle(UpstreamClosed(), now_ns=0)
    assert isinstance(effect, Settle)
    assert effect.finished.usage == Usage(12, 3)
    assert effect.finished.charge.total_microcredits == 12 * 75 + 3 * 450
    assert effect.finished.charge.output_basis is ChargeBasis.COUNTED
    assert effect.finished.source is CancelSource.CLIENT_REQUEST


def test_a_cancel_before_dispatch_charges_nothing() -> None:
    completion = machine()
    assert completion.handle(CANCEL, now_ns=0) == ()
    (effect,) = completion.handle(HoldPlaced(), now_ns=0)
    assert isinstance(effect, Settle)
    assert effect.finished.usage == Usage()
    assert effect.finished.charge.total_microcredits == 0


def test_a_failure_charges_nothing_and_closes_the_upstream() -> None:
    completion = machine(*OPENED, DeltasReceived((TEXT,)))
    close, settle = completion.handle(UpstreamFailed(FAILURE), now_ns=0)
    assert close == CloseUpstream()
    assert isinstance(settle, Settle)
    assert settle.finished.charge.total_microcredits == 0
    assert settle.finished.error == FAILURE


def test_the_first_cancel_source_stands() -> None:
    completion = machine(*OPENED, CancelRequested(CancelSource.CLIENT_DISCONNECT), CANCEL)
    assert completion.source is CancelSource.CLIENT_DISCONNECT


def test_a_tool_call_that_is_cut_is_marked_incomplete() -> None:
    call = (ToolCallStarted(0, "call_1", "f", 1), ToolCallDelta(0, '{"a', 1))
    completion = machine(*OPENED, DeltasReceived(call), CANCEL, UpstreamClosed())
    assert completion.log.read_after(-1)[-1] == BlockFinished(0, is_complete=False)


def test_the_meter_stops_the_stream_before_its_hold_is_passed() -> None:
    completion = machine(*OPENED, max_output_tokens=3)
    effects = completion.handle(DeltasReceived((TEXT,) * 9), now_ns=0)
    assert effects == (CloseUpstream(),)
    assert completion.source is CancelSource.BUDGET
    assert completion.meter.tokens_output == 3
    (effect,) = completion.handle(UpstreamClosed(), now_ns=0)
    assert isinstance(effect, Settle)
    hold = command(max_output_tokens=3).hold_microcredits
    assert effect.finished.charge.total_microcredits <= hold


def test_a_foreign_tokenizer_has_slack_and_its_excess_is_absorbed() -> None:
    """Our count of two pieces may be six tokens where the provider's is four."""
    completion = machine(*OPENED, max_output_tokens=4, exact=False)
    piece = TextDelta(0, " three of ours", 3)
    completion.handle(DeltasReceived((piece,) * 2), now_ns=0)
    (effect,) = completion.handle(UpstreamFinished(FinishReason.LENGTH), now_ns=0)
    assert isinstance(effect, Settle)
    charge = effect.finished.charge
    assert charge.output_basis is ChargeBasis.ESTIMATED
    assert charge.total_microcredits == command(max_output_tokens=4).hold_microcredits
    assert charge.absorbed_microcredits == 12 * 75 + 6 * 450 - charge.total_microcredits


def test_a_provider_that_passes_the_limit_is_stopped_at_it() -> None:
    """Sixty pieces have sixty tokens at least, whoever counts: not what a limit of forty pays for."""
    completion = machine(*OPENED, max_output_tokens=40, exact=False)
    assert completion.handle(DeltasReceived((TEXT,) * 60), now_ns=0) == (CloseUpstream(),)
    assert completion.source is CancelSource.BUDGET
    assert completion.meter.tokens_output == 40


def test_running_figures_end_the_slack() -> None:
    completion = machine(*OPENED, max_output_tokens=4, exact=False)
    piece = TextDelta(0, " three", 3)
    completion.handle(DeltasReceived((piece,), running=Usage(12, 3)), now_ns=0)
    completion.handle(DeltasReceived((piece,), running=Usage(12, 6)), now_ns=0)
    assert completion.source is CancelSource.BUDGET
    assert completion.meter.tokens_output == 3


def test_a_full_log_ends_the_completion() -> None:
    completion = Completion(command(max_output_tokens=9), timeouts=TIMEOUTS, log_bytes_max=200)
    for input in OPENED:
        completion.handle(input, now_ns=0)
    completion.handle(DeltasReceived((TextDelta(0, "x" * 200, 1), TEXT)), now_ns=0)
    assert completion.source is CancelSource.BUDGET


def test_reasoning_is_counted_apart_and_billed_as_output() -> None:
    completion = machine(
        *OPENED, DeltasReceived((ReasoningDelta(0, "hm", 2), TextDelta(1, "a", 1)))
    )
    (effect,) = completion.handle(UpstreamFinished(FinishReason.STOP), now_ns=0)
    assert isinstance(effect, Settle)
    assert effect.finished.usage == Usage(12, 1, 2)
    assert effect.finished.charge.reasoning_microcredits == 900


@pytest.mark.parametrize(
    ("inputs", "after_s", "outcome"),
    [
        ((HoldPlaced(),), 10, FailureCode.UPSTREAM_TIMEOUT),
        (OPENED, 20, FailureCode.UPSTREAM_TIMEOUT),
        ((*OPENED, DeltasReceived((TEXT,))), 30, FailureCode.UPSTREAM_TIMEOUT),
    ],
    ids=["connect", "first token", "idle"],
)
def test_each_wait_has_its_timeout(
    inputs: tuple[Input, ...], after_s: int, outcome: FailureCode
) -> None:
    completion = machine(*inputs)
    assert completion.next_deadline_ns() == after_s * SECOND_NS
    assert completion.handle_timer(now_ns=after_s * SECOND_NS - 1) == ()
    effects = completion.handle_timer(now_ns=after_s * SECOND_NS)
    assert isinstance(effects[-1], Settle)
    assert effects[-1].finished.error is not None
    assert effects[-1].finished.error.code is outcome


def test_the_first_token_is_waited_for_from_the_dispatch_on() -> None:
    completion = machine(HoldPlaced())
    completion.handle(UpstreamOpened(), now_ns=5 * SECOND_NS)
    assert completion.next_deadline_ns() == TIMEOUTS.first_token_ns


def test_figures_alone_are_no_progress() -> None:
    completion = machine(*OPENED, DeltasReceived((TEXT,)))
    first = completion.next_deadline_ns()
    usage = Usage(9, 2)
    for figures in (DeltasReceived((UsageReported(usage),)), DeltasReceived((), usage)):
        completion.handle(figures, now_ns=SECOND_NS)
        assert completion.next_deadline_ns() == first
    completion.handle(DeltasReceived((BlockFinished(0, True),)), now_ns=SECOND_NS)
    assert completion.next_deadline_ns() == SECOND_NS + TIMEOUTS.idle_ns


def test_the_prompts_figures_are_no_first_token() -> None:
    completion = machine(*OPENED, DeltasReceived((UsageReported(Usage(9)),)))
    assert not completion.has_token
    assert completion.next_deadline_ns() == TIMEOUTS.first_token_ns


def test_the_total_timeout_cancels_and_charges() -> None:
    completion = machine(*OPENED)
    for second in range(0, 100, 25):
        completion.handle(DeltasReceived((TEXT,)), now_ns=second * SECOND_NS)
    assert completion.handle_timer(now_ns=100 * SECOND_NS) == (CloseUpstream(),)
    assert completion.source is CancelSource.DEADLINE


def test_what_was_recorded_first_stands() -> None:
    lost = Finished(
        Status.FAILED,
        FinishReason.ERROR,
        None,
        Failure(FailureCode.COMPLETION_LOST, "lost"),
        Usage(),
        Charge(),
    )
    completion = machine(*OPENED, DeltasReceived((TEXT,)), UpstreamFinished(FinishReason.STOP))
    completion.handle(SettlementStood(lost, HoldState.VOIDED), now_ns=0)
    assert completion.log.finished == lost
    assert completion.hold is HoldState.VOIDED


def test_the_same_inputs_make_the_same_machine() -> None:
    story: tuple[Input, ...] = (*OPENED, DeltasReceived((TEXT, TEXT)), CANCEL, UpstreamClosed())
    assert _snapshot(machine(*story)) == _snapshot(machine(*story))
    assert machine(*OPENED).log.read_after(-1) == [Started(12)]
