"""Anthropic Messages, the usage object, both directions.

Owns what the provider's figures mean in ours: the format's `input_tokens` excludes what was read
from a cache or written to one, our prompt includes both; its `output_tokens` includes thinking, our
`completion_tokens` does not.

Rules: a later object replaces the figures that it has; those that it leaves out, or gives as 0, stay as
they were.
What has no place in ours is kept as the provider named it, at most `_RAW_MAX` figures.

Source: Anthropic API reference, "Messages", `usage`; the `Usage` and `MessageDeltaUsage` types of
Anthropic's Python SDK 2.12; both read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actors.core.events import Usage
from actors.core.wire.untrusted import TOKENS_MAX, token_figure

__all__ = ["usage_from", "usage_object"]

_NONE = Usage()

_RAW_MAX = 16
_RAW_NAME_LENGTH_MAX = 64

_PLACED = frozenset(
    {
        "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
        "output_tokens_details", "cache_creation",
    }
)  # fmt: skip


_SHOWN = frozenset({"server_tool_use"})
"""Objects of figures that have no place in ours and that clients of this format read."""


def usage_from(value: dict[str, Any], known: Usage = _NONE) -> Usage:
    """Return the figures of a `usage` object, whatever is in it.

    Args: known: what the same answer reported before.
    """
    fresh_before = known.prompt_tokens - known.cached_tokens - known.cache_write_tokens
    cached = _later(value, "cache_read_input_tokens", known.cached_tokens)
    split = value.get("cache_creation")
    hour, minutes = _split(split) if isinstance(split, dict) else (0, 0)
    hour = hour or known.cache_write_1h_tokens
    written = _later(value, "cache_creation_input_tokens", known.cache_write_tokens)
    written = max(written, hour + minutes)
    fresh = _later(value, "input_tokens", fresh_before)
    prompt = min(fresh + cached + written, TOKENS_MAX)
    details = value.get("output_tokens_details")
    reasoning = _thinking(details) if isinstance(details, dict) else known.reasoning_tokens
    output_before = known.completion_tokens + known.reasoning_tokens
    output = _later(value, "output_tokens", output_before)
    reasoning = min(reasoning, output)
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    raw = _raw(value, known.raw)
    hour = min(hour, written)
    return Usage(prompt, output - reasoning, reasoning, cached, written, raw, hour)


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return the `usage` object as the format has it; thinking only where there was any.

    What the provider reported beside, in this format's own words, stands where it stood there.
    """
    cached, written = usage.cached_tokens, usage.cache_write_tokens
    value: dict[str, Any] = {
        "input_tokens": max(0, usage.prompt_tokens - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
    }
    if written:
        hour = usage.cache_write_1h_tokens
        value["cache_creation"] = {
            "ephemeral_5m_input_tokens": written - hour,
            "ephemeral_1h_input_tokens": hour,
        }
    for name, figure in usage.raw:
        outer, _, inner = name.partition(".")
        if outer in _SHOWN and inner:
            value.setdefault(outer, {})[inner] = figure
    value["output_tokens"] = usage.completion_tokens + usage.reasoning_tokens
    if usage.reasoning_tokens:
        # Two names for one figure: Anthropic's, and the one of servers that copy OpenAI's.
        value["output_tokens_details"] = {
            "thinking_tokens": usage.reasoning_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
        }
    return value


def _later(value: dict[str, Any], name: str, known: int) -> int:
    return token_figure(value.get(name)) or known


def _split(value: dict[str, Any]) -> tuple[int, int]:
    """Return what of a write is kept for an hour, and what for five minutes."""
    hour = token_figure(value.get("ephemeral_1h_input_tokens"))
    return hour, token_figure(value.get("ephemeral_5m_input_tokens"))


def _thinking(details: dict[str, Any]) -> int:
    thinking = token_figure(details.get("thinking_tokens"))
    return thinking or token_figure(details.get("reasoning_tokens"))


def _raw(value: dict[str, Any], known: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    figures = dict(known)
    for name, figure in _others(value):
        if name in figures or len(figures) < _RAW_MAX:
            figures[name] = figure
    return tuple(figures.items())


def _others(value: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the figures that have no place in ours, those of an inner object as `outer.inner`."""
    for name, member in value.items():
        if name in _PLACED:
            continue
        inner = member.items() if isinstance(member, dict) else ()
        figures = [(name, member), *((f"{name}.{key}", figure) for key, figure in inner)]
        for path, figure in figures:
            is_figure = type(figure) is int and 0 <= figure <= TOKENS_MAX
            if is_figure and len(path) <= _RAW_NAME_LENGTH_MAX and path.isascii():
                yield path, figure
