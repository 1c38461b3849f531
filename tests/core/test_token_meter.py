"""Goal: the meter stops an answer at its hold, and never short of the limit that was paid for."""

from __future__ import annotations

import pytest

from actors.core.events import ChargeBasis, Status, TextDelta, Usage
from actors.core.request import Prices
from actors.core.token_meter import TokenMeter

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
