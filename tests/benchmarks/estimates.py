"""Medians of rounds, with their spread and with bounds that hold for any distribution.

The bounds are order statistics: of n rounds the k-th smallest and the k-th largest, where k is the
largest that a fair coin's n throws come short of with a probability of 2.5 % at most (the sign test).
They enclose the true median with at least 95 %, whatever the rounds' distribution, as long as rounds are
independent. Nine rounds give the second smallest and the second largest (96.1 %); below six no two
rounds are enough, and the bounds are the smallest and the largest (93.8 % with five, 75 % with three).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Estimate"]

_TAIL_MAX = 0.025


@dataclass(frozen=True, slots=True)
class Estimate:
    """`spread` is (largest - smallest) / median."""

    median: float
    low: float
    high: float
    spread: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Args: values: at least one."""
        ordered = sorted(values)
        outside = _outside(len(ordered))
        median = statistics.median(ordered)
        spread = (ordered[-1] - ordered[0]) / abs(median) if median else 0.0
        return cls(median, ordered[outside], ordered[-1 - outside], spread)

    def __str__(self) -> str:
        """Return as `458 [440-470] 9%`."""
        return f"{_short(self.median)} [{_short(self.low)}, {_short(self.high)}] {self.spread:.0%}"


def _outside(count: int) -> int:
    """Return how many rounds lie outside of the bounds, on each side."""
    # So many throws or fewer come up heads with a probability of `tail`.
    heads, tail = 0, 1 / 2**count
    while tail + (more := math.comb(count, heads + 1) / 2**count) <= _TAIL_MAX:
        heads, tail = heads + 1, tail + more
    return heads


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
