"""The figures of a completion: tokens used, and what they cost.

A record has both as JSON arrays, so a new member goes to the end and has a default.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Charge", "ChargeBasis", "Usage"]


class ChargeBasis(StrEnum):
    """Where a component of a charge comes from."""

    PROVIDER_USAGE = "provider_usage"
    COUNTED = "counted"
    ESTIMATED = "estimated"
    NONE = "none"  # nothing was dispatched, or the completion failed


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Tokens. `completion_tokens` excludes reasoning; the cache figures are part of the prompt.

    `cache_write_1h_tokens` are those of `cache_write_tokens` that are kept for an hour. A figure of 0 says
    nothing. `raw` has the provider's own figures that have no place here, as it named them; bounded by
    whoever reads them off the wire.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    raw: tuple[tuple[str, int], ...] = ()
    cache_write_1h_tokens: int = 0

    @property
    def output_tokens(self) -> int:
        return self.completion_tokens + self.reasoning_tokens

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens

    def followed_by(self, later: Usage) -> Usage:
        """Return what both reports say together: per component the latest figure that is one."""
        prompt = later if later.prompt_tokens else self
        output = later if later.output_tokens else self
        return Usage(
            prompt.prompt_tokens,
            output.completion_tokens,
            output.reasoning_tokens,
            prompt.cached_tokens,
            prompt.cache_write_tokens,
            later.raw or self.raw,
            prompt.cache_write_1h_tokens,
        )


class Charge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a completion cost, in micro-credits; `total` = the three parts and never above the hold.

    The whole is rounded up once: a part is what the running sum, rounded up, grew by. Where the actual
    cost passed the hold, the parts are cut in the order reasoning, output, input and
    `absorbed_microcredits` has the rest; it also has what a failure cost that was not charged.
    `reasoning_basis` is NONE where the reasoning has the output's basis; `held_microcredits` is what
    was held in the end, 0 where the hold was never extended.
    """

    input_microcredits: int = 0
    output_microcredits: int = 0
    reasoning_microcredits: int = 0
    absorbed_microcredits: int = 0
    prompt_basis: ChargeBasis = ChargeBasis.NONE
    output_basis: ChargeBasis = ChargeBasis.NONE
    pricing_version: int = 1
    reasoning_basis: ChargeBasis = ChargeBasis.NONE
    held_microcredits: int = 0

    @property
    def total_microcredits(self) -> int:
        return self.input_microcredits + self.output_microcredits + self.reasoning_microcredits

    def waived(self) -> Charge:
        """Return what is charged of it to a team that pays nothing."""
        return Charge(
            prompt_basis=self.prompt_basis,
            output_basis=self.output_basis,
            pricing_version=self.pricing_version,
            reasoning_basis=self.reasoning_basis,
            held_microcredits=self.held_microcredits,
        )
