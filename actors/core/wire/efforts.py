"""How hard a model shall think: the words that each wire format has for it.

A client of another format may have given a budget in tokens, or only said that it wants thinking. A word
that a format does not know becomes its nearest; one that no table has travels as it came, for the
provider to take or refuse.

Source: OpenAI API reference, `reasoning_effort`; Anthropic API reference, "Extended thinking" and
"Effort"; both read 2026-11-25.
"""

from __future__ import annotations

from actors.core.request import CompletionRequest

__all__ = ["effort_of", "for_anthropic"]

_OF_BUDGET = ((2_048, "low"), (16_384, "medium"))
"""The greatest budget that a degree stands for; any above is `high`."""

_FOR_OPENAI = {"max": "xhigh"}
_FOR_ANTHROPIC = {"minimal": "low"}


def effort_of(request: CompletionRequest) -> str | None:
    """Return the degree in OpenAI's words, None where the client said nothing of thinking, or wants none."""
    if request.is_reasoning is False:
        return None
    if request.reasoning_effort is not None:
        return _FOR_OPENAI.get(request.reasoning_effort, request.reasoning_effort)
    budget = request.reasoning_budget_tokens
    if budget is None:
        return "medium" if request.is_reasoning else None
    return next((effort for most, effort in _OF_BUDGET if budget <= most), "high")


def for_anthropic(effort: str) -> str:
    """Return the degree in Anthropic's words; `none` is no degree there."""
    return _FOR_ANTHROPIC.get(effort, effort)
