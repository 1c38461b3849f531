"""Goal: the meter stops an answer at its hold, and never short of the limit that was paid for."""

from __future__ import annotations

import math
import random
from decimal import Decimal

import pytest

from actors.core.completion.token_meter import TokenMeter
from actors.core.events import Charge, ChargeBasis, Status, TextDelta, Usage
from actors.core.request import Prices

PROVIDER, ESTIMATED = ChargeBasis.PROVIDER_USAGE, ChargeBasis.ESTIMATED

PROMPT_ESTIMATED = 20
OUTPUT_MAX = 40
HOLD = (11 * PROMPT_ESTIMATED * 75 + 9) // 10 + OUTPUT_MAX * 450


def meter(*, is_exact: bool = False) -> TokenMeter:
    return TokenMeter(
        prices=Prices(75, 450),
        prompt_tokens_estimated=PROMPT_ESTIMATED,
        hold_microcredits=HOLD,
        is_exact=is_exact,
    )


@pytest.mark.parametrize("prompt", [1, PROMPT_ESTIMATED, 36, 10_000])
def test_a_prompt_of_any_length_leaves_the_output_its_room(prompt: int) -> None:
    """A chat template that our estimate knows nothing of must not cut the answer short."""
    running = meter()
    for n in range(1, OUTPUT_MAX + 1):
        running.run(Usage(prompt, n))
        assert running.has_room(1), n
        running.count(TextDelta(0, "x", 1))
    usage, charge = running.settle(Status.CANCELLED, was_dispatched=True)
    actual = prompt * 75 + OUTPUT_MAX * 450
    assert usage == Usage(prompt, OUTPUT_MAX)
    assert charge.total_microcredits == min(actual, HOLD)
    assert charge.absorbed_microcredits == max(0, actual - HOLD)
    assert charge.prompt_basis is charge.output_basis is ChargeBasis.PROVIDER_USAGE


@pytest.mark.parametrize("prompt", [PROMPT_ESTIMATED, 36, 10_000])
def test_the_output_stops_where_the_hold_ends(prompt: int) -> None:
    running = meter()
    running.run(Usage(prompt, 1))
    assert running.tokens_output_max is not None
    assert running.tokens_output_max * 450 <= HOLD
    assert not running.has_room(running.tokens_output_max + 1)


@pytest.mark.parametrize(
    ("reports", "usage", "bases"),
    [
        ([Usage()], Usage(12, 5), (ESTIMATED, ESTIMATED)),
        ([Usage(20, 7), Usage()], Usage(20, 7), (PROVIDER, PROVIDER)),
        ([Usage(20, 0)], Usage(20, 5), (PROVIDER, ESTIMATED)),
        ([Usage(0, 7)], Usage(12, 7), (ESTIMATED, PROVIDER)),
        ([Usage(20, 0, 0, 4), Usage(0, 7)], Usage(20, 7, 0, 4), (PROVIDER, PROVIDER)),
        ([Usage(20, 7, 0, 4), Usage(30, 0)], Usage(30, 7), (PROVIDER, PROVIDER)),
    ],
)
def test_a_figure_of_nothing_is_none(
    reports: list[Usage], usage: Usage, bases: tuple[ChargeBasis, ChargeBasis]
) -> None:
    metered = TokenMeter(
        prices=Prices(75, 450),
        prompt_tokens_estimated=12,
        hold_microcredits=10**6,
        is_exact=False,
    )
    metered.count(TextDelta(0, "x", 5))
    for report in reports:
        metered.report(report)
    settled, charge = metered.settle(Status.COMPLETED, was_dispatched=True)
    assert settled == usage
    assert (charge.prompt_basis, charge.output_basis) == bases
    assert charge.total_microcredits == usage.prompt_tokens * 75 + usage.output_tokens * 450


# Prices.


def charge_of(prices: Prices, usage: Usage, *, hold: int = 10**12) -> Charge:
    counted = TokenMeter(
        prices=prices, prompt_tokens_estimated=1, hold_microcredits=hold, is_exact=True
    )
    counted.report(usage)
    return counted.settle(Status.COMPLETED, was_dispatched=True)[1]


def test_cached_input_has_prices_of_its_own() -> None:
    prices = Prices(
        300,
        1_500,
        cache_read_microcredits=30,
        cache_write_5m_microcredits=375,
        cache_write_1h_microcredits=600,
    )
    usage = Usage(10_000, 20, 0, 8_000, 1_500, (), 500)
    charge = charge_of(prices, usage)
    assert charge.input_microcredits == 500 * 300 + 8_000 * 30 + 1_000 * 375 + 500 * 600
    assert charge.output_microcredits == 20 * 1_500


def test_cached_input_costs_what_other_input_does_where_nothing_is_said() -> None:
    charge = charge_of(Prices(75, 450), Usage(1_000, 1, 0, 900, 50, (), 20))
    assert charge.input_microcredits == 1_000 * 75


@pytest.mark.parametrize("usage", [Usage(10, 0, 0, 99, 99, (), 99), Usage(10, 0, 0, 4, 99, (), 99)])
def test_cache_figures_beyond_the_prompt_are_cut_to_it(usage: Usage) -> None:
    prices = Prices(
        100,
        0,
        cache_read_microcredits=1,
        cache_write_5m_microcredits=9,
        cache_write_1h_microcredits=9,
    )
    cached = min(usage.cached_tokens, 10)
    assert charge_of(prices, usage).total_microcredits == cached + (10 - cached) * 9


def test_a_charge_is_rounded_up_once() -> None:
    third = Decimal("0.333333")
    charge = charge_of(Prices(third, third), Usage(1, 1, 1))
    assert charge.total_microcredits == 1, "0.999999, and not three times one"
    assert [charge.input_microcredits, charge.output_microcredits] == [1, 0]
    assert charge_of(Prices(third, third), Usage(2, 1, 1)).total_microcredits == 2
    assert charge_of(Prices(Decimal("0.000001"), 0), Usage(1)).total_microcredits == 1


@pytest.mark.parametrize("seed", range(20))
def test_the_parts_of_a_charge_are_its_whole(seed: int) -> None:
    rng = random.Random(seed)
    price = Decimal(rng.randrange(10**9)).scaleb(-6)
    output = Decimal(rng.randrange(10**9)).scaleb(-6)
    usage = Usage(*(rng.randrange(10**6) for _ in range(3)))
    charge = charge_of(Prices(price, output), usage)
    exact = usage.prompt_tokens * price + usage.output_tokens * output
    assert charge.total_microcredits == math.ceil(exact)
    half = charge_of(Prices(price, output), usage, hold=charge.total_microcredits // 2)
    assert half.total_microcredits + half.absorbed_microcredits == charge.total_microcredits
    assert min(half.input_microcredits, half.output_microcredits) >= 0
