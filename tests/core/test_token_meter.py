"""Goal: the meter stops an answer at its hold, and never short of the limit that was paid for."""

from __future__ import annotations

import pytest

from actors.core.events import ChargeBasis, Status, TextDelta, Usage
from actors.core.request import Prices
from actors.core.token_meter import TokenMeter

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
