"""What a run measured: histograms, counts, a timeline, and one row per stream for the audit.

Owns the figures of one worker and how those of several become one. Histograms are HdrHistogram's:
three significant digits from 1 µs to 1 h, in a fixed size, and their sum loses nothing, which
percentiles of percentiles would.

Bounds: `ROWS_MAX` rows of one worker, past them streams are counted but cannot be audited one by
one; `ERRORS_MAX` different errors; the timeline's own.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

from actors.loadtest.timeline import StreamTimeline

__all__ = [
    "ERRORS_MAX",
    "ROWS_MAX",
    "Histogram",
    "Measurements",
    "Metric",
    "Outcome",
    "StreamRow",
]

ROWS_MAX = 50_000
ERRORS_MAX = 20
_ERROR_LENGTH_MAX = 300
_RECENT_MAX = 255
_US_MAX = 3_600_000_000
_DIGITS = 3


class Metric(StrEnum):
    """What is timed. All but `itl`, `tpot` and the cancels' count from the intended start."""

    TTFT = "ttft"  # to the first token
    ITL = "itl"  # from one token to the next; those that came in one segment are 0 apart
    TPOT = "tpot"  # per stream: from the first token to the last, by the tokens between
    E2E = "e2e"  # to the terminal frame
    START_LAG = "start_lag"  # to the moment in which the request was really sent
    RESUME = "resume"  # from leaving to the first frame after the cursor
    CANCEL_ACK = "cancel_ack"  # from the cancel's request to its answer
    CANCEL_TOLD = "cancel_told"  # from the cancel's request to the reader's terminal frame
    CANCEL_CLOSED = "cancel_closed"  # from the cancel's request to the upstream's close
    LEFT_CLOSED = "left_closed"  # from the reader's leaving to the upstream's close


class Outcome(StrEnum):
    """How a stream ended for its reader."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    LEFT = "left"  # by plan
    FAILED = "failed"  # a typed end
    REFUSED = "refused"  # an HTTP status instead of a stream
    BROKEN = "broken"  # no end: cut off, silent, or never connected
    WRONG = "wrong"  # an end, but a frame or a token was lost, came twice, or differed by reader

    @property
    def is_error(self) -> bool:
        return self in _ERRORS


_ERRORS = frozenset({Outcome.FAILED, Outcome.REFUSED, Outcome.BROKEN, Outcome.WRONG})


class Histogram:
    """Durations in nanoseconds, kept by the microsecond."""

    def __init__(self, counts: HdrHistogram | None = None) -> None:
        self._counts = counts or HdrHistogram(1, _US_MAX, _DIGITS)

    def record(self, duration_ns: int, number: int = 1) -> None:
        """Count it so many times; below 0 is 0, above an hour is an hour."""
        self._counts.record_value(min(max(duration_ns // 1_000, 0), _US_MAX), number)

    def add(self, other: Histogram) -> None:
        self._counts.add(other._counts)

    @property
    def count(self) -> int:
        return int(self._counts.get_total_count())

    def mean_ms(self) -> float:
        total = sum(value * count for value, count in self.values_ms())
        return total / self.count if self.count else 0.0

    def max_ms(self) -> float:
        return float(self._counts.get_max_value()) / 1_000 if self.count else 0.0

    def values_ms(self) -> list[tuple[float, int]]:
        """Return the values that were met, rising, and how often each was.

        A value stands for those that the histogram does not tell from it, and is the highest of them.
        """
        counts = self._counts
        return [
            (counts.get_highest_equivalent_value(counts.get_value_from_index(index)) / 1_000, count)
            for index, count in enumerate(list(counts.counts))
            if count
        ]

    def percentiles_ms(self, percentiles: Sequence[float]) -> list[float]:
        """Return for each, rising, the value that so many in a hundred do not pass; 0.0 of nothing."""
        found: list[float] = []
        values = self.values_ms()
        seen, at = 0, -1
        for percentile in percentiles:
            rank = max(1, ceil(self.count * percentile / 100))
            while seen < rank and at + 1 < len(values):
                at += 1
                seen += values[at][1]
            found.append(values[at][0] if values else 0.0)
        return found

    def __reduce__(self) -> tuple[Callable[[bytes], Histogram], tuple[bytes]]:
        """Travel between processes as HdrHistogram's own encoding."""
        return _decoded, (bytes(self._counts.encode()),)


