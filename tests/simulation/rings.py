"""A long run: one ring after the other, each with a seed, settings and a process of its own.

A ring that broke is shown again by its own seed, without those before it; several run at once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from multiprocessing import get_context

from actors.core.completion.transitions import TRANSITIONS
from tests.simulation.run import Outcome, transition_name
from tests.simulation.shrink import Trial

__all__ = ["RING_STEPS", "run_rings", "run_trials", "together"]

RING_STEPS = 100_000

_TRIAL_S_MAX = 3_600.0


def run_rings(trial: Trial, jobs: int) -> Iterator[tuple[Trial, Outcome]]:
    """Run all steps, or up to the first ring that breaks; yield each ring and what came of it, in order."""
    with closing(run_trials(list(_rings(trial)), jobs)) as told:
        for ring, outcome in told:
            yield ring, outcome
            if outcome.failure:
                return


def run_trials(trials: Sequence[Trial], jobs: int) -> Generator[tuple[Trial, Outcome], None, None]:
    """Run each in a process of its own, so many at once; yield what came of them, in order.

    Whoever reads no further ends those that run. Raises: TimeoutError: one of them was lost.
    """
    # What a process has done before is no part of what a seed replays: none does a second one.
    with get_context("spawn").Pool(jobs, maxtasksperchild=1) as pool:
        outcomes = pool.imap(Trial.run, trials)
        for trial in trials:
            yield trial, outcomes.next(_TRIAL_S_MAX)


def _rings(trial: Trial) -> Iterator[Trial]:
    """The first has the run's own seed, and each after it one that follows from that."""
    for number, done in enumerate(range(0, trial.steps, RING_STEPS)):
        digest = hashlib.blake2b(f"{trial.seed} {number}".encode(), digest_size=4).digest()
        seed = int.from_bytes(digest, "big") if number else trial.seed
        yield replace(trial, seed=seed, steps=min(RING_STEPS, trial.steps - done))


def together(one: Outcome, other: Outcome) -> Outcome:
    """Return what came of both."""

    def added(name: str) -> dict[str, int]:
        return dict(Counter(getattr(one, name)) + Counter(getattr(other, name)))

    transitions = added("transitions")
    return Outcome(
        seed=one.seed,
        steps=one.steps + other.steps,
        failure=one.failure or other.failure,
        trace=hashlib.blake2b(f"{one.trace}{other.trace}".encode(), digest_size=8).hexdigest(),
        seconds=one.seconds + other.seconds,
        counted=added("counted"),
        completions=added("completions"),
        deaths=added("deaths"),
        transitions=transitions,
        transitions_missing=[n for n in map(transition_name, TRANSITIONS) if n not in transitions],
        refusals=added("refusals"),
        rests=one.rests + other.rests,
        texts=added("texts"),
        faults=[],
    )
