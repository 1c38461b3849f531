"""Goal: a hold grows before it is reached, waits a while for a ledger that is away, and ends at a refusal.

Method: a machine with a step of eight tokens, whose extensions the test answers, or does not.
"""

from __future__ import annotations

from dataclasses import replace

from actors.core.completion.machine import Completion, Timeouts
from actors.core.completion.token_meter import hold_microcredits
from actors.core.completion.transitions import (
    CancelRequested,
    CloseUpstream,
    DeltasReceived,
    Effect,
    ExtendHold,
    ExtensionRefused,
    HoldExtended,
    HoldPlaced,
    Settle,
    UpstreamClosed,
    UpstreamFailed,
    UpstreamFinished,
    UpstreamOpened,
)
from actors.core.errors import Failure, FailureCode
from actors.core.events import (
    BlockFinished,
    CancelSource,
    Charge,
    ChargeBasis,
    Finished,
    FinishReason,
    ReasoningDelta,
    Status,
    TextDelta,
    Usage,
    UsageReported,
)
from actors.core.request import Prices, StartCommand
from tests.support.commands import PROMPT_TOKENS, command

SECOND_NS = 1_000_000_000
STEP = 8
PRICES = Prices(75, 450)
TEXT = TextDelta(0, " a", 1)
FAILURE = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "down")


def held_for(tokens: int) -> int:
    return hold_microcredits(PRICES, PROMPT_TOKENS, tokens)


