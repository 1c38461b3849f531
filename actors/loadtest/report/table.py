"""A run's figures as tables of text: one row per level, or per level and metric. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["TextTable", "error_lines", "metric_name", "milliseconds", "tables", "verdict"]


class TextTable(NamedTuple):
    """A heading that begins with `#` is of numbers."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


_METRICS = {
    "ttft": "first token",
    "itl": "between tokens",
    "tpot": "per output token",
    "e2e": "end to end",
    "start_lag": "start lag",
    "resume": "leave to resumed",
    "cancel_closed": "cancel to upstream closed",
    "cancel_ack": "cancel to answer",
    "cancel_told": "cancel to reader told",
    "left_closed": "leave to upstream closed",
}
_NOT_AVAILABLE = "n/a"
_PERCENTILES = ("p50", "p90", "p99", "p999", "max")


def metric_name(metric: str) -> str:
    return _METRICS[metric]


def milliseconds(value: float | None) -> str:
    """Return three digits or so, without a unit."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def tables(figures: dict[str, Any]) -> list[TextTable]:
    levels = figures["levels"]
    level_is = "#STREAMS" if figures["plan"]["arrival"] == "closed" else "#STARTS/S"
    return [
        _load_table(levels, level_is, figures["knee"]),
        _latency_table(levels, level_is),
        _truth_table(levels, level_is),
    ]


def error_lines(figures: dict[str, Any]) -> list[str]:
    """Return each error's words and how often it was met, and what is at fault; may be empty."""
    lines: list[str] = []
    for level in figures["levels"]:
        lines += [f"{number} x {words}" for words, number in level["error_messages"].items()]
        for kind, names in level["truth"]["examples"].items():
            lines.append(f"{kind}: {', '.join(names)}")
    return lines


def verdict(figures: dict[str, Any]) -> str:
    """Return one sentence on what was found that must not be, "" where nothing was."""
    found: list[str] = []
    for level in figures["levels"]:
        truth = level["truth"]
        if truth["orphans"]:
            found.append(f"{truth['orphans']} upstream requests outlived their completions")
        if truth["billing_errors"]:
            found.append(
                f"{truth['billing_errors']} completions were charged wrongly, by "
                f"{truth['billing_error_microcredits']} micro-credits in all"
            )
        if truth["balance_error_microcredits"]:
            found.append(
                f"the account lost {truth['balance_error_microcredits']:+d} micro-credits beside "
                "the run's charges"
            )
        if truth["held_left_microcredits"]:
            found.append(f"{truth['held_left_microcredits']:+d} micro-credits more are still held")
        if truth["ledger"] is False:
            found.append("the ledger does not balance")
        wrong = max(truth["wrong_texts"] or 0, level["outcomes"]["wrong"])
        if wrong:
            found.append(f"{wrong} readers did not get what was sent")
    sentence = "; ".join(found)
    return sentence[:1].upper() + sentence[1:] + "." if found else ""


def _level(level: dict[str, Any]) -> str:
    return f"{level['level']:,g}"


_LOAD: dict[str, Callable[[dict[str, Any]], str]] = {
    "#SECONDS": lambda level: f"{level['seconds']:.1f}",
    "#ENDED": lambda level: f"{level['streams']:,}",
    "#STREAMS/S": lambda level: f"{level['streams_per_s']:,.1f}",
    "#TOKENS/S": lambda level: f"{level['tokens_per_s']:,.0f}",
    "#ERRORS": lambda level: f"{level['errors']:,}",
    "#CANCELLED": lambda level: f"{level['outcomes']['cancelled']:,}",
    "#LEFT": lambda level: f"{level['outcomes']['left']:,}",
    "#GOOD": lambda level: _share_of_good(level["goodput"]),
}


def _share_of_good(goodput: dict[str, Any]) -> str:
    is_judged = goodput["limits_ms"] and goodput["judged"]
    return f"{goodput['good'] / goodput['judged']:.1%}" if is_judged else "-"


def _load_table(levels: list[dict[str, Any]], level_is: str, knee: float | None) -> TextTable:
    rows = [
        (
            _level(level),
            *(figure(level) for figure in _LOAD.values()),
            "knee" if level["level"] == knee else "",
        )
        for level in levels
    ]
    return TextTable("Load", (level_is, *_LOAD, "KNEE"), rows)


def _latency_table(levels: list[dict[str, Any]], level_is: str) -> TextTable:
    headings = (level_is, "LATENCY (ms)", "#COUNT", "#P50", "#P90", "#P99", "#P99.9", "#MAX")
    rows = []
    for level in levels:
        for metric in _METRICS:
            latency = level["latency_ms"][metric]
            if latency["count"]:
                times = (milliseconds(latency[name]) for name in _PERCENTILES)
                rows.append((_level(level), _METRICS[metric], f"{latency['count']:,}", *times))
            elif metric == "cancel_closed" and level["latency_ms"]["cancel_ack"]["count"]:
                rows.append((_level(level), _METRICS[metric], *[_NOT_AVAILABLE] * 6))
    return TextTable("Latency, from the intended start", headings, rows)


_TRUTH = {
    "#ORPHANS": "orphans",
    "#BILLING ERROR (µcr)": "billing_error_microcredits",
    "#UNREAD (tokens)": "unread_tokens",
    "#WRONG TEXT": "wrong_texts",
    "#BALANCE ERROR (µcr)": "balance_error_microcredits",
    "#STILL HELD (µcr)": "held_left_microcredits",
}


def _truth_table(levels: list[dict[str, Any]], level_is: str) -> TextTable:
    rows = []
    for level in levels:
        truth = level["truth"]
        ledger = {True: "balances", False: "WRONG", None: _NOT_AVAILABLE}[truth["ledger"]]
        checked = None if truth["unavailable"] else truth["checked"]
        cells = (_figure(value) for value in (checked, *map(truth.get, _TRUTH.values())))
        rows.append((_level(level), *cells, ledger))
    headings = (level_is, "#CHECKED", *_TRUTH, "LEDGER")
    return TextTable("Against the upstream's own log", headings, rows)


def _figure(value: int | None) -> str:
    return _NOT_AVAILABLE if value is None else f"{value:,}"
