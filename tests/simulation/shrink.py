"""Makes a failure smaller: fewer steps, kinds of faults, clients, and single faults, until nothing can go.

Whatever is taken away changes what comes after it, so each smaller trial is run and kept only where it
breaks in the same way. What is left is a command that replays, and its log, a script of every step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.simulation.faults import Kind
from tests.simulation.run import Outcome, run

__all__ = ["Trial", "shrink"]

_CLIENTS = (1, 2, 4, 8, 16, 64)

_STEPS_MAX = 1_000_000
"""Steps of all trials together; what is the smallest by then is good enough."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How a run was made; `faults` are the numbers of those that happen, all where it is None."""

    seed: int
    steps: int
    without: frozenset[Kind] = frozenset()
    clients: int | None = None
    plant: str | None = None
    faults: frozenset[int] | None = None

    @property
    def command(self) -> str:
        parts = [f"python -m tests.simulation --seed {self.seed} --steps {self.steps}"]
        parts += [f"--without {kind.value}" for kind in sorted(self.without)]
        parts += [f"--clients {self.clients}"] if self.clients else []
        parts += [f"--planted {self.plant}"] if self.plant else []
        if self.faults is not None:
            parts.append(f"--faults {','.join(map(str, sorted(self.faults))) or 'none'}")
        return " ".join(parts)

    def run(self, log: Callable[[str], None] | None = None) -> Outcome:
        return run(
            self.seed,
            self.steps,
            kinds=frozenset(Kind) - self.without,
            clients=self.clients,
            plant=self.plant,
            faults=self.faults,
            log=log,
        )


def shrink(
    failed: Trial, outcome: Outcome, say: Callable[[str], None], *, steps_max: int = _STEPS_MAX
) -> Trial:
    """Return the smallest trial found that breaks as this one did."""
    shrinking = _Shrinking(failed, outcome, say, steps_max)
    for kind in Kind:
        shrinking.tried(without=shrinking.best.without | {kind})
    for clients in _CLIENTS:
        if shrinking.tried(clients=clients):
            break
    size = len(shrinking.faults)
    while size:
        for less in list(_without_each(shrinking.faults, size)):
            if less < shrinking.faults:
                shrinking.tried(faults=less)
        size = min(size // 2, len(shrinking.faults))
    return shrinking.best


class _Shrinking:
    def __init__(
        self, failed: Trial, outcome: Outcome, say: Callable[[str], None], steps_max: int
    ) -> None:
        self.best = replace(failed, steps=outcome.steps + 1)
        self.faults = frozenset(outcome.faults)
        self._how = _how(outcome)
        self._say = say
        self._steps_left = steps_max

    def tried(self, **less: object) -> bool:
        """Run the best with less of something; keep it where it still breaks, no later."""
        if self._steps_left <= 0:
            return False
        trial = replace(self.best, **less)  # type: ignore[arg-type]
        outcome = trial.run()
        self._steps_left -= outcome.steps
        if _how(outcome) != self._how or outcome.steps > self.best.steps:
            return False
        self.best = replace(trial, steps=outcome.steps + 1)
        self.faults = frozenset(outcome.faults)
        name, value = next(iter(less.items()))
        shown = len(value) if isinstance(value, frozenset) else value
        self._say(f"still broken after {outcome.steps} steps with {name} {shown}")
        return True


def _how(outcome: Outcome) -> str | None:
    """Return in which way it broke: what was said, without names and numbers."""
    if outcome.failure is None:
        return None
    return " ".join(word for word in re.findall(r"[^\s]+", outcome.failure) if word.isalpha())[:60]


def _without_each(faults: frozenset[int], size: int) -> Iterator[frozenset[int]]:
    """Yield the faults without each so many of them, the earliest first."""
    ordered = sorted(faults)
    for start in range(0, len(ordered), size):
        yield faults - frozenset(ordered[start : start + size])