def order(limit: int | None = None, **changes: object) -> StartCommand:
    made = replace(
        command(),
        max_output_tokens=limit,
        hold_microcredits=held_for(STEP if limit is None else min(limit, STEP)),
        hold_step_tokens=STEP,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Story:
    """A machine that streams, and what it asked for."""

    def __init__(self, limit: int | None = None, **changes: object) -> None:
        timeouts = Timeouts(*(seconds * SECOND_NS for seconds in (10, 20, 30, 100)))
        self.machine = Completion(order(limit, **changes), timeouts=timeouts, log_bytes_max=100_000)
        self.now_ns = 0
        self.effects: tuple[Effect, ...] = ()
        self.feed(HoldPlaced())
        self.feed(UpstreamOpened())

    def feed(self, input: object) -> Story:
        self.effects = self.machine.handle(input, now_ns=self.now_ns)  # type: ignore[arg-type]
        return self

    def text(self, pieces: int) -> Story:
        return self.feed(DeltasReceived((TEXT,) * pieces))

    def wait(self, seconds: float) -> Story:
        self.now_ns += int(seconds * SECOND_NS)
        self.effects = self.machine.handle_timer(now_ns=self.now_ns)
        return self

    @property
    def asked(self) -> int | None:
        found = [effect for effect in self.effects if isinstance(effect, ExtendHold)]
        return found[0].to_microcredits if found else None

    @property
    def end(self) -> Finished:
        (effect,) = (effect for effect in self.effects if isinstance(effect, Settle))
        return effect.finished

    @property
    def logged(self) -> int:
        return self.machine.meter.tokens_output


def cancelled(story: Story) -> Finished:
    return story.feed(UpstreamClosed()).end


def test_more_is_asked_for_while_half_a_step_is_left() -> None:
    story = Story().text(4)
    assert story.asked is None
    assert story.text(1).asked == held_for(2 * STEP)
    assert story.text(1).asked is None, "one extension at a time"
    assert story.feed(HoldExtended(held_for(2 * STEP))).asked is None, "and enough is held now"
    assert not story.machine.is_waiting_for_hold


def test_a_hold_never_grows_beyond_what_the_limit_costs() -> None:
    story = Story(limit=10).text(5)
    assert story.asked == held_for(10)
    story.feed(HoldExtended(held_for(10)))
    assert story.text(5).effects == (), "the whole limit is held, and used"
    end = story.feed(UpstreamFinished(FinishReason.LENGTH)).end
    assert end.charge.total_microcredits == PROMPT_TOKENS * 75 + 10 * 450
    assert end.charge.held_microcredits == held_for(10)


def test_a_limit_within_the_first_step_is_never_extended() -> None:
    story = Story(limit=STEP).text(STEP)
    assert story.effects == ()
    assert story.feed(UpstreamFinished(FinishReason.LENGTH)).end.charge.held_microcredits == 0


def test_what_is_not_held_for_yet_waits_and_is_logged_in_order() -> None:
    story = Story()
    batch = (*(TextDelta(0, str(n), 1) for n in range(20)), BlockFinished(0, True))
    story.feed(DeltasReceived(batch))
    assert story.machine.is_waiting_for_hold
    assert story.logged == STEP
    asked = story.asked
    assert asked is not None
    while asked is not None:
        story.feed(HoldExtended(asked))
        asked = story.asked
    assert not story.machine.is_waiting_for_hold
    texts = [e.text for e in story.machine.log.read_after(-1) if isinstance(e, TextDelta)]
    assert texts == [str(n) for n in range(20)]
    assert isinstance(story.machine.log.read_after(-1)[-1], BlockFinished)


def test_a_piece_that_is_larger_than_a_step_is_held_for() -> None:
    story = Story().feed(DeltasReceived((TextDelta(0, "long", 5 * STEP),)))
    assert story.asked == held_for(STEP) + 6 * STEP * 450
    story.feed(HoldExtended(story.asked or 0))
    assert story.logged == 5 * STEP


def test_after_a_refusal_what_is_held_is_used_up() -> None:
    story = Story().text(5).feed(ExtensionRefused())
    assert story.effects == ()
    assert story.text(3).effects == (), "eight were held for"
    assert story.text(1).effects == (CloseUpstream(),)
    assert story.machine.source is CancelSource.BUDGET
    end = cancelled(story)
    assert end.charge.total_microcredits == PROMPT_TOKENS * 75 + STEP * 450
    assert end.charge.held_microcredits == 0


def test_a_refusal_while_something_waits_ends_the_stream_at_once() -> None:
    story = Story().text(STEP + 2).feed(ExtensionRefused())
    assert story.effects == (CloseUpstream(),)
    assert (story.machine.source, story.logged) == (CancelSource.BUDGET, STEP)


def test_a_ledger_that_is_away_is_waited_for_as_long_as_it_may_be() -> None:
    story = Story().text(STEP + 2)
    assert story.machine.next_deadline_ns() == 5 * SECOND_NS
    assert story.wait(4.9).effects == ()
    story.feed(HoldExtended(held_for(2 * STEP)))
    assert story.logged == STEP + 2
    assert story.machine.next_deadline_ns() == story.now_ns + 30 * SECOND_NS, "silence counts anew"


def test_a_ledger_that_stays_away_ends_the_stream() -> None:
    story = Story().text(STEP + 2).wait(5)
    assert story.effects == (CloseUpstream(),)
    assert story.machine.source is CancelSource.BUDGET
    assert story.feed(HoldExtended(held_for(2 * STEP))).effects == (), "it comes too late"
    assert cancelled(story).charge.total_microcredits == PROMPT_TOKENS * 75 + STEP * 450


def test_a_cancel_in_mid_extension_drops_what_waits() -> None:
    story = Story().text(STEP + 2).feed(CancelRequested(CancelSource.CLIENT_REQUEST))
    assert not story.machine.is_waiting_for_hold
    assert story.feed(HoldExtended(held_for(2 * STEP))).effects == ()
    end = cancelled(story)
    assert end.source is CancelSource.CLIENT_REQUEST
    assert end.usage.completion_tokens == STEP


def test_a_failure_in_mid_extension_settles_once() -> None:
    story = Story().text(STEP + 2).feed(UpstreamFailed(FAILURE))
    assert story.end.status is Status.FAILED
    assert story.feed(ExtensionRefused()).effects == ()


def test_what_a_provider_thought_unseen_is_held_for_before_the_end() -> None:
    """Ten visible tokens, of a hundred that are reported when all is said."""
    story = Story().text(2)
    story.feed(DeltasReceived((UsageReported(Usage(PROMPT_TOKENS, 2, 98)),)))
    assert story.asked == PROMPT_TOKENS * 75 + 100 * 450
    assert story.machine.is_waiting_for_hold
    story.feed(HoldExtended(story.asked))
    assert not story.machine.is_waiting_for_hold
    charge = story.feed(UpstreamFinished(FinishReason.STOP)).end.charge
    assert (charge.total_microcredits, charge.absorbed_microcredits) == (900 + 100 * 450, 0)


def test_a_whole_answer_is_not_cut_for_what_cannot_be_held() -> None:
    for answer in (ExtensionRefused(), None):
        story = Story().text(2)
        story.feed(DeltasReceived((UsageReported(Usage(PROMPT_TOKENS, 2, 98)),)))
        if answer is None:
            story.wait(5)
        else:
            story.feed(answer)
        assert not story.machine.is_waiting_for_hold
        end = story.feed(UpstreamFinished(FinishReason.STOP)).end
        assert end.status is Status.COMPLETED
        assert end.charge.total_microcredits == held_for(STEP)
        assert end.charge.absorbed_microcredits == 900 + 100 * 450 - held_for(STEP)


def test_an_absurd_report_is_not_held_for() -> None:
    story = Story().text(2)
    story.feed(DeltasReceived((UsageReported(Usage(PROMPT_TOKENS, 2**31 - 1)),)))
    assert story.asked == held_for(131_072)


def test_free_output_needs_no_steps() -> None:
    story = Story(prices=Prices(75, 0), hold_microcredits=990).text(50)
    assert story.effects == ()
    assert story.feed(UpstreamFinished(FinishReason.STOP)).end.charge.total_microcredits == 900


# What a failure costs.


def failed(story: Story) -> Charge:
    return story.feed(UpstreamFailed(FAILURE)).end.charge


def test_a_failure_is_free_and_counted() -> None:
    assert failed(Story().text(2)) == Charge(absorbed_microcredits=PROMPT_TOKENS * 75 + 2 * 450)
    assert failed(Story()) == Charge(), "nothing was delivered"


def test_a_failure_pays_for_what_was_delivered_where_the_model_says_so() -> None:
    charge = failed(Story(charges_failed=True).text(2))
    assert charge.total_microcredits == PROMPT_TOKENS * 75 + 2 * 450
    assert charge.absorbed_microcredits == 0
    assert failed(Story(charges_failed=True)) == Charge()


# What is thought and not shown.


def hung_up(story: Story) -> Finished:
    return cancelled(story.feed(CancelRequested(CancelSource.CLIENT_DISCONNECT)))


def thinking(**changes: object) -> Story:
    return Story(hidden_reasoning_tokens_per_1000_s=2_500, hold_microcredits=10**9, **changes)


def test_a_cancel_pays_for_the_thoughts_before_the_first_token() -> None:
    story = thinking().wait(4).text(3)
    story.wait(9)
    end = hung_up(story)
    assert end.usage == Usage(PROMPT_TOKENS, 3, 10), "four seconds of two and a half tokens"
    assert end.charge.reasoning_microcredits == 10 * 450
    assert end.charge.reasoning_basis is ChargeBasis.ESTIMATED
    assert end.charge.output_basis is ChargeBasis.COUNTED


def test_a_cancel_before_the_first_token_pays_until_the_cancel() -> None:
    assert hung_up(thinking().wait(4)).usage == Usage(PROMPT_TOKENS, 0, 10)


def test_thoughts_that_the_provider_counted_are_not_estimated() -> None:
    """Whoever hangs up after the last token, but before the end, pays what was reported."""
    story = thinking().wait(4)
    story.feed(DeltasReceived((TEXT, UsageReported(Usage(PROMPT_TOKENS, 1, 70)))))
    end = hung_up(story)
    assert end.usage == Usage(PROMPT_TOKENS, 1, 70)
    assert end.charge.output_basis is ChargeBasis.PROVIDER_USAGE
    assert end.charge.reasoning_basis is ChargeBasis.NONE


def test_a_figure_from_before_the_text_is_no_figure_of_it() -> None:
    story = Story().feed(DeltasReceived((UsageReported(Usage(PROMPT_TOKENS, 1)), TEXT, TEXT, TEXT)))
    assert hung_up(story).usage == Usage(PROMPT_TOKENS, 3)


def test_thoughts_that_were_shown_end_the_estimate() -> None:
    story = thinking().wait(2).feed(DeltasReceived((ReasoningDelta(0, "hm", 2),)))
    assert hung_up(story.wait(6)).usage == Usage(PROMPT_TOKENS, 0, 2 + 5)


def test_estimated_thoughts_never_pass_the_hold() -> None:
    story = Story(hidden_reasoning_tokens_per_1000_s=10**9).wait(9)
    charge = hung_up(story).charge
    assert charge.total_microcredits == held_for(STEP)
    assert charge.absorbed_microcredits > 0


def test_a_completed_answer_has_no_estimate() -> None:
    end = thinking().wait(4).text(1).feed(UpstreamFinished(FinishReason.STOP)).end
    assert end.usage == Usage(PROMPT_TOKENS, 1)
