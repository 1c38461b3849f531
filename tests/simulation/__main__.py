"""`python -m tests.simulation --steps N --seed S [--planted NAME]`: prints the seed, what it covered, and
a failure as the smallest command that still shows it.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import warnings

from tests.simulation.faults import Kind
from tests.simulation.planted import PLANTED
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
    parser.add_argument("--clients", type=int, default=None, help="at once at the most")
    parser.add_argument(
        "--planted", choices=[*PLANTED, "all"], metavar="NAME", help=", ".join([*PLANTED, "all"])
    )
    parser.add_argument("--log", action="store_true", help="print every step")
    parser.add_argument("--no-shrink", action="store_true")
    args = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of names is part of what a seed must replay.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    if args.planted == "all":
        return find_all(seed)
    without = frozenset(Kind(value) for value in args.without)
    trial = Trial(seed, args.steps, without, args.clients, args.planted)
    outcome = trial.run(print if args.log else None)
    show(outcome)
    if outcome.failure and not args.no_shrink:
        print(f"again: {trial.command}", flush=True)
        smaller = shrink(trial, outcome, lambda line: print(line, flush=True))
        print(f"smallest: {smaller.command}")
    return 1 if outcome.failure else 0


def find_all(seed: int) -> int:
    """Plant one bug after the other; print at which step each was found, and by what."""
    missed = 0
    for name in PLANTED:
        outcome = Trial(seed, _PLANTED_STEPS, plant=name).run()
        missed += outcome.failure is None
        found = f"{outcome.steps:>7}  {outcome.failure}" if outcome.failure else " MISSED"
        print(f"{name:<28} {found[:150]}", flush=True)
    return 1 if missed else 0


def show(outcome: Outcome) -> None:
    rate = outcome.steps / outcome.seconds if outcome.seconds else 0
    print(f"{outcome.steps} steps in {outcome.seconds:.1f} s ({rate:.0f}/s), trace {outcome.trace}")
    print(f"steps        {_counts(outcome.counted)}")
    print(f"completions  {sum(outcome.completions.values())}: {_counts(outcome.completions)}")
    print(f"deaths       {_counts(outcome.deaths)}; {outcome.rests} rests")
    print(f"transitions  {_counts(outcome.transitions)}")
    print(f"refusals     {_counts(outcome.refusals)}")
    missing = ", ".join(outcome.transitions_missing)
    print(f"transitions not taken: {missing or 'none, every one was'}")
    if outcome.failure:
        print(f"BROKEN at step {outcome.steps}: {outcome.failure}", flush=True)


def _counts(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count}" for name, count in ordered)


if __name__ == "__main__":
    status = main()
    warnings.simplefilter("ignore")  # The dead still have coroutines that nobody will await.
    sys.exit(status)
