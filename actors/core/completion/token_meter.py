"""What a completion has produced, what that costs, and when it must stop.

Integers only: prices are picocredits, millionths of a micro-credit, and a charge is rounded up once.
The rule of the charge is one for all dialects:

- COMPLETED: the provider's usage where it reported one, else the tokens of the deltas; each of prompt
  and output by itself, so that one bad report frees nothing. A 0 beside content is no report.
- CANCELLED: the prompt if it was dispatched (the provider's figure where it came, else our
  estimate), and the tokens that are in the log with what the provider is taken to have thought unseen,
  or its usage where that had come after the last of them.
- FAILED: nothing, or as a cancellation where the model charges for what was delivered. What is not
  charged of it is absorbed.

The charge is never above the hold; the excess is recorded as absorbed. The hold grows by steps, at most
to what the whole limit costs, so the meter knows two ends: the request's limit, and what is held.
"""

from __future__ import annotations

from msgspec.structs import replace

from actors.core.events import Charge, ChargeBasis, Delta, Opaque, ReasoningDelta, Status, Usage
from actors.core.money.prices import PICOCREDITS, Prices

__all__ = ["TokenMeter", "hold_microcredits"]

_ESTIMATE_SLACK = (3, 2)
"""A foreign tokenizer may count a third fewer tokens than ours does for the same text. The provider
was told the limit and keeps it in its own tokens; ours must not cut such an answer short, so where we
only estimate, the stop is at one and a half times the limit. A piece of text has at least one token of
whoever wrote it, though: an answer of more pieces than its limit has passed it in any tokenizer. What
passes the hold is absorbed."""

_OUTPUT_TOKENS_MAX = 131_072
"""What a report can be held for where the request has no limit: above what any model answers with, and
far below what a mistaken figure could cost."""


