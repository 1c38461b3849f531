"""How late a token reaches its reader, by the upstream's own schedule.

The simulator's schedule is absolute: the k-th token (from 0) of a request is due at its start, plus
the delay of the first one, plus k / rate. The start is not later than `opened_at` in its log plus the
time that it took to parse the request, so what is measured from `opened_at` is an upper bound: it
has the simulator's own lateness in it, and the reader's. Measured from `first_token_at`, when the
first token was written, the opening is left out. All clocks are one machine's wall clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from actors.simulator.models import MODELS
from tests.benchmarks.measuring import percentile
from tests.benchmarks.raw_stream import RawStream

__all__ = ["Lags", "lags_of"]


@dataclass(slots=True)
class Lags:
    """Seconds, a figure for each token: since it was due, counted from either instant."""

    since_opened_s: list[float] = field(default_factory=list)
    since_first_s: list[float] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Return p50, p99 and the largest, in ms, from both."""
        return [
            " / ".join(f"{1e3 * value:.1f}" for value in _figures(values))
            for values in (self.since_opened_s, self.since_first_s)
        ]


COLUMNS = ("lag p50 / p99 / max, ms, from opening", "from first token")


def lags_of(
    pairs: Iterable[tuple[RawStream, dict[str, Any]]],
    *,
    after_s: float = 0.0,
    until_s: float = float("inf"),
) -> Lags:
    """Return the lags of all tokens that came between these instants.

    Args:
        pairs: a stream, and the simulator's log of its request.
    """
    lags = Lags()
    for stream, row in pairs:
        model = MODELS[row["model"]]
        assert model.tokens_per_s is not None
        for number, at_s in enumerate(stream.times):
            if after_s <= at_s < until_s:
                offset_s = number / model.tokens_per_s
                due_s = row["opened_at"] + model.first_token_delay_s + offset_s
                lags.since_opened_s.append(at_s - due_s)
                lags.since_first_s.append(at_s - row["first_token_at"] - offset_s)
    return lags


def _figures(values: list[float]) -> tuple[float, float, float]:
    if not values:
        return (float("nan"),) * 3
    return percentile(values, 0.5), percentile(values, 0.99), max(values)
