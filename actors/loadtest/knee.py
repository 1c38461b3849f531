"""The knee of a sweep: the highest level that was still worth its load. Pure.

A level is past the knee when it adds less than a quarter of what load alone would add to the tokens a
second of the level before, when more than one stream in a hundred fails, or when fewer than 95 in a
hundred keep the limits that were given. Levels rise, and the sweep stops behind the knee.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Step", "is_past", "knee_of"]

GAIN_MIN = 0.25
ERRORS_MAX = 0.01
GOOD_MIN = 0.95


@dataclass(frozen=True, slots=True)
class Step:
    """One level's figures; `good` is the share of judged streams within the limits."""

    level: float
    tokens_per_s: float
    errors: float
    good: float


def is_past(before: Step | None, step: Step) -> bool:
    """Return whether the step is past the knee."""
    if step.errors > ERRORS_MAX or step.good < GOOD_MIN:
        return True
    if before is None or before.tokens_per_s <= 0.0:
        return False
    load_gain = step.level / before.level - 1.0
    gain = step.tokens_per_s / before.tokens_per_s - 1.0
    return gain < GAIN_MIN * load_gain


def knee_of(steps: Sequence[Step]) -> float | None:
    """Return the last level before the first that is past the knee; None where no two are so."""
    before: Step | None = None
    for step in steps:
        if is_past(before, step):
            return None if before is None else before.level
        before = step
    return None
