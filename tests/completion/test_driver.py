"""Goal: whatever happens around a machine, its effects are carried out and it settles once.

Method: a real driver with a clock turned by hand, a provider that plays a script and a ledger that
answers when told to. No time passes but what a test lets pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from actors.completion.driver import CompletionDriver
from actors.core.completion.readers import Departure
from actors.core.completion.token_meter import hold_microcredits
from actors.core.completion.transitions import HoldState, StreamState
from actors.core.errors import (
    ActorAway,
    CompletionNotFound,
    CompletionRuntimeError,
    Failure,
    FailureCode,
    IllegalTransition,
    InsufficientCredit,
    LedgerBusy,
    OtherDeploy,
    Overloaded,
    UpstreamError,
)
from actors.core.events import (
    CancelSource,
    Charge,
    ChargeBasis,
    Finished,
    FinishReason,
    Started,
    Status,
    TextDelta,
    Usage,
    UsageReported,
)
from actors.core.record import CompletionHeader, CompletionRecord
from actors.core.request import DisconnectPolicy, StartCommand
from actors.core.upstream import UpstreamBatch
from actors.ports.ledger import HoldExtension, HoldPlacement, Placed, Settlement
from actors.ports.threads import InlineExecutor
from actors.settings import Settings
from actors.testing import (
    ManualClock,
    ScriptedLedger,
    ScriptedProvider,
    ScriptedUpstream,
    settle_loop,
)
from tests.support.commands import command

A = TextDelta(0, " a", 1)
END = UpstreamBatch((UsageReported(Usage(12, 2)),), None, FinishReason.STOP, None, True)


SETTINGS = Settings(
    connect_timeout_s=10.0, first_token_timeout_s=60.0, idle_timeout_s=60.0, reader_grace_s=5.0
)


class Stage:
    """A driver with everything around it in the test's hands."""

    def __init__(
        self,
        order: StartCommand | None = None,
        ledger: ScriptedLedger | None = None,
        thread: InlineExecutor | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.provider = ScriptedProvider()
        self.ledger = ledger or ScriptedLedger()
        self.settled: list[CompletionDriver] = []
        order = order or command()
        self.driver = CompletionDriver(
            order,
            CompletionHeader.of(order),
            provider=self.provider,
            ledger=self.ledger,
            clock=self.clock,
            settings=SETTINGS,
            on_change=lambda driver: None,
            on_settled=self.settled.append,
            thread=thread,
        )
        self.driver.readers.attach("replica")

    @property
    def upstream(self) -> ScriptedUpstream:
        return self.provider.upstreams[-1]

    @property
    def end(self) -> Finished:
        end = self.driver.completion.log.finished
        assert end is not None
        return end

    async def start(self) -> None:
        self.driver.start()
        await settle_loop()

    async def stream(self, *deltas: TextDelta) -> None:
        await self.start()
        self.upstream.open()
        if deltas:
            self.upstream.send(UpstreamBatch(deltas))
        await settle_loop()


def staged(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run an async test, and fail it if it left a task behind."""

    def run() -> None:
        async def whole() -> None:
            await asyncio.wait_for(test(), 20)
            await settle_loop()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

        asyncio.run(whole())

    run.__name__ = getattr(test, "__name__", "run")
    run.__doc__ = test.__doc__
    return run


@staged
async def test_a_completion_runs_to_its_end() -> None:
    stage = Stage()
    await stage.stream(A, A)
    stage.upstream.send(END)
    record = await stage.driver.settled()
    assert record.finished == stage.end
    assert stage.end.status is Status.COMPLETED
    assert stage.end.charge.total_microcredits == 12 * 75 + 2 * 450
    assert stage.upstream.is_closed
    assert stage.settled == [stage.driver]
    assert record.events[0] == Started(12)
    assert record.timeline.first_token_at_s is not None


@staged
async def test_what_the_ledger_does_not_charge_is_not_said_to_be_charged() -> None:
    stage = Stage()
    stage.ledger.answer = Placed(is_charged=False)
    await stage.stream(A, A)
    stage.upstream.send(END)
    record = await stage.driver.settled()
    assert record.finished == stage.end
    assert stage.end.usage == Usage(12, 2)
    assert stage.end.charge.total_microcredits == 0
    assert stage.end.charge.output_basis is ChargeBasis.PROVIDER_USAGE
    assert stage.driver.completion.hold is HoldState.POSTED


@staged
async def test_a_cancel_closes_the_upstream_and_settles() -> None:
    stage = Stage()
    await stage.stream(A, A, A)
    stage.driver.cancel(CancelSource.CLIENT_REQUEST)
    record = await stage.driver.settled()
    assert stage.upstream.is_closed
    assert stage.end.source is CancelSource.CLIENT_REQUEST
    assert stage.end.charge.total_microcredits == 12 * 75 + 3 * 450
    assert record.receipt is not None
    assert record.receipt.upstream_closed_at_s is not None
    assert record.receipt.tokens_after_request == 0


@staged
async def test_the_receipt_tells_its_times_by_the_owners_clock_alone() -> None:
    """A request's own time is another node's: a receipt that compared the two told of seconds never."""
    stage = Stage()
    await stage.stream(A)
    await stage.clock.advance(1)
    stage.driver.cancel(CancelSource.CLIENT_REQUEST)
    stage.driver.cancel(CancelSource.ADMIN)
    record = await stage.driver.settled()
    assert record.receipt is not None
    assert record.receipt.source is CancelSource.CLIENT_REQUEST
    assert record.receipt.requested_at_s == stage.clock.wall_s()
    assert record.receipt.upstream_closed_at_s == stage.clock.wall_s()


@staged
async def test_a_cancel_while_the_hold_is_placed_waits_for_it_and_voids_it() -> None:
    stage = Stage()
    stage.ledger.hold_back()
    await stage.start()
    stage.driver.cancel(CancelSource.CLIENT_REQUEST)
    await settle_loop()
    assert stage.driver.completion.stream is StreamState.CANCELLING
    stage.ledger.let_go()
    record = await stage.driver.settled()
    assert stage.provider.upstreams == [], "nothing was dispatched"
    assert stage.end.charge.total_microcredits == 0
    assert record.receipt is not None
    assert record.receipt.upstream_closed_at_s is None


@staged
async def test_a_remembered_cancellation_makes_a_completion_that_is_born_cancelled() -> None:
    stage = Stage()
    stage.ledger.answer = Placed(is_cancelled=True)
    await stage.start()
    record = await stage.driver.settled()
    assert stage.provider.upstreams == []
    assert record.status is Status.CANCELLED
    assert stage.driver.completion.hold is HoldState.VOIDED


@staged
async def test_a_cancel_while_connecting_charges_the_prompt_alone() -> None:
    stage = Stage()
    await stage.start()
    stage.driver.cancel(CancelSource.CLIENT_REQUEST)
    await stage.driver.settled()
    assert stage.upstream.is_closed
    assert stage.end.charge.total_microcredits == 12 * 75


@staged
async def test_a_refused_hold_is_told_and_leaves_nothing() -> None:
    error = InsufficientCredit(needed_microcredits=2, available_microcredits=1)
    stage = Stage(ledger=ScriptedLedger(place_errors=[error]))
    await stage.start()
    with pytest.raises(InsufficientCredit):
        await stage.driver.placed()
    assert stage.settled == [stage.driver]
    assert stage.ledger.settlements == []


@staged
async def test_a_cancel_of_what_is_then_refused_finds_nothing() -> None:
    """It is a cancel, and not a start: what the ledger has against the start is nothing to it."""
    error = InsufficientCredit(needed_microcredits=2, available_microcredits=1)
    stage = Stage(ledger=ScriptedLedger(place_errors=[error]))
    stage.ledger.hold_back()
    await stage.start()
    stage.driver.cancel(CancelSource.CLIENT_REQUEST)
    cancelling = asyncio.ensure_future(stage.driver.settled())
    await settle_loop()
    stage.ledger.let_go()
    with pytest.raises(CompletionNotFound):
        await cancelling
    with pytest.raises(InsufficientCredit):
        await stage.driver.placed()
    assert stage.settled == [stage.driver]


class _CountingThread(InlineExecutor):
    calls = 0

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return super().submit(work, *args, **kwargs)


@staged
async def test_a_long_record_is_encoded_once_and_off_the_loop_however_often_it_is_sent() -> None:
    thread = _CountingThread()
    away = Overloaded("away")
    order = replace(command(), max_output_tokens=2_000, hold_microcredits=10_000_000)
    stage = Stage(order, ScriptedLedger(settle_errors=[away, away]), thread)
    await stage.stream(*[A] * 1_500)
    stage.upstream.send(END)
    await stage.driver.settled()
    assert thread.calls == 1
    assert len(stage.ledger.settlements) == 1


# Bugs of ours: logged, bounded, and nobody hangs on them.


class _BuggyLedger(ScriptedLedger):
    """Raises what nobody foresaw, so many times, from the call of that name."""

    def __init__(self, call: str, times: int = 1_000) -> None:
        super().__init__()
        self.call, self.times = call, times

    def _meet(self, call: str) -> None:
        if call == self.call and self.times:
            self.times -= 1
            raise RuntimeError("a bug")

    async def place(self, placement: HoldPlacement) -> Placed:
        self._meet("place")
        return await super().place(placement)

    async def extend(self, extension: HoldExtension) -> int:
        self._meet("extend")
        return await super().extend(extension)

    async def settle(self, settlement: Settlement) -> Any:
        self._meet("settle")
        return await super().settle(settlement)


@staged
async def test_a_bug_in_placing_is_told_and_frees_the_slot() -> None:
    stage = Stage(ledger=_BuggyLedger("place"))
    await stage.start()
    with pytest.raises(IllegalTransition):
        await stage.driver.placed()
    with pytest.raises(CompletionNotFound):
        await stage.driver.settled()
    assert stage.settled == [stage.driver]
    assert stage.provider.upstreams == []


@staged
async def test_a_bug_in_settling_ends_the_completion_as_failed() -> None:
    stage = Stage(ledger=_BuggyLedger("settle"))
    await stage.stream(A)
    stage.upstream.send(END)
    record = await stage.driver.settled()
    assert stage.end.error is not None
    assert stage.end.error.code is FailureCode.INTERNAL
    assert stage.end.charge.total_microcredits == 0
    assert stage.end.charge.absorbed_microcredits == 12 * 75 + 2 * 450
    assert stage.driver.completion.hold is HoldState.EXPIRED
    assert record.finished == stage.end
    assert stage.settled == [stage.driver]


@staged
async def test_a_bug_in_settling_that_a_second_try_does_not_meet_changes_nothing() -> None:
    stage = Stage(ledger=_BuggyLedger("settle", times=1))
    await stage.stream(A)
    stage.upstream.send(END)
    await stage.driver.settled()
    assert stage.end.status is Status.COMPLETED
    assert len(stage.ledger.settlements) == 1


@staged
async def test_a_bug_in_extending_is_a_refusal() -> None:
    stage = stepped(_BuggyLedger("extend"))
    await stage.stream(*[A] * 10)
    await stage.driver.settled()
    assert stage.end.source is CancelSource.BUDGET


@staged
async def test_a_bug_in_closing_keeps_nobody_waiting() -> None:
    stage = Stage()
    await stage.stream(A)

    async def aclose() -> None:
        raise RuntimeError("a bug")

    stage.upstream.aclose = aclose  # type: ignore[method-assign]
    stage.driver.cancel(CancelSource.CLIENT_REQUEST)
    await stage.driver.settled()
    assert stage.end.status is Status.CANCELLED


@pytest.mark.parametrize("when", ["placing", "reading", "settling"])
def test_a_bug_at_the_machines_door_gives_the_completion_up(when: str) -> None:
    """Nothing that the machine is told is taken any more, so nobody may wait for its end."""

    async def run() -> None:
        stage = Stage()
        if when != "placing":
            await stage.stream(A)

        def broken(*_: Any, **__: Any) -> Any:
            raise IllegalTransition("a bug")

        stage.driver.completion.handle = broken  # type: ignore[method-assign]
        if when == "placing":
            await stage.start()
            with pytest.raises(IllegalTransition):
                await stage.driver.placed()
        elif when == "settling":
            stage.driver._spawn(stage.driver._settle(_END))
        else:
            stage.upstream.send(UpstreamBatch((A,)))
        with pytest.raises(IllegalTransition):
            await stage.driver.settled()
        await settle_loop()
        assert stage.settled == [stage.driver]
        assert when == "placing" or stage.upstream.is_closed

    asyncio.run(run())


_END = Finished(Status.COMPLETED, FinishReason.STOP, None, None, Usage(), Charge())


def test_a_ledger_that_is_away_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    @staged
    async def run() -> None:
        away = Overloaded("away")
        stage = Stage(ledger=ScriptedLedger(settle_errors=[away] * 3))
        await stage.stream(A)
        stage.upstream.send(END)
        await stage.driver.settled()

    run()
    assert caplog.text.count("waits for the ledger") == 1


@staged
async def test_a_close_that_does_not_end_is_given_up() -> None:
    stage = Stage()
    await stage.stream(A)

    async def aclose() -> None:
        await asyncio.Event().wait()

    stage.upstream.aclose = aclose  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actors.completion.upstream_pump._CLOSE_TIMEOUT_S", 0.0)
        stage.driver.cancel(CancelSource.CLIENT_REQUEST)
        await stage.driver.settled()
    assert stage.end.status is Status.CANCELLED


@staged
async def test_a_close_that_is_under_way_is_not_cut() -> None:
    """A provider may be told to stop there: the failure that ended the stream closes it as well."""
    stage = Stage()
    await stage.stream(A)
    told = asyncio.Event()

    async def aclose() -> None:
        await settle_loop()
        told.set()

    stage.upstream.aclose = aclose  # type: ignore[method-assign]
    failure = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "garbage")
    stage.upstream.send(UpstreamBatch(failure=failure))
    await stage.driver.settled()
    assert told.is_set()


@staged
async def test_a_provider_that_refuses_fails_the_completion() -> None:
    stage = Stage()
    await stage.start()
    failure = Failure(FailureCode.UPSTREAM_RATE_LIMITED, "later", 429, 3.0)
    stage.upstream.refuse(UpstreamError(failure))
    await stage.driver.settled()
    assert stage.end.error == failure
    assert stage.end.charge.total_microcredits == 0


@staged
async def test_a_failure_in_mid_stream_closes_the_upstream_and_voids_the_hold() -> None:
    stage = Stage()
    await stage.stream(A)
    failure = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "garbage")
    stage.upstream.send(UpstreamBatch(failure=failure))
    await stage.driver.settled()
    assert stage.upstream.is_closed
    assert stage.end.error == failure
    assert stage.driver.completion.hold is HoldState.VOIDED


@staged
async def test_an_end_without_a_finish_reason_is_a_failure() -> None:
    stage = Stage()
    await stage.stream(A)
    stage.upstream.send(UpstreamBatch(is_end=True))
    await stage.driver.settled()
    assert stage.end.status is Status.FAILED


class _BrokenProvider(ScriptedProvider):
    def open(self, command: StartCommand) -> ScriptedUpstream:
        upstream = super().open(command)

        async def connect() -> None:
            raise RuntimeError("a bug")

        upstream.connect = connect  # type: ignore[method-assign]
        return upstream


@staged
async def test_a_bug_of_ours_fails_the_completion_instead_of_leaving_it() -> None:
    stage = Stage()
    stage.driver._pump._provider = _BrokenProvider()
    await stage.start()
    await stage.driver.settled()
    assert stage.end.error is not None
    assert stage.end.error.code is FailureCode.INTERNAL


@pytest.mark.parametrize(
    ("advance_s", "opened", "deltas"),
    [(10, False, ()), (60, True, ()), (60, True, (A,))],
    ids=["connect", "first token", "idle"],
)
def test_timeouts_fail_and_close(
    advance_s: float, opened: bool, deltas: tuple[TextDelta, ...]
) -> None:
    async def run() -> None:
        stage = Stage()
        if opened:
            await stage.stream(*deltas)
        else:
            await stage.start()
        await stage.clock.advance(advance_s - 0.1)
        assert not stage.driver.completion.stream.is_terminal
        await stage.clock.advance(0.2)
        await stage.driver.settled()
        assert stage.end.error is not None
        assert stage.end.error.code is FailureCode.UPSTREAM_TIMEOUT
        assert stage.upstream.is_closed

    asyncio.run(run())


@staged
async def test_the_total_timeout_cancels_with_source_deadline() -> None:
    stage = Stage()
    await stage.stream(A)
    for _ in range(10):
        await stage.clock.advance(10)
        stage.upstream.send(UpstreamBatch((A,)))
        await settle_loop()
    record = await stage.driver.settled()
    assert stage.end.source is CancelSource.DEADLINE
    assert stage.end.charge.total_microcredits > 12 * 75
    assert record.receipt is not None


@staged
async def test_a_ledger_that_is_away_is_asked_again_until_it_settles() -> None:
    away = Overloaded("away")
    stage = Stage(ledger=ScriptedLedger(settle_errors=[away, away]))
    await stage.stream(A)
    stage.upstream.send(END)
    await stage.driver.settled()
    assert len(stage.ledger.settlements) == 1


@pytest.mark.parametrize(
    ("error", "is_undone"),
    [
        (ActorAway("It did not answer in time."), True),
        (Overloaded("The ledger could not commit."), True),
        (LedgerBusy("Too many changes wait for the ledger."), False),
        (OtherDeploy("It is of another release."), False),
        (InsufficientCredit(needed_microcredits=2, available_microcredits=1), False),
    ],
)
def test_a_hold_of_which_nobody_says_whether_it_was_placed_is_undone(
    error: CompletionRuntimeError, is_undone: bool
) -> None:
    @staged
    async def run() -> None:
        away = ActorAway("Still.")
        ledger = ScriptedLedger(place_errors=[error], settle_errors=[away] if is_undone else [])
        stage = Stage(ledger=ledger)
        stage.driver.start()
        with pytest.raises(type(error)):
            await stage.driver.placed()
        assert bool(stage.settled) is not is_undone, "its start is told at once, its slot waits"
        with pytest.raises(CompletionNotFound):
            await stage.driver.settled()
        assert stage.settled == [stage.driver]
        assert len(ledger.settlements) == is_undone
        if is_undone:
            record = CompletionRecord.from_bytes(ledger.settlements[0].body)
            assert ledger.settlements[0].is_void
            assert not any(isinstance(event, Started) for event in record.events)

    run()


@staged
async def test_a_ledger_that_stays_away_until_the_hold_expires_ends_the_completion() -> None:
    errors: list[CompletionRuntimeError] = [Overloaded("away")]
    stage = Stage(ledger=ScriptedLedger(settle_errors=errors))
    await stage.stream(A)
    stage.ledger.hold_back()
    stage.upstream.send(END)
    await settle_loop()
    await stage.clock.advance(100 + 120 + 1)
    stage.ledger.let_go()
    await stage.driver.settled()
    assert stage.end.error is not None
    assert stage.end.error.code is FailureCode.COMPLETION_LOST
    assert stage.end.charge.total_microcredits == 0


@staged
async def test_the_last_reader_to_leave_cancels() -> None:
    stage = Stage()
    stage.driver.readers.attach("other")
    await stage.stream(A)
    stage.driver.reader_left("replica", Departure.CLIENT_GONE)
    assert stage.driver.completion.stream is StreamState.STREAMING
    stage.driver.reader_left("other", Departure.CLIENT_GONE)
    await stage.driver.settled()
    assert stage.end.source is CancelSource.CLIENT_DISCONNECT


@staged
async def test_a_lost_reader_has_time_to_come_back() -> None:
    stage = Stage()
    await stage.stream(A)
    stage.driver.reader_left("replica", Departure.LOST)
    await stage.clock.advance(4.9)
    stage.driver.readers.attach("replica 2")
    await stage.clock.advance(20)
    assert stage.driver.completion.stream is StreamState.STREAMING
    stage.driver.reader_left("replica 2", Departure.LOST)
    await stage.clock.advance(5.1)
    await stage.driver.settled()
    assert stage.end.source is CancelSource.CLIENT_DISCONNECT


@pytest.mark.parametrize(
    "order",
    [command(on_disconnect=DisconnectPolicy.CONTINUE), command(background=True)],
    ids=["continue", "background"],
)
def test_some_completions_go_on_without_readers(order: StartCommand) -> None:
    async def run() -> None:
        stage = Stage(order)
        await stage.stream(A)
        stage.driver.reader_left("replica", Departure.CLIENT_GONE)
        await stage.clock.advance(30)
        stage.upstream.send(END)
        await stage.driver.settled()
        assert stage.end.status is Status.COMPLETED

    asyncio.run(run())


# One test per await at which a caller may be cancelled: it stops waiting, and nothing else stops.


async def _cancelled_while(waiting: Any) -> None:
    task = asyncio.ensure_future(waiting)
    await settle_loop()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@staged
async def test_a_caller_cancelled_in_placed_leaves_the_completion_running() -> None:
    stage = Stage()
    stage.ledger.hold_back()
    await stage.start()
    await _cancelled_while(stage.driver.placed())
    stage.ledger.let_go()
    await settle_loop()
    assert stage.driver.completion.stream is StreamState.CONNECTING
    stage.driver.cancel(CancelSource.ADMIN)
    await stage.driver.settled()


@staged
async def test_a_caller_cancelled_in_settled_leaves_the_settlement_running() -> None:
    stage = Stage()
    await stage.stream(A)
    stage.ledger.hold_back()
    stage.driver.cancel(CancelSource.CLIENT_REQUEST)
    await _cancelled_while(stage.driver.settled())
    stage.ledger.let_go()
    record = await stage.driver.settled()
    assert record.status is Status.CANCELLED
    assert len(stage.ledger.settlements) == 1


# The hold's extension.

STEP = 8


def stepped(ledger: ScriptedLedger | None = None) -> Stage:
    """A completion without a limit whose hold pays for eight tokens at a time."""
    order = replace(
        command(),
        max_output_tokens=None,
        hold_microcredits=hold_microcredits(command().prices, 12, STEP),
        hold_step_tokens=STEP,
    )
    return Stage(order, ledger)


def extended_to(tokens: int) -> HoldExtension:
    return HoldExtension("cmp_01", hold_microcredits(command().prices, 12, tokens))


@staged
async def test_a_hold_is_extended_while_the_stream_goes_on() -> None:
    stage = stepped()
    await stage.stream(*[A] * 5)
    assert stage.ledger.extensions == [extended_to(2 * STEP)]
    stage.upstream.send(UpstreamBatch((A,) * 30))
    stage.upstream.send(
        UpstreamBatch((UsageReported(Usage(12, 35)),), None, FinishReason.STOP, None, True)
    )
    record = await stage.driver.settled()
    assert stage.end.status is Status.COMPLETED
    assert stage.end.charge.total_microcredits == 12 * 75 + 35 * 450
    held = stage.ledger.extensions[-1].total_microcredits
    assert stage.end.charge.held_microcredits == held >= stage.end.charge.total_microcredits
    assert record.header.hold_microcredits == extended_to(STEP).total_microcredits


@staged
async def test_nothing_is_read_while_the_ledger_is_asked_for_more() -> None:
    stage = stepped()
    await stage.stream()
    stage.ledger.hold_back()
    stage.upstream.send(UpstreamBatch((A,) * 10))
    stage.upstream.send(UpstreamBatch((A,), None, FinishReason.STOP, None, True))
    await settle_loop()
    assert stage.driver.completion.meter.tokens_output == STEP
    assert stage.driver.completion.stream is StreamState.STREAMING
    stage.ledger.let_go()
    await stage.driver.settled()
    assert stage.end.usage.completion_tokens == 11
    assert stage.end.status is Status.COMPLETED


@staged
async def test_a_refused_extension_ends_the_stream_when_what_is_held_is_used() -> None:
    refused = InsufficientCredit(needed_microcredits=2, available_microcredits=1)
    stage = stepped(ScriptedLedger(extend_errors=[refused]))
    await stage.stream(*[A] * 5)
    assert stage.driver.completion.stream is StreamState.STREAMING
    stage.upstream.send(UpstreamBatch((A,) * 10))
    await stage.driver.settled()
    assert stage.upstream.is_closed
    assert stage.end.source is CancelSource.BUDGET
    assert stage.end.charge.total_microcredits == 12 * 75 + STEP * 450
    assert stage.ledger.extensions == []


@staged
async def test_a_ledger_that_is_away_in_mid_extension_is_asked_again() -> None:
    stage = stepped(ScriptedLedger(extend_errors=[Overloaded("away"), Overloaded("away")]))
    await stage.stream(*[A] * 10)
    stage.upstream.send(
        UpstreamBatch((UsageReported(Usage(12, 10)),), None, FinishReason.STOP, None, True)
    )
    await stage.driver.settled()
    assert stage.end.status is Status.COMPLETED
    assert stage.end.usage.completion_tokens == 10
    assert len(stage.ledger.extensions) == 1


@staged
async def test_a_ledger_that_stays_away_in_mid_extension_ends_the_stream() -> None:
    stage = stepped()
    await stage.stream()
    stage.ledger.hold_back()
    stage.upstream.send(UpstreamBatch((A,) * 10))
    await settle_loop()
    await stage.clock.advance(4.9)
    assert stage.driver.completion.stream is StreamState.STREAMING
    await stage.clock.advance(0.2)
    stage.ledger.let_go()
    await stage.driver.settled()
    assert stage.end.source is CancelSource.BUDGET
    assert stage.end.usage.completion_tokens == STEP
    assert stage.end.charge.held_microcredits == 0


@staged
async def test_an_answer_that_is_whole_waits_for_its_hold_beyond_the_grace_of_its_end() -> None:
    stage = stepped()
    await stage.stream(A)
    stage.ledger.hold_back()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actors.completion.upstream_pump._END_GRACE_S", 0.0)
        stage.upstream.send(UpstreamBatch((), None, FinishReason.STOP))
        stage.upstream.send(UpstreamBatch((UsageReported(Usage(12, 100)),)))
        await settle_loop()
    assert stage.driver.completion.is_waiting_for_hold
    stage.ledger.let_go()
    await stage.driver.settled()
    assert stage.end.status is Status.COMPLETED
    assert stage.end.usage.completion_tokens == 100


@staged
async def test_a_cancel_races_an_extension() -> None:
    stage = stepped()
    await stage.stream()
    stage.ledger.hold_back()
    stage.upstream.send(UpstreamBatch((A,) * 10))
    await settle_loop()
    stage.driver.cancel(CancelSource.CLIENT_REQUEST)
    await settle_loop()
    stage.ledger.let_go()
    await stage.driver.settled()
    assert stage.end.source is CancelSource.CLIENT_REQUEST
    assert stage.end.usage.completion_tokens == STEP
    assert len(stage.ledger.settlements) == 1


@staged
async def test_a_models_own_timeouts_come_before_the_settings() -> None:
    stage = Stage(replace(command(), idle_timeout_s=3.0))
    await stage.stream(A)
    await stage.clock.advance(2.9)
    assert stage.driver.completion.stream is StreamState.STREAMING
    await stage.clock.advance(0.2)
    await stage.driver.settled()
    assert stage.end.error is not None
    assert stage.end.error.code is FailureCode.UPSTREAM_TIMEOUT
