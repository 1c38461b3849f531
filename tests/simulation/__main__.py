"""`python -m tests.simulation --steps N --seed S [--planted NAME]`: prints the seed, what it covered, and
a failure as the smallest command that still shows it.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import warnings
from collections.abc import Callable
from functools import reduce

from tests.simulation.cover import FULL_STEPS, cover_line, lacking
from tests.simulation.faults import Kind
from tests.simulation.planted import PLANTED
from tests.simulation.rings import RING_STEPS, run_rings, run_trials, together
from tests.simulation.run import Outcome
from tests.simulation.shrink import Trial, shrink

_PLANTED_STEPS = 100_000


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="drawn if not given")
    parser.add_argument(
        "--without", action="append", default=[], choices=[k.value for k in Kind], metavar="FAULT"
    )
    parser.add_argument(
        "--faults", type=numbers, default=None, metavar="N,N", help="only these happen, or none"
    )
    parser.add_argument("--clients", type=int, default=None, help="at once at the most")
    parser.add_argument(
        "--planted", choices=[*PLANTED, "all"], metavar="NAME", help=", ".join([*PLANTED, "all"])
    )
    parser.add_argument("--log", action="store_true", help="print every step")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument(
        "--jobs", type=int, default=2, help=f"processes; each runs a ring of {RING_STEPS:,} steps"
    )
    args = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of names is part of what a seed must replay.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    if args.planted == "all":
        return find_all(seed, args.jobs)
    without = frozenset(Kind(value) for value in args.without)
    trial = Trial(seed, args.steps, without, args.clients, args.planted, args.faults)
    outcome, broken = run_all(trial, args.jobs, print if args.log else None)
    show(outcome)
    if broken is not None:
        print(f"again: {broken[0].command}", flush=True)
        if not args.no_shrink:
            smaller = shrink(*broken, lambda line: print(line, flush=True))
            print(f"smallest: {smaller.command}\nits steps, one a line, with: --log")
        return 1
    found = lacking(outcome) if args.steps >= FULL_STEPS else []
    if found:
        print(f"SEEN TOO LITTLE: {', '.join(found)}")
    return 1 if found else 0


def run_all(
    trial: Trial, jobs: int, log: Callable[[str], None] | None
) -> tuple[Outcome, tuple[Trial, Outcome] | None]:
    """Return what came of all rings, and the one that broke."""
    if trial.steps <= RING_STEPS:
        outcome = trial.run(log)
        return outcome, (trial, outcome) if outcome.failure else None
    told = []
    for ring, outcome in run_rings(trial, jobs):
        show_ring(ring, outcome)
        told.append(outcome)
    return reduce(together, told), (ring, outcome) if outcome.failure else None


def numbers(text: str) -> frozenset[int]:
    return frozenset() if text == "none" else frozenset(map(int, text.split(",")))


def show_ring(trial: Trial, outcome: Outcome) -> None:
    """Print a line of one ring of many."""
    print(
        f"ring of seed {trial.seed}: {outcome.steps} steps in {outcome.seconds:.0f} s, "
        f"{sum(outcome.completions.values())} completions, {sum(outcome.deaths.values())} deaths",
        flush=True,
    )


def find_all(seed: int, jobs: int) -> int:
    """Plant one bug after the other; print what each patches, at which step it was found, and by what."""
    trials = [Trial(bug.seed or seed, _PLANTED_STEPS, plant=name) for name, bug in PLANTED.items()]
    missed = 0
    for trial, outcome in run_trials(trials, jobs):
        bug = PLANTED[trial.plant or ""]
        is_found = bug.is_found_by(outcome.failure)
        missed += not is_found
        word = f"{outcome.steps:>6}" if is_found else "MISSED"
        shown = (outcome.failure or "nothing broke")[:100].splitlines()[0]
        print(f"{trial.plant:<27} {bug.patches:<27} {word}  {shown}", flush=True)
    print(f"{len(trials) - missed} of {len(trials)} were found")
    return 1 if missed else 0


def show(outcome: Outcome) -> None:
    rate = outcome.steps / outcome.seconds if outcome.seconds else 0
    print(f"{outcome.steps} steps in {outcome.seconds:.1f} s ({rate:.0f}/s), trace {outcome.trace}")
    print(f"steps        {_counts(outcome.counted)}")
    print(f"completions  {sum(outcome.completions.values())}: {_counts(outcome.completions)}")
    print(f"deaths       {_counts(outcome.deaths)}; {outcome.rests} rests")
    print(f"texts        {_counts(outcome.texts)}")
    print(f"transitions  {_counts(outcome.transitions)}")
    print(f"refusals     {_counts(outcome.refusals)}")
    print(f"cover        {cover_line(outcome)}")
    if outcome.failure:
        print(f"BROKEN at step {outcome.steps}: {outcome.failure}", flush=True)


def _counts(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count}" for name, count in ordered)


if __name__ == "__main__":
    status = main()
    warnings.simplefilter("ignore")  # The dead still have coroutines that nobody will await.
    sys.exit(status)
