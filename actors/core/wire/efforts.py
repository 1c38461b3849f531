"""How hard a model shall think, for the wire formats that know degrees of it and no budgets.

A client of another format may have given a budget in tokens, or only said that it wants thinking.

Source: OpenAI API reference, `reasoning_effort`; Anthropic API reference, "Extended thinking"; both
read 2026-11-22.
"""

from __future__ import annotations

from actors.core.request import CompletionRequest

__all__ = ["effort_of"]

_OF_BUDGET = ((2_048, "low"), (16_384, "medium"))
"""The greatest budget that a degree stands for; any above is `high`."""


def effort_of(request: CompletionRequest) -> str | None:
    """Return the degree, None where the client said nothing of thinking, or wants none."""
    if request.is_reasoning is False:
        return None
    if request.reasoning_effort is not None:
        return request.reasoning_effort
    budget = request.reasoning_budget_tokens
    if budget is None:
        return "medium" if request.is_reasoning else None
    return next((effort for most, effort in _OF_BUDGET if budget <= most), "high")