def hold_microcredits(prices: Prices, prompt_tokens_estimated: int, output_tokens: int) -> int:
    """Return what to hold: a tenth more than the prompt's estimate costs, and so much output."""
    prompt = 11 * prompt_tokens_estimated * prices.input_picocredits
    output = 10 * output_tokens * prices.output_picocredits
    return -(-(prompt + output) // (10 * PICOCREDITS))


class TokenMeter:
    """Counts the deltas of one completion against its limit and its hold.

    Args:
        hold_microcredits: what is held at the beginning; the charge never passes what is held.
        is_exact: whether our tokenizer counts as the provider's does; else figures of ours are
            labelled `estimated`.
        output_tokens_max: the request's own limit, None where it has none.
        hold_step_tokens: what the hold is extended by; None where it is never extended.
        charges_failed: whether a failure after output is charged.
    """

    def __init__(
        self,
        *,
        prices: Prices,
        prompt_tokens_estimated: int,
        hold_microcredits: int,
        is_exact: bool,
        output_tokens_max: int | None = None,
        hold_step_tokens: int | None = None,
        charges_failed: bool = False,
    ) -> None:
        self._prices = prices
        self._prompt_tokens_estimated = prompt_tokens_estimated
        self._placed_microcredits = self._hold_microcredits = hold_microcredits
        self._is_exact = is_exact
        self._limit = output_tokens_max
        self._step = hold_step_tokens
        self._charges_failed = charges_failed
        self._full_microcredits = self._hold_of(output_tokens_max)
        # Properties of the prices multiply decimals: too slow for every delta.
        self._input_picocredits = prices.input_picocredits
        self._output_picocredits = prices.output_picocredits
        self._completion_tokens = 0
        self._reasoning_tokens = 0
        self._pieces = 0
        self._running: Usage | None = None
        self._said = Usage()  # Reports so far; of running figures, the prompt's.
        self._is_said_last = False  # Whether nothing was logged since a report of the output.

    def __repr__(self) -> str:
        return f"<TokenMeter {self.tokens_output} tokens of {self.tokens_output_max}>"

    # What has been produced.

    @property
    def tokens_output(self) -> int:
        """Tokens in the log: text, refusals, tool calls and reasoning."""
        return self._completion_tokens + self._reasoning_tokens

    def count(self, delta: Delta | Opaque) -> None:
        """Add a delta that was logged."""
        if isinstance(delta, ReasoningDelta):
            self._reasoning_tokens += delta.tokens
        else:
            self._completion_tokens += delta.tokens
        if delta.tokens:
            self._pieces += 1
            self._is_said_last = False

    def run(self, usage: Usage) -> None:
        """Take the provider's running figures, which the deltas' tokens are increments of."""
        self._running = usage
        self._said = self._said.followed_by(replace(usage, completion_tokens=0, reasoning_tokens=0))

    def report(self, usage: Usage) -> None:
        """Take the usage that the provider reported: per component the latest figure stands."""
        self._said = self._said.followed_by(usage)
        if usage.output_tokens:
            self._is_said_last = self.tokens_output > 0

    def usage(self) -> Usage:
        """Return the figures so far, as a reader is shown them while the completion runs."""
        return replace(
            self._said,
            prompt_tokens=self._prompt_tokens(),
            completion_tokens=self._completion_tokens,
            reasoning_tokens=self._reasoning_tokens,
        )

    # When it must stop.

    @property
    def tokens_output_max(self) -> int | None:
        """How many output tokens what is held pays for beside the prompt; None where output is free.

        A prompt that the provider counts as longer than it was estimated takes nothing from the room
        that was held for the output: that would cut an answer short of the limit the client set.
        """
        if self._output_picocredits == 0:
            return None
        prompt = min(self._prompt_tokens(), self._prompt_tokens_estimated)
        left = self._hold_microcredits * PICOCREDITS - self._input_picocredits * prompt
        return max(0, left) // self._output_picocredits

    def has_room(self, tokens: int) -> bool:
        """Whether a piece of so many tokens is within the request's limit, and held for."""
        return self.is_within_limit(tokens) and self.is_held(tokens)

    def is_within_limit(self, tokens: int) -> bool:
        """Whether the request's own limit allows a piece of so many tokens more."""
        if self._limit is None:
            return True
        after = self.tokens_output + tokens
        if after <= self._limit or not tokens:
            return True
        if self._is_exact or self._running is not None or self._pieces >= self._limit:
            return False
        numerator, denominator = _ESTIMATE_SLACK
        return after <= self._limit * numerator // denominator

    def is_held(self, tokens: int) -> bool:
        """Whether what is held pays for so many tokens more."""
        if self._is_fully_held:
            return True
        room = self.tokens_output_max
        return room is None or self.tokens_output + tokens <= room

    # What is held.

    @property
    def _is_fully_held(self) -> bool:
        full = self._full_microcredits
        return full is not None and self._hold_microcredits >= full

    @property
    def is_overdrawn(self) -> bool:
        """Whether the provider's figures cost more than is held, and more could be held."""
        return not self._is_fully_held and self._reported_microcredits() > self._hold_microcredits

    def hold_wanted(self, tokens: int = 0) -> int | None:
        """Return what should be held in all, None while enough is.

        Args:
            tokens: of a piece that waits for its room.
        """
        room = self.tokens_output_max
        if self._step is None or room is None or self._is_fully_held:
            return None
        wanted = self._hold_microcredits
        if room - self.tokens_output - tokens < max(1, self._step // 2):
            more = (self._step + tokens) * self._output_picocredits
            wanted += -(-more // PICOCREDITS)
        reported = self._reported_microcredits()
        if reported > wanted:  # A provider that thinks unseen tells of it at the end alone.
            most = self._hold_of(_OUTPUT_TOKENS_MAX if self._limit is None else self._limit) or 0
            wanted = max(wanted, min(reported, most))
        if self._full_microcredits is not None:
            wanted = min(wanted, self._full_microcredits)
        return wanted if wanted > self._hold_microcredits else None

    def extend(self, hold_microcredits: int) -> None:
        """Take note of what is held now; it never becomes less."""
        self._hold_microcredits = max(self._hold_microcredits, hold_microcredits)

    # What it costs.

    def settle(
        self, status: Status, *, was_dispatched: bool, hidden_reasoning_tokens: int = 0
    ) -> tuple[Usage, Charge]:
        """Return the final figures and what they cost.

        Args:
            hidden_reasoning_tokens: what the provider is taken to have thought unseen until a cancel;
                a figure of its own is better.
        """
        if not was_dispatched:
            return Usage(), self._absorbing(0)
        if status is Status.FAILED:
            return self._settle_failure()
        usage, output_basis = self.usage(), self._output_basis()
        is_whole = status is Status.COMPLETED or self._is_said_last
        if is_whole and self._is_output_said():
            output_basis = ChargeBasis.PROVIDER_USAGE
            usage = replace(self._said, prompt_tokens=usage.prompt_tokens)
        charge = self._charge(usage, output_basis)
        if status is Status.CANCELLED and hidden_reasoning_tokens and self._hides_reasoning():
            hidden = usage.reasoning_tokens + hidden_reasoning_tokens
            usage = replace(usage, reasoning_tokens=hidden)
            charge = self._charge(usage, output_basis)
            charge = replace(charge, reasoning_basis=ChargeBasis.ESTIMATED)
        return usage, charge

    def _settle_failure(self) -> tuple[Usage, Charge]:
        """Charge what was delivered, or absorb it; a provider that gave nothing cost nothing."""
        usage = self.usage()
        if not (self.tokens_output or self._said.total_tokens):
            return usage, self._absorbing(0)
        charge = self._charge(usage, self._output_basis())
        if self._charges_failed and self.tokens_output:
            return usage, charge
        return usage, self._absorbing(charge.total_microcredits + charge.absorbed_microcredits)

    def _absorbing(self, absorbed_microcredits: int) -> Charge:
        return Charge(
            absorbed_microcredits=absorbed_microcredits,
            pricing_version=self._prices.version,
            held_microcredits=self._held_in_the_end(),
        )

    def _hides_reasoning(self) -> bool:
        """Whether the provider has said nothing of what it thought."""
        return self._running is None and not self._said.reasoning_tokens

    def _is_output_said(self) -> bool:
        """Whether the provider told what the answer took; a 0 beside content tells nothing."""
        said = self._said
        return said.output_tokens > 0 or (said.prompt_tokens > 0 and not self.tokens_output)

    def _prompt_tokens(self) -> int:
        return self._said.prompt_tokens or self._prompt_tokens_estimated

    def _prompt_basis(self) -> ChargeBasis:
        return ChargeBasis.PROVIDER_USAGE if self._said.prompt_tokens else self._own_basis()

    def _output_basis(self) -> ChargeBasis:
        return ChargeBasis.PROVIDER_USAGE if self._running is not None else self._own_basis()

    def _own_basis(self) -> ChargeBasis:
        return ChargeBasis.COUNTED if self._is_exact else ChargeBasis.ESTIMATED

    def _hold_of(self, output_tokens: int | None) -> int | None:
        if output_tokens is None:
            return None
        return hold_microcredits(self._prices, self._prompt_tokens_estimated, output_tokens)

    def _held_in_the_end(self) -> int:
        is_extended = self._hold_microcredits > self._placed_microcredits
        return self._hold_microcredits if is_extended else 0

    def _reported_microcredits(self) -> int:
        return sum(_rounded_up(self._costs(self._said)))

    def _costs(self, usage: Usage) -> tuple[int, int, int]:
        """Return what prompt, answer and reasoning cost, in picocredits."""
        prices = self._prices
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
        for_an_hour = min(usage.cache_write_1h_tokens, written)
        prompt = (usage.prompt_tokens - cached - written) * self._input_picocredits
        if cached or written:
            prompt += cached * prices.cache_read_picocredits
            prompt += (written - for_an_hour) * prices.cache_write_5m_picocredits
            prompt += for_an_hour * prices.cache_write_1h_picocredits
        output = self._output_picocredits
        return prompt, usage.completion_tokens * output, usage.reasoning_tokens * output

    def _charge(self, usage: Usage, output_basis: ChargeBasis) -> Charge:
        left = self._hold_microcredits
        actual = _rounded_up(self._costs(usage))
        charged: list[int] = []
        for cost in actual:
            charged.append(min(cost, left))
            left -= charged[-1]
        return Charge(
            input_microcredits=charged[0],
            output_microcredits=charged[1],
            reasoning_microcredits=charged[2],
            absorbed_microcredits=sum(actual) - sum(charged),
            prompt_basis=self._prompt_basis(),
            output_basis=output_basis,
            pricing_version=self._prices.version,
            held_microcredits=self._held_in_the_end(),
        )


def _rounded_up(costs: tuple[int, ...]) -> list[int]:
    """Return the parts in micro-credits: together they are the whole, rounded up once."""
    parts: list[int] = []
    picocredits = microcredits = 0
    for cost in costs:
        picocredits += cost
        parts.append(-(-picocredits // PICOCREDITS) - microcredits)
        microcredits += parts[-1]
    return parts
