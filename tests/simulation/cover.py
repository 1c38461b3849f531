"""What a million steps must have seen, and what a run has: a run that met nothing has proven nothing."""

from __future__ import annotations

from tests.simulation.processes import RING_ROLES
from tests.simulation.run import Outcome

__all__ = ["FULL_STEPS", "cover_line", "lacking"]

FULL_STEPS = 1_000_000
_COMPLETIONS = 50_000
_DEATHS = 1_000
"""Of each role."""


def cover_line(outcome: Outcome) -> str:
    """Return what was seen beside what so many steps should see."""
    share = outcome.steps / FULL_STEPS
    deaths = (f"{role.value} {outcome.deaths.get(role.value, 0)}" for role in RING_ROLES)
    return (
        f"completions {sum(outcome.completions.values())} of {_COMPLETIONS * share:.0f}; "
        f"deaths of {_DEATHS * share:.0f} each: {', '.join(deaths)}; "
        f"transitions not taken: {', '.join(outcome.transitions_missing) or 'none'}"
    )


def lacking(outcome: Outcome) -> list[str]:
    """Return what a million steps should have seen and these have not."""
    completions = sum(outcome.completions.values())
    found = [] if completions >= _COMPLETIONS else [f"{completions} completions"]
    for role in RING_ROLES:
        deaths = outcome.deaths.get(role.value, 0)
        if deaths < _DEATHS:
            found.append(f"{deaths} deaths of a {role.value}")
    return [*found, *(f"{name} never taken" for name in outcome.transitions_missing)]
