"""OpenAI Responses, the usage object, both directions.

Owns what the provider's figures mean in ours: `Usage.completion_tokens` excludes reasoning, the
format's `output_tokens` includes it. Two families of detail members are in use, OpenAI's and that of
gateways which keep the chat names; both are read, and both are written, all members always.

Rules: what is a figure at all, `untrusted` says; of
figures that have no place in `Usage` at most `_RAW_MAX` are kept, by dotted names.

Source: OpenAI API reference, "Response usage"; contract of the Responses dialect, section 3; both
read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from actors.core.events import Usage
from actors.core.wire.untrusted import token_figure

__all__ = ["usage_from", "usage_object"]

_RAW_MAX = 16
_RAW_NAME_MAX = 64

_INPUT = ("input_tokens_details", "prompt_tokens_details")
_OUTPUT = ("output_tokens_details", "completion_tokens_details")

_KNOWN = frozenset(
    {"input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "total_tokens"}
    | {f"{family}.{name}" for family in _INPUT for name in ("cached_tokens", "cache_write_tokens")}
    | {f"{family}.reasoning_tokens" for family in _OUTPUT}
)
"""Figures that `Usage` has a place for."""


def usage_from(value: Mapping[str, Any]) -> Usage:
    """Return the figures of a `usage` object, whatever is in it."""
    figures = dict(_figures(value))
    prompt = figures.get("input_tokens", 0) or figures.get("prompt_tokens", 0)
    output = figures.get("output_tokens", 0) or figures.get("completion_tokens", 0)
    reasoning = _first(figures, _OUTPUT, "reasoning_tokens")
    if reasoning > output or figures.get("total_tokens") == prompt + output + reasoning:
        completion = output  # A server that leaves reasoning out of its output.
    else:
        completion = max(0, output - reasoning)
    raw = tuple(figure for figure in figures.items() if figure[0] not in _KNOWN)
    return Usage(
        prompt,
        completion,
        reasoning,
        min(_first(figures, _INPUT, "cached_tokens"), prompt),
        min(_first(figures, _INPUT, "cache_write_tokens"), prompt),
        raw[:_RAW_MAX],
    )


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return the `usage` object with all members of both families, 0 where unknown."""
    raw = dict(usage.raw)
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens + usage.reasoning_tokens,
        "total_tokens": usage.total_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "prompt_tokens_details": {
            "audio_tokens": _first(raw, _INPUT, "audio_tokens"),
            "cached_tokens": usage.cached_tokens,
            "image_tokens": _first(raw, _INPUT, "image_tokens"),
            "text_tokens": _first(raw, _INPUT, "text_tokens"),
        },
        "completion_tokens_details": {
            "accepted_prediction_tokens": _first(raw, _OUTPUT, "accepted_prediction_tokens"),
            "audio_tokens": _first(raw, _OUTPUT, "audio_tokens"),
            "reasoning_tokens": usage.reasoning_tokens,
            "rejected_prediction_tokens": _first(raw, _OUTPUT, "rejected_prediction_tokens"),
        },
        "raw_usage": raw,
    }


def _figures(value: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield every figure above 0 of the object and of the objects in it, by dotted name."""
    for name, member in value.items():
        if len(name) > _RAW_NAME_MAX:
            continue
        if isinstance(member, dict):
            for inner, value_ in member.items():
                if len(inner) <= _RAW_NAME_MAX and (figure := token_figure(value_)):
                    # What a gateway calls raw already has the name that its provider gave.
                    yield (inner if name == "raw_usage" else f"{name}.{inner}"), figure
        elif figure := token_figure(member):
            yield name, figure


def _first(figures: Mapping[str, int], families: tuple[str, ...], name: str) -> int:
    """Return the first figure of that name that says something."""
    return next((n for family in families if (n := figures.get(f"{family}.{name}", 0))), 0)