def _decoded(data: bytes) -> Histogram:
    return Histogram(HdrHistogram.decode(data))


@dataclass(slots=True)
class StreamRow:
    """What the reader of one stream saw; the audit holds it against the upstream's log.

    Args:
        completion_id: the runtime's, else what the request itself was called by.
        digest: of the text, characters of it `characters`; `is_whole` when a terminal frame came.
        charged_microcredits: as that frame has it; None where it has none.
        ended_at_s, cancelled_at_s, left_at_s: wall clock.
    """

    number: int
    completion_id: str = ""
    wire_id: str = ""
    outcome: Outcome = Outcome.BROKEN
    is_measured: bool = True
    is_whole: bool = False
    is_started: bool = False
    tokens: int = 0
    characters: int = 0
    digest: str = ""
    charged_microcredits: int | None = None
    ended_at_s: float = 0.0
    cancelled_at_s: float | None = None
    left_at_s: float | None = None


@dataclass(slots=True)
class Measurements:
    """One worker's figures, or the sum of several. `seconds` is the measured time.

    Histograms and outcomes are of the streams that were due within the measured time, to their ends.
    Rates are of what happened within it, whichever stream's: what the drain brings is in no rate.

    Args:
        window_tokens, window_ended, window_good: within the measured time.
        good: measured streams that completed within the limits; `judged` those that should have.
        stopped: why the run ended before its plan, "" where it did not.
        recent_ttft_ns: the last streams', for the progress alone.
    """

    histograms: dict[Metric, Histogram] = field(
        default_factory=lambda: {metric: Histogram() for metric in Metric}
    )
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    timeline: StreamTimeline = field(default_factory=StreamTimeline)
    rows: list[StreamRow] = field(default_factory=list)
    rows_dropped: int = 0
    window_tokens: int = 0
    window_ended: int = 0
    window_good: int = 0
    good: int = 0
    judged: int = 0
    seconds: float = 0.0
    observers: int = 0
    stopped: str = ""
    recent_ttft_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_RECENT_MAX))

    def keep(self, row: StreamRow) -> None:
        if len(self.rows) < ROWS_MAX:
            self.rows.append(row)
        else:
            self.rows_dropped += 1

    def note(self, error: str) -> None:
        """Count an error by its words; past the bound they are all the same."""
        error = error[:_ERROR_LENGTH_MAX]
        if error not in self.errors and len(self.errors) >= ERRORS_MAX:
            error = "other errors"
        self.errors[error] += 1

    @classmethod
    def merged(cls, parts: Iterable[Measurements]) -> Measurements:
        """Return the sum; time is the longest worker's, since they ran side by side."""
        whole, timelines = cls(), []
        for part in parts:
            for metric, histogram in part.histograms.items():
                whole.histograms[metric].add(histogram)
            whole.outcomes.update(part.outcomes)
            for words, number in part.errors.items():
                whole.errors[words] += number
            whole.rows += part.rows
            for name in _SUMS:
                setattr(whole, name, getattr(whole, name) + getattr(part, name))
            whole.seconds = max(whole.seconds, part.seconds)
            whole.stopped = whole.stopped or part.stopped
            timelines.append(part.timeline)
        whole.timeline = StreamTimeline.merged(timelines)
        return whole


_SUMS = (
    "rows_dropped", "window_tokens", "window_ended", "window_good", "good", "judged", "observers",
)  # fmt: skip
