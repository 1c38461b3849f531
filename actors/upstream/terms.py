"""The terms that a model is sold on: its prices, its output's limit, what is held for it, its timeouts.

Owns what the configuration's members mean in a `StartCommand`. Rules:

1. The limit is the client's, else the operator's (`default_max_output_tokens`, else the cap), else none.
   A client's above the cap is lowered to it, and said; strict contracts refuse it.
2. In steps, so much is held as the prompt's estimate and a step of output cost, or the limit where that is
   less. In full, the whole limit is; where there is none, `FULL_OUTPUT_TOKENS`, at which the meter then
   stops the answer.
3. A timeout is the model's, else its provider's, else the setting's.

Source: design of the money, sections 5 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.core.completion.token_meter import hold_microcredits
from actors.core.errors import InvalidRequest
from actors.core.money.prices import Prices, whole_price
from actors.core.request import Dialect
from actors.settings import Settings
from actors.upstream.config import (
    FailedCharge,
    HoldMode,
    ModelConfig,
    ProviderConfig,
    TimeoutsConfig,
)

__all__ = [
    "FULL_OUTPUT_TOKENS",
    "HoldTerms",
    "Terms",
    "demanded_limit",
    "output_limit",
    "prices_of",
]

FULL_OUTPUT_TOKENS = 32_000
"""What is held for in full where nobody set a limit: more than nearly every answer has."""

_LIMIT_NAMES: Mapping[Dialect, str] = {Dialect.RESPONSES: "max_output_tokens"}
"""What the limit is called where not `max_tokens`."""


@dataclass(frozen=True, slots=True)
class HoldTerms:
    """What is held before anything is sent; `step_tokens` is None where it is never extended."""

    microcredits: int
    step_tokens: int | None


@dataclass(frozen=True, slots=True)
class Terms:
    """A model's terms beside its prices.

    Args: timeouts: those that the model or its provider set; the rest are the settings'.
    """

    hold: HoldMode = HoldMode.STEPS
    charges_failed: bool = False
    hidden_reasoning_tokens_per_1000_s: int = 0
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)

    @classmethod
    def of(cls, model: ModelConfig, provider: ProviderConfig) -> Terms:
        hidden_per_s = model.hidden_reasoning_tokens_per_second or 0
        timeouts = {
            name: getattr(model.timeouts, name) or getattr(provider.timeouts, name)
            for name in TimeoutsConfig.model_fields
        }
        return cls(
            hold=model.hold,
            charges_failed=model.charge_failed is FailedCharge.DELIVERED,
            hidden_reasoning_tokens_per_1000_s=round(hidden_per_s * 1_000),
            timeouts=TimeoutsConfig(**timeouts),
        )

    def hold_for(
        self,
        prices: Prices,
        prompt_tokens_estimated: int,
        output_tokens_max: int | None,
        *,
        settings: Settings,
    ) -> HoldTerms:
        """Return what to hold for an answer of at most so many tokens; None is no limit."""
        step: int | None = settings.hold_step_tokens
        if self.hold is HoldMode.FULL or settings.strict_contracts:
            tokens, step = output_tokens_max or FULL_OUTPUT_TOKENS, None
        elif output_tokens_max is None:
            tokens = settings.hold_step_tokens
        else:
            tokens = min(output_tokens_max, settings.hold_step_tokens)
        return HoldTerms(hold_microcredits(prices, prompt_tokens_estimated, tokens), step)


def prices_of(model: ModelConfig) -> Prices:
    """Return a model's prices as the configuration has them, exactly."""
    read, write_5m, write_1h = (
        None if price is None else whole_price(price)
        for price in (
            model.cache_read_credits_per_million,
            model.cache_write_5m_credits_per_million,
            model.cache_write_1h_credits_per_million,
        )
    )
    return Prices(
        whole_price(model.input_credits_per_million),
        whole_price(model.output_credits_per_million),
        cache_read_microcredits=read,
        cache_write_5m_microcredits=write_5m,
        cache_write_1h_microcredits=write_1h,
    )


def demanded_limit(cap: int | None, dialect: Dialect) -> tuple[int, tuple[str, ...]]:
    """Return what is sent to a format that demands a limit where nobody gave one, and how it is told."""
    limit = cap or FULL_OUTPUT_TOKENS
    return limit, (f"{_LIMIT_NAMES.get(dialect, 'max_tokens')}={limit}",)


def output_limit(
    asked: int | None,
    *,
    slug: str,
    default: int | None,
    cap: int | None,
    dialect: Dialect,
    is_strict: bool,
) -> tuple[int | None, tuple[str, ...]]:
    """Return the output's limit, None where there is none, and what was changed of the client's.

    Raises: InvalidRequest: it is above the cap, and the contracts are strict.
    """
    if asked is None:
        return cap if default is None else default, ()
    if cap is None or asked <= cap:
        return asked, ()
    if is_strict:
        raise InvalidRequest(
            f"max_tokens is {asked}; {slug} answers with at most {cap} tokens.",
            param="max_tokens",
            reason="max_tokens_exceeds_hard_cap",
        )
    return cap, (f"{_LIMIT_NAMES.get(dialect, 'max_tokens')}={cap}",)
