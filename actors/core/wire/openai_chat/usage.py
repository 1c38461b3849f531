"""OpenAI chat completions, the usage object, both directions.

Owns what the provider's figures mean in ours: `Usage.completion_tokens` excludes reasoning, the
format's `completion_tokens` includes it. Some providers (and this runtime's own chat dialect) leave
it out of theirs; their total tells, or that it is more than the whole.

Source: OpenAI API reference, "CompletionUsage"; llama.cpp server README, `timings`; both read
2026-11-22.
"""

from __future__ import annotations

from typing import Any

from actors.core.events import Usage
from actors.core.wire.untrusted import TOKENS_MAX, token_figure

__all__ = ["usage_from", "usage_from_timings", "usage_object"]


_PROMPT = ("prompt_tokens", "input_tokens")
_COMPLETION = ("completion_tokens", "output_tokens")
_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_COMPLETION_DETAILS = ("completion_tokens_details", "output_tokens_details")
"""The names of one figure, in the order in which they are asked: OpenAI's, DeepSeek's, Moonshot's, those of
gateways that keep Anthropic's."""


def usage_from(value: dict[str, Any]) -> Usage:
    """Return the figures of a `usage` object, whatever is in it."""
    prompt = _first(value, _PROMPT)
    completion = _first(value, _COMPLETION)
    reasoning = _detail(value, _COMPLETION_DETAILS, ("reasoning_tokens",))
    reasoning = reasoning or token_figure(value.get("reasoning_tokens"))
    cached = _detail(value, _PROMPT_DETAILS, ("cached_tokens", "cache_read_tokens"))
    cached = min(cached or _first(value, _CACHED), prompt)
    written = _detail(value, _PROMPT_DETAILS, ("cache_write_tokens", "cache_creation_tokens"))
    written = written or token_figure(value.get("cache_creation_input_tokens"))
    total = token_figure(value.get("total_tokens"))
    # Reasoning is part of the completion, but at servers that leave it out: they count it apart.
    if reasoning <= completion and total != prompt + completion + reasoning:
        completion -= reasoning
    return Usage(prompt, completion, reasoning, cached, min(written, prompt - cached))


def usage_from_timings(value: dict[str, Any]) -> Usage:
    """Return the figures of llama.cpp's `timings`; the part of a prompt it had cached is apart."""
    cached = token_figure(value.get("cache_n"))
    prompt = min(token_figure(value.get("prompt_n")) + cached, TOKENS_MAX)
    return Usage(prompt, token_figure(value.get("predicted_n")), 0, cached)


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return the `usage` object as the format has it; details only where there are any."""
    value: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens + usage.reasoning_tokens,
        "total_tokens": usage.total_tokens,
    }
    if usage.cached_tokens:
        value["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        value["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return value


def _first(value: dict[str, Any], names: tuple[str, ...]) -> int:
    return next((figure for name in names if (figure := token_figure(value.get(name)))), 0)


def _detail(value: dict[str, Any], holders: tuple[str, ...], names: tuple[str, ...]) -> int:
    details = (value.get(holder) for holder in holders)
    return next((n for d in details if isinstance(d, dict) and (n := _first(d, names))), 0)
