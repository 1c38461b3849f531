"""Every figure of a run as JSON values: what the table, the page and `--json` are made of.

Times are milliseconds, rates per second, money micro-credits. `None` is what could not be found out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from actors.loadtest.ground_truth import Findings
from actors.loadtest.knee import Step, knee_of
from actors.loadtest.metrics import Histogram, Measurements, Outcome
from actors.loadtest.plan import Arrival, Plan
from actors.loadtest.target import Target
from actors.loadtest.timeline import Mark

__all__ = ["FORMAT", "PERCENTILES", "is_clean", "level_figures", "run_figures", "step_of"]

FORMAT = 1
"""Of the JSON; it rises when a member changes its meaning."""

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
_BARS_PER_DECADE = 24


def run_figures(
    plan: Plan, workers: int, target: Target, levels: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return the figures of a run; `knee` is None where a sweep did not meet it, or it is none."""
    steps = [step_of(level) for level in levels]
    return {
        "format": FORMAT,
        "url": plan.url,
        "is_midstream": target.is_midstream,
        "dialect": plan.dialect.value,
        "model": plan.model,
        "workers": workers,
        "plan": _plan_figures(plan),
        "levels": list(levels),
        "knee": knee_of(steps),
        "is_clean": all(is_clean(level) for level in levels),
    }


def level_figures(plan: Plan, measured: Measurements, findings: Findings) -> dict[str, Any]:
    """Return the figures of one level."""
    seconds = measured.seconds or 1e-9
    streams = sum(measured.outcomes.values())
    errors = sum(measured.outcomes[one.value] for one in Outcome if one.is_error)
    return {
        "level": plan.load.level,
        "seconds": round(measured.seconds, 3),
        "stopped": measured.stopped,
        "streams": streams,
        "outcomes": {one.value: measured.outcomes[one.value] for one in Outcome},
        "errors": errors,
        "error_messages": dict(measured.errors.most_common()),
        "observers": measured.observers,
        "tokens_per_s": round(measured.window_tokens / seconds, 3),
        "streams_per_s": round(measured.window_ended / seconds, 3),
        "goodput": {
            "limits_ms": {name: limit * 1_000 for name, limit in plan.slo.limits.items()},
            "good": measured.good,
            "judged": measured.judged,
            "good_per_s": round(measured.window_good / seconds, 3),
        },
        "latency_ms": {
            metric.value: _latency_figures(histogram)
            for metric, histogram in measured.histograms.items()
        },
        "truth": _truth_figures(findings),
        "timeline": _timeline_figures(measured),
    }


def step_of(level: dict[str, Any]) -> Step:
    """Return what the knee is judged by."""
    goodput = level["goodput"]
    is_judged = goodput["judged"] and goodput["limits_ms"]
    return Step(
        level["level"],
        level["tokens_per_s"],
        level["errors"] / level["streams"] if level["streams"] else 0.0,
        goodput["good"] / goodput["judged"] if is_judged else 1.0,
    )


def is_clean(level: dict[str, Any]) -> bool:
    """Return whether nothing was found that must not be."""
    truth = level["truth"]
    wrong = ("orphans", "billing_errors", "wrong_texts")
    booked = ("balance_error_microcredits", "held_left_microcredits")
    is_sound = not any(truth[name] for name in (*wrong, *booked))
    return is_sound and truth["ledger"] is not False and not level["outcomes"]["wrong"]


def _latency_figures(histogram: Histogram) -> dict[str, Any]:
    """Return count, mean, percentiles and maximum, and the distribution in logarithmic bars."""
    count = histogram.count
    times = histogram.percentiles_ms(list(PERCENTILES.values()))
    return {
        "count": count,
        "mean": round(histogram.mean_ms(), 3) if count else None,
        **{
            name: round(time, 3) if count else None
            for name, time in zip(PERCENTILES, times, strict=True)
        },
        "max": round(histogram.max_ms(), 3) if count else None,
        "bars": _bars(histogram) if count else [],
    }


def _truth_figures(findings: Findings) -> dict[str, Any]:
    """Return the columns that come from the upstream's log; None where there was none."""
    unknown = [] if findings.billed else ["billing_errors", "billing_error_microcredits"]
    if findings.unavailable:
        unknown += ["orphans", "unread_tokens", "unread_tokens_max", "wrong_texts"]
    return asdict(findings) | dict.fromkeys(unknown)


def _bars(histogram: Histogram) -> list[list[float]]:
    """Return `[from_ms, to_ms, share]` of each bar that is not empty, rising."""
    shares: dict[int, int] = {}
    for value_ms, number in histogram.values_ms():
        bar = _bar_of(value_ms)
        shares[bar] = shares.get(bar, 0) + number
    return [
        [_EDGES_MS[bar], _EDGES_MS[bar + 1], round(shares[bar] / histogram.count, 6)]
        for bar in sorted(shares)
    ]


_FLOOR_MS = 0.01
_DECADES = 9
_EDGES_MS = [
    round(_FLOOR_MS * 10 ** (bar / _BARS_PER_DECADE), 5)
    for bar in range(_DECADES * _BARS_PER_DECADE)
]
"""From 10 µs up; what is shorter is in the first bar, an hour in the last but few."""


def _bar_of(value_ms: float) -> int:
    return max(0, bisect_right(_EDGES_MS, value_ms) - 1)


def _timeline_figures(measured: Measurements) -> dict[str, Any]:
    timeline = measured.timeline
    return {
        "width_s": timeline.width_s,
        "tokens_per_s": timeline.rates(Mark.TOKENS),
        "live": timeline.live(),
        "errors": [bucket[Mark.ERRORS] for bucket in timeline.buckets],
    }


def _plan_figures(plan: Plan) -> dict[str, Any]:
    after = plan.cancel_after
    return {
        "arrival": plan.load.arrival.value,
        "level_is": "streams" if plan.load.arrival is Arrival.CLOSED else "starts per second",
        "count": plan.count or None,
        "duration_s": plan.duration_s or None,
        "warmup_s": plan.warmup_s,
        "prompt_tokens": [plan.prompt_tokens.low, plan.prompt_tokens.high],
        "max_tokens": [plan.max_tokens.low, plan.max_tokens.high],
        "cancel_fraction": plan.cancel_fraction,
        "cancel_after": {"tokens": after.tokens} if after.tokens else {"seconds": after.seconds},
        "disconnect_fraction": plan.disconnect_fraction,
        "resume_fraction": plan.resume_fraction,
        "observers": plan.observers,
        "seed": plan.seed,
    }
