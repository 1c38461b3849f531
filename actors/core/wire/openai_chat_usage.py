"""OpenAI chat completions, the usage object, both directions.

Owns what the provider's figures mean in ours: `Usage.completion_tokens` excludes reasoning, the
format's `completion_tokens` includes it. Some providers (and this runtime's own chat dialect) leave
it out of theirs; their total tells.

Rules: a figure that is no whole number at or above 0 counts as 0, and none is above
`TOKENS_MAX`, so that no provider can make an amount overflow.

Source: OpenAI API reference, "CompletionUsage"; llama.cpp server README, `timings`; both read
2026-11-22.
"""

from __future__ import annotations

from typing import Any

from actors.core.events import Usage

__all__ = ["TOKENS_MAX", "usage_from", "usage_from_timings", "usage_object"]

TOKENS_MAX = 2**31 - 1


def usage_from(value: dict[str, Any]) -> Usage:
    """Return the figures of a `usage` object, whatever is in it."""
    prompt = _tokens(value, "prompt_tokens")
    completion = _tokens(value, "completion_tokens")
    details = value.get("completion_tokens_details")
    reasoning = _tokens(details if isinstance(details, dict) else value, "reasoning_tokens")
    details = value.get("prompt_tokens_details")
    cached = _tokens(details, "cached_tokens") if isinstance(details, dict) else 0
    if reasoning and _tokens(value, "total_tokens") != prompt + completion + reasoning:
        completion = max(0, completion - reasoning)
    return Usage(prompt, completion, reasoning, min(cached, prompt))


def usage_from_timings(value: dict[str, Any]) -> Usage:
    """Return the figures of llama.cpp's `timings`; the part of a prompt it had cached is apart."""
    cached = _tokens(value, "cache_n")
    prompt = min(_tokens(value, "prompt_n") + cached, TOKENS_MAX)
    return Usage(prompt, _tokens(value, "predicted_n"), 0, cached)


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


def _tokens(value: dict[str, Any], name: str) -> int:
    figure = value.get(name)
    if type(figure) is not int or figure < 0:  # `type`, since a bool is an int.
        return 0
    return min(figure, TOKENS_MAX)
