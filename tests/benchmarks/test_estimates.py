"""Goal: the bounds that benchmarks print of a median are the sign test's."""

from __future__ import annotations

import pytest

from tests.benchmarks.estimates import Estimate


@pytest.mark.parametrize(
    ("rounds", "low", "high"), [(3, 1, 3), (5, 1, 5), (6, 1, 6), (8, 1, 8), (9, 2, 8), (15, 4, 12)]
)
def test_bounds_of_a_median(rounds: int, low: int, high: int) -> None:
    """The ranks that tables of the sign test give for 95 %; below six rounds there are none."""
    estimate = Estimate.of(list(range(1, rounds + 1)))
    assert (estimate.low, estimate.high) == (low, high)
