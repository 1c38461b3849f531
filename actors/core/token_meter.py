"""What a completion has produced, what that costs, and when it must stop.

Integers only: a price of N credits per million tokens is N micro-credits per token. The rule of the
charge is one for all dialects:

- COMPLETED: the provider's usage where it reported one, else the tokens of the deltas; each of prompt
  and output by itself, so that one bad report frees nothing. A 0 beside content is no report.
- CANCELLED: the prompt if it was dispatched (the provider's figure where it came, else our
  estimate), and the tokens that are in the log.
- FAILED: nothing.

The charge is never above the hold; the excess is recorded as absorbed.
"""

from __future__ import annotations

from dataclasses import replace

from actors.core.events import Charge, ChargeBasis, Delta, Opaque, ReasoningDelta, Status, Usage
from actors.core.request import Prices

__all__ = ["TokenMeter"]

_ESTIMATE_SLACK = (3, 2)
"""A foreign tokenizer may count a third fewer tokens than ours does for the same text. The provider
was told the limit and keeps it in its own tokens; ours must not cut such an answer short, so where we
only estimate, the stop is at one and a half times the room. What passes the hold is absorbed."""


class TokenMeter:
    """Counts the deltas of one completion against its hold.

    Args:
        hold_microcredits: what was held; the charge never passes it.
        is_exact: whether our tokenizer counts as the provider's does; else figures of ours are
            labelled `estimated`.
    """

    def __init__(
        self,
        *,
        prices: Prices,
        prompt_tokens_estimated: int,
        hold_microcredits: int,
        is_exact: bool,
    ) -> None:
        self._prices = prices
        self._prompt_tokens_estimated = prompt_tokens_estimated
        self._hold_microcredits = hold_microcredits
        self._is_exact = is_exact
        self._completion_tokens = 0
        self._reasoning_tokens = 0
        self._running: Usage | None = None
        self._said = Usage()  # Reports so far; of running figures, the prompt's.

    def __repr__(self) -> str:
        return f"<TokenMeter {self.tokens_output} tokens of {self.tokens_output_max}>"

    @property
    def tokens_output(self) -> int:
        """Tokens in the log: text, refusals, tool calls and reasoning."""
        return self._completion_tokens + self._reasoning_tokens

    @property
    def tokens_output_max(self) -> int | None:
        """How many output tokens the hold pays for beside the prompt; None where output is free.

        A prompt that the provider counts as longer than it was estimated takes nothing from the room
        that was held for the output: that would cut an answer short of the limit the client set.
        """
        price = self._prices.output_microcredits
        if price == 0:
            return None
        prompt = min(self._prompt_tokens(), self._prompt_tokens_estimated)
        left = self._hold_microcredits - self._prices.input_microcredits * prompt
        room = max(0, left) // price
        if self._is_exact or self._running is not None:
            return room
        numerator, denominator = _ESTIMATE_SLACK
        return room * numerator // denominator

    def has_room(self, tokens: int) -> bool:
        """Whether the hold pays for that many more output tokens."""
        limit = self.tokens_output_max
        return limit is None or self.tokens_output + tokens <= limit

    def count(self, delta: Delta | Opaque) -> None:
        """Add a delta that was logged."""
        if isinstance(delta, ReasoningDelta):
            self._reasoning_tokens += delta.tokens
        else:
            self._completion_tokens += delta.tokens

    def run(self, usage: Usage) -> None:
        """Take the provider's running figures, which the deltas' tokens are increments of."""
        self._running = usage
        self._said = self._said.followed_by(replace(usage, completion_tokens=0, reasoning_tokens=0))

    def report(self, usage: Usage) -> None:
        """Take the usage that the provider reported: per component the latest figure stands."""
        self._said = self._said.followed_by(usage)

    def usage(self) -> Usage:
        """Return the figures so far, as a reader is shown them while the completion runs."""
        return replace(
            self._said,
            prompt_tokens=self._prompt_tokens(),
            completion_tokens=self._completion_tokens,
            reasoning_tokens=self._reasoning_tokens,
        )

    def settle(self, status: Status, *, was_dispatched: bool) -> tuple[Usage, Charge]:
        """Return the final figures and what they cost."""
        version = self._prices.version
        if not was_dispatched:
            return Usage(), Charge(pricing_version=version)
        if status is Status.FAILED:
            return self.usage(), Charge(pricing_version=version)
        usage, output_basis = self.usage(), self._output_basis()
        if status is Status.COMPLETED and self._is_output_said():
            output_basis = ChargeBasis.PROVIDER_USAGE
            usage = replace(self._said, prompt_tokens=usage.prompt_tokens)
        return usage, self._charge(usage, self._prompt_basis(), output_basis)

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

    def _charge(self, usage: Usage, prompt_basis: ChargeBasis, output_basis: ChargeBasis) -> Charge:
        left = self._hold_microcredits
        prices = self._prices
        actual = [
            usage.prompt_tokens * prices.input_microcredits,
            usage.completion_tokens * prices.output_microcredits,
            usage.reasoning_tokens * prices.output_microcredits,
        ]
        charged: list[int] = []
        for cost in actual:
            charged.append(min(cost, left))
            left -= charged[-1]
        return Charge(
            input_microcredits=charged[0],
            output_microcredits=charged[1],
            reasoning_microcredits=charged[2],
            absorbed_microcredits=sum(actual) - sum(charged),
            prompt_basis=prompt_basis,
            output_basis=output_basis,
            pricing_version=prices.version,
        )
