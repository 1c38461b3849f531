"""Makes a failure smaller: fewer faults, fewer clients, and with them fewer steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.simulation.faults import Kind
from tests.simulation.run import Outcome, run

__all__ = ["Trial", "shrink"]

_CLIENTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Trial:
    """How a run was made."""

    seed: int
    steps: int
    without: frozenset[Kind] = frozenset()
    clients: int | None = None
    plant: str | None = None

    @property
    def command(self) -> str:
        parts = [f"python -m tests.simulation --seed {self.seed} --steps {self.steps}"]
        parts += [f"--without {kind.value}" for kind in sorted(self.without)]
        parts += [f"--clients {self.clients}"] if self.clients else []
        parts += [f"--planted {self.plant}"] if self.plant else []
        return " ".join(parts)

    def run(self, log: Callable[[str], None] | None = None) -> Outcome:
        return run(
            self.seed,
            self.steps,
            kinds=frozenset(Kind) - self.without,
            clients=self.clients,
            plant=self.plant,
            log=log,
        )


def shrink(failed: Trial, outcome: Outcome, say: Callable[[str], None]) -> Trial:
    """Return the smallest trial that still fails, among those with less of everything."""
    best = replace(failed, steps=outcome.steps + 1)
    for kind in Kind:
        best = _tried(best, replace(best, without=best.without | {kind}), say)
    for clients in _CLIENTS:
        smaller = _tried(best, replace(best, clients=clients), say)
        if smaller is not best:
            return smaller
    return best


def _tried(best: Trial, trial: Trial, say: Callable[[str], None]) -> Trial:
    outcome = trial.run()
    if outcome.failure is None or outcome.steps > best.steps:
        return best
    say(f"still broken after {outcome.steps} steps: {outcome.failure[:120]}")
    return replace(trial, steps=outcome.steps + 1)
