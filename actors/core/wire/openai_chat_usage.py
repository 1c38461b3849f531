"""OpenAI chat completions, the usage object, both directions.

Owns what the provider's figures mean in ours: `Usage.completion_tokens` excludes reasoning, the
format's `completion_tokens` includes it. Some providers (and this runtime's own chat dialect) leave
it out of theirs; their total tells.

Source: OpenAI API reference, "CompletionUsage"; llama.cpp server README, `timings`; both read
2026-11-22.
"""

from __future__ import annotations

from typing import Any

from actors.core.events import Usage
from actors.core.wire.untrusted import TOKENS_MAX, token_figure

__all__ = ["usage_from", "usage_from_timings", "usage_object"]


def usage_from(value: dict[str, Any]) -> Usage:
    """Return the figures of a `usage` object, whatever is in it."""
    prompt = token_figure(value.get("prompt_tokens"))
    completion = token_figure(value.get("completion_tokens"))
    details = value.get("completion_tokens_details")
    holder = details if isinstance(details, dict) else value
    reasoning = token_figure(holder.get("reasoning_tokens"))
    details = value.get("prompt_tokens_details")
    cached = token_figure(details.get("cached_tokens")) if isinstance(details, dict) else 0
    if reasoning and token_figure(value.get("total_tokens")) != prompt + completion + reasoning:
        completion = max(0, completion - reasoning)
    return Usage(prompt, completion, reasoning, min(cached, prompt))


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
