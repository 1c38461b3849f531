"""The figures of a completion: tokens used, and what they cost; and both as rows of a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Charge", "ChargeBasis", "Usage", "charge_from", "charge_row", "usage_from", "usage_row"]


class ChargeBasis(StrEnum):
    """Where a component of a charge comes from."""

    PROVIDER_USAGE = "provider_usage"
    COUNTED = "counted"
    ESTIMATED = "estimated"
    NONE = "none"  # nothing was dispatched, or the completion failed


@dataclass(frozen=True, slots=True)
class Usage:
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


@dataclass(frozen=True, slots=True)
class Charge:
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


def usage_row(usage: Usage) -> list[Any]:
    row = [
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        [list(figure) for figure in usage.raw],
    ]
    return [*row, usage.cache_write_1h_tokens] if usage.cache_write_1h_tokens else row


def usage_from(row: Sequence[Any]) -> Usage:
    prompt, completion, reasoning, cached, *later = row
    # Rows of the first schema end before these, and those without a cache of an hour before the last.
    cache_write, raw, *hour = later or (0, ())
    pairs = tuple((name, figure) for name, figure in raw)
    return Usage(prompt, completion, reasoning, cached, cache_write, pairs, *hour)


def charge_row(charge: Charge) -> list[Any]:
    row = [
        charge.input_microcredits,
        charge.output_microcredits,
        charge.reasoning_microcredits,
        charge.absorbed_microcredits,
        charge.prompt_basis.value,
        charge.output_basis.value,
        charge.pricing_version,
    ]
    if charge.reasoning_basis is ChargeBasis.NONE and not charge.held_microcredits:
        return row
    return [*row, charge.reasoning_basis.value, charge.held_microcredits]


def charge_from(row: Sequence[Any]) -> Charge:
    input_u, output_u, reasoning_u, absorbed_u, prompt_basis, output_basis, version, *later = row
    reasoning_basis, held_u = later or (ChargeBasis.NONE, 0)  # Most rows end before them.
    return Charge(
        input_u,
        output_u,
        reasoning_u,
        absorbed_u,
        ChargeBasis(prompt_basis),
        ChargeBasis(output_basis),
        version,
        ChargeBasis(reasoning_basis),
        held_u,
    )
