"""The command line's words for a load test, read: durations, lengths, levels, limits.

Pure; everything that cannot be read is a `PlanError` that names the option.
"""

from __future__ import annotations

import math
import re

from actors.loadtest.plan import CancelAfter, Length, PlanError, Slo

__all__ = [
    "SLO_METRICS",
    "parse_cancel_after",
    "parse_duration",
    "parse_length",
    "parse_levels",
    "parse_slo",
]

SLO_METRICS = ("ttft", "itl", "tpot", "e2e")

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)?", re.ASCII)
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_LENGTH = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", re.ASCII)
_TOKENS = re.compile(r"([0-9]{1,7})(?: ?tokens?)?", re.ASCII)
_LEVELS_MAX = 50
_PROMPT_TOKENS_MAX = 1_000_000


def parse_duration(text: str, option: str) -> float:
    """Return seconds; a number without a unit is seconds."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise PlanError(f"{option} must be a duration such as 30s, 200ms or 2m, not {text!r}.")
    return float(match[1]) * _UNITS_S[match[2]]


def parse_length(text: str, option: str) -> Length:
    """Return `N` or `LOW-HIGH`."""
    match = _LENGTH.fullmatch(text.strip())
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high <= _PROMPT_TOKENS_MAX:
        raise PlanError(f"{option} must be a number of tokens, or LOW-HIGH, not {text!r}.")
    return Length(low, high)


def parse_cancel_after(text: str) -> CancelAfter:
    """Return `N` tokens, or a duration with its unit."""
    if match := _TOKENS.fullmatch(text.strip()):
        if tokens := int(match[1]):
            return CancelAfter(tokens=tokens)
        raise PlanError("--cancel-after must be at least 1 token.")
    try:
        return CancelAfter(seconds=parse_duration(text, "--cancel-after"))
    except PlanError:
        raise PlanError(
            f"--cancel-after must be tokens, such as 8, or a time, such as 500ms, not {text!r}."
        ) from None


def parse_levels(text: str) -> tuple[float, ...]:
    """Return the levels of a sweep, which rise."""
    try:
        levels = tuple(float(part) for part in text.split(","))
    except ValueError:
        levels = ()
    is_usable = all(math.isfinite(level) and level > 0 for level in levels)
    if not levels or not is_usable or list(levels) != sorted(set(levels)):
        raise PlanError(f"--sweep must be numbers that rise, such as 1,8,64, not {text!r}.")
    if len(levels) > _LEVELS_MAX:
        raise PlanError(f"--sweep takes at most {_LEVELS_MAX} levels.")
    return levels


def parse_slo(text: str) -> Slo:
    """Return limits such as `ttft=200ms,itl=50ms`; "" is none."""
    limits: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name.strip() not in SLO_METRICS:
            raise PlanError(f"--slo knows {', '.join(SLO_METRICS)}, not {name.strip()!r}.")
        limits[name.strip()] = parse_duration(value, "--slo")
    return Slo(limits)
