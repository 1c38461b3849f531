"""What happened when, in a bounded number of buckets of equal width.

When the buckets are used up, neighbours are joined and the width doubles: a day fits as a second
does. Counts alone are kept, so that the timelines of several workers add up exactly; how many streams
live is what started minus what ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from enum import IntEnum

__all__ = ["BUCKETS_MAX", "Mark", "StreamTimeline"]

BUCKETS_MAX = 1_200
_WIDTH_S = 0.25


class Mark(IntEnum):
    """What is counted; the place in a bucket."""

    TOKENS = 0
    STARTED = 1
    ENDED = 2
    ERRORS = 3


@dataclass(slots=True)
class StreamTimeline:
    """Counts since the run's start."""

    width_s: float = _WIDTH_S
    buckets: list[list[int]] = field(default_factory=list)

    def add(self, mark: Mark, at_s: float, number: int = 1) -> None:
        index = max(0, int(at_s / self.width_s))
        while index >= BUCKETS_MAX:
            self._widen()
            index = int(at_s / self.width_s)
        while index >= len(self.buckets):
            self.buckets.append([0] * len(Mark))
        self.buckets[index][mark] += number

    def live(self) -> list[int]:
        """Return how many streams live at the end of each bucket."""
        live, levels = 0, []
        for bucket in self.buckets:
            live += bucket[Mark.STARTED] - bucket[Mark.ENDED]
            levels.append(live)
        return levels

    def rates(self, mark: Mark) -> list[float]:
        """Return how many a second there were in each bucket."""
        return [bucket[mark] / self.width_s for bucket in self.buckets]

    @classmethod
    def merged(cls, parts: Iterable[StreamTimeline]) -> StreamTimeline:
        """Return the sum; the widest buckets of all are used."""
        copies = [deepcopy(part) for part in parts]
        whole = cls(max((part.width_s for part in copies), default=_WIDTH_S))
        for part in copies:
            while part.width_s < whole.width_s:
                part._widen()
            whole._take(part)
        return whole

    def _take(self, other: StreamTimeline) -> None:
        while len(self.buckets) < len(other.buckets):
            self.buckets.append([0] * len(Mark))
        for mine, theirs in zip(self.buckets, other.buckets, strict=False):
            for mark in Mark:
                mine[mark] += theirs[mark]

    def _widen(self) -> None:
        pairs = range(0, len(self.buckets), 2)
        self.buckets = [
            [sum(counts) for counts in zip(*self.buckets[at : at + 2], strict=True)] for at in pairs
        ]
        self.width_s *= 2
