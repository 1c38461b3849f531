"""Plots as inline SVG: a histogram, a series over time, a curve over levels. Pure.

Colours are classes of the page's own style sheet, so that a plot is right in the light and in the dark.
Each plot has one subject and names its figures; what is under the pointer is told by `<title>`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Curve", "curve_chart", "histogram_chart", "short", "time_chart"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 28.0, 22.0, 26.0
_TICKS = 4
_RATIO_MIN = 8.0
"""Between the ends of a logarithmic axis: what is narrow shall look narrow."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """The area of a plot, and its two scales."""

    width: float
    height: float
    x_low: float
    x_high: float
    y_high: float
    is_log: bool = False

    def x(self, value: float) -> float:
        low, high, value = (self._scaled(one) for one in (self.x_low, self.x_high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return _LEFT + share * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = value / self.y_high if self.y_high else 0.0
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-6)) if self.is_log else value


@dataclass(frozen=True, slots=True)
class Curve:
    """Points over levels; `mark` is the level that is named, None where none is."""

    levels: Sequence[float]
    values: Sequence[float]
    unit: str
    mark: float | None = None
    mark_words: str = ""


def short(value: float) -> str:
    """Return the value in at most five characters or so."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scale = {"G": 1e9, "M": 1e6, "k": 1e3}[unit]
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def histogram_chart(
    bars: Sequence[Sequence[float]], marks: Sequence[tuple[str, float]], label: str
) -> str:
    """Return a distribution over milliseconds, logarithmic, with its percentiles marked.

    Args:
        bars: `[from_ms, to_ms, share]`, rising; at least one.
        marks: name and milliseconds.
    """
    low, high = bars[0][0], max(bars[-1][1], *(value for _, value in marks))
    widen = max(1.0, (_RATIO_MIN * low / high) ** 0.5)
    low, high = low / widen, high * widen
    frame = _Frame(430, 170, low, high, max(bar[2] for bar in bars) * 1.08, is_log=True)
    parts = []
    for start, end, share in bars:
        x, y = frame.x(start), frame.y(share)
        width = max(1.0, frame.x(end) - x - 1.0)
        tip = f"{short(start)} to {short(end)} ms: {share:.2%}"
        parts.append(
            f'<rect class="fill1" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{max(0.5, frame.y(0) - y):.1f}" rx="1"><title>{tip}</title></rect>'
        )
    parts += _marks(frame, marks)
    ticks = [(value, short(value)) for value in _log_ticks(low, high)]
    return _svg(frame, [*_x_axis(frame, ticks, "ms"), *parts], label)


def time_chart(values: Sequence[float], width_s: float, kind: str, label: str) -> str:
    """Return a series over time as a filled line; `kind` is the class of its colour."""
    seconds = max(width_s, len(values) * width_s)
    frame = _Frame(880, 170, 0.0, seconds, _round_up(max(values, default=0.0)))
    points = [
        (frame.x((at + 0.5) * width_s), frame.y(max(0.0, one))) for at, one in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = list(_y_axis(frame))
    if points:
        floor = frame.y(0)
        area = f"{points[0][0]:.1f},{floor:.1f} {line} {points[-1][0]:.1f},{floor:.1f}"
        parts.append(f'<polygon class="area{kind}" points="{area}"/>')
        parts.append(f'<polyline class="line{kind}" points="{line}"/>')
    step = (frame.width - _LEFT - _RIGHT) / max(1, len(values))
    for at, one in enumerate(values):
        tip = f"{at * width_s:g} s: {short(one)}"
        parts.append(
            f'<rect class="tip" x="{_LEFT + at * step:.1f}" y="{_TOP}" width="{step:.2f}" '
            f'height="{frame.height - _TOP - _BOTTOM}"><title>{tip}</title></rect>'
        )
    ticks = [(value, short(value)) for value in _even_ticks(seconds)]
    return _svg(frame, [*_x_axis(frame, ticks, "s"), *parts], label)


def curve_chart(curve: Curve, label: str) -> str:
    """Return values over the levels of a sweep, logarithmic in the level."""
    frame = _Frame(
        430,
        210,
        curve.levels[0],
        curve.levels[-1],
        _round_up(max(curve.values, default=0.0)),
        is_log=True,
    )
    points = [
        (frame.x(level), frame.y(value))
        for level, value in zip(curve.levels, curve.values, strict=True)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [*_y_axis(frame), f'<polyline class="line1" points="{line}"/>']
    for (x, y), level, value in zip(points, curve.levels, curve.values, strict=True):
        is_mark = level == curve.mark
        tip = f"{level:g}: {short(value)} {curve.unit}"
        parts.append(
            f'<circle class="{"knee" if is_mark else "dot"}" cx="{x:.1f}" cy="{y:.1f}" '
            f'r="{6 if is_mark else 3.5}"><title>{escape(tip)}</title></circle>'
        )
        if is_mark:
            parts.append(_text(x, y - 11, curve.mark_words, "mark", _anchor(frame, x)))
    ticks = [(level, f"{level:g}") for level in curve.levels]
    return _svg(frame, [*_x_axis(frame, ticks, ""), *parts], label)


def _marks(frame: _Frame, marks: Sequence[tuple[str, float]]) -> list[str]:
    parts = []
    for row, (name, value) in enumerate(marks):
        x, top = frame.x(max(value, frame.x_low)), 12.0 + 13.0 * row
        parts.append(
            f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 3:.1f}" y2="{frame.y(0):.1f}"/>'
        )
        is_right = x > frame.width * 0.6
        words = f"{name} {short(value)} ms"
        parts.append(
            _text(
                x + (-4 if is_right else 4), top + 4, words, "mark", "end" if is_right else "start"
            )
        )
    return parts


def _x_axis(frame: _Frame, ticks: Sequence[tuple[float, str]], unit: str) -> list[str]:
    floor = frame.y(0)
    parts = [
        f'<line class="axis" x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{floor:.1f}" y2="{floor:.1f}"/>'
    ]
    for value, words in ticks:
        parts.append(_text(frame.x(value), floor + 15, f"{words} {unit}".strip(), "tick", "middle"))
    return parts


def _y_axis(frame: _Frame) -> list[str]:
    parts = []
    for value in _even_ticks(frame.y_high):
        y = frame.y(value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_text(_LEFT - 7, y + 3.5, short(value), "tick", "end"))
    return parts


def _even_ticks(high: float) -> list[float]:
    """Return round figures from 0 to the bound."""
    step = _step(high)
    return [step * tick for tick in range(int(high / step + 1e-9) + 1)]


def _step(high: float) -> float:
    """Return a round distance of which a few make the whole; whole numbers where it has some."""
    least = max(high, 1e-9) / _TICKS
    scale = 10.0 ** math.floor(math.log10(least))
    step = next(factor * scale for factor in (1, 2, 2.5, 5, 10) if factor * scale >= least * 0.999)
    return max(1.0, step) if high >= 1 else step


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
    ticks = [value for value in every if low <= value <= high]
    return ticks[:: max(1, -(-len(ticks) // 6))]


def _round_up(value: float) -> float:
    """Return a round figure that is not below the value, and above 0."""
    if value <= 0:
        return 1.0
    step = _step(value)
    return math.ceil(value / step - 1e-9) * step


def _anchor(frame: _Frame, x: float) -> str:
    if x > frame.width - 60:
        return "end"
    return "start" if x < _LEFT + 40 else "middle"


def _text(x: float, y: float, words: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(frame: _Frame, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {frame.width:g} {frame.height:g}" role="img" '
        f'aria-label="{escape(label, quote=True)}">{"".join(parts)}</svg>'
    )
