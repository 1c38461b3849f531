"""How far one machine goes, and what each further stream costs: `python -m tests.benchmarks.scale`.

Parts, each a table or some (`--only live,soak`):

- live: CPU per token and per start, and memory per stream, as live streams grow, dense and strict.
- pool: what a start takes with the pool warm, and how fast the pool refills; strict.
- two_thousand: as many live streams, a reader each that checks every token, for a time.
- cancel: from its POST until the upstream is closed, it is acknowledged, the reader is told.
- observers: what a token costs by how many readers its stream has.
- slow_reader: the others' relay lag beside a reader at a tenth of the speed.
- nodes: what a start and a cancel cost by nodes; needs network namespaces.
- soak: memory and descriptors at a steady rate of starts.
- paper: what 100 and 1,000 nodes would ask of registry and ledger, from the constants of `live`.

Nothing here asserts how long anything takes. The exit code is 1 where a token was lost, a word was
another's, or a charge was not exact.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import fields, replace
from pathlib import Path

from tests.benchmarks import (
    scale_cancel,
    scale_nodes,
    scale_pool,
    scale_readers,
    scale_soak,
    scale_two_thousand,
)
from tests.benchmarks.fleet import ensure_descriptors
from tests.benchmarks.scale_live import (
    Live,
    dense_settings,
    measure,
    strict_settings,
    strict_slots,
    wait_for_pool,
)
from tests.benchmarks.scale_live_tables import print_live
from tests.benchmarks.scale_paper import print_paper
from tests.benchmarks.sizes import QUICK, Sizes
from tests.support.instance import Instance, running

PARTS = (
    "live",
    "pool",
    "two_thousand",
    "cancel",
    "observers",
    "slow_reader",
    "nodes",
    "soak",
    "paper",
)
MODES = ("dense", "strict")

_ON_A_DENSE_INSTANCE: dict[str, Callable[[Instance, Sizes], bool]] = {
    "two_thousand": scale_two_thousand.run,
    "cancel": scale_cancel.run,
    "observers": scale_readers.observers,
    "slow_reader": scale_readers.slow_reader,
    "soak": scale_soak.run,
}


def main() -> None:
    # What was started is stopped also when this is asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("It was told to end."))
    arguments = _arguments()
    sizes = _sizes(arguments)
    ensure_descriptors(max(sizes.streams, *sizes.dense_levels, *sizes.cancel_levels))
    with _dense_instances(sizes, is_shared=arguments.quick) as dense:
        is_clean = _run(arguments.only, arguments.modes, sizes, dense)
    if not is_clean:
        sys.exit("Something was lost, wrong or not charged exactly: see the tables.")


def _run(parts: Sequence[str], modes: Sequence[str], sizes: Sizes, dense: Dense) -> bool:
    is_clean = True
    lives: list[Live] = []
    if "live" in parts or "paper" in parts:
        for mode in modes:
            lives.append(_dense_live(sizes, dense) if mode == "dense" else _strict_live(sizes))
            print_live(lives[-1], sizes)
    if "pool" in parts:
        with _running(scale_pool.pool_settings(sizes)) as instance:
            scale_pool.run(instance, sizes)
    for part, do in _ON_A_DENSE_INSTANCE.items():
        if part in parts:
            with dense() as instance:
                is_clean = do(instance, sizes) and is_clean
    if "nodes" in parts:
        is_clean = scale_nodes.run(sizes) and is_clean
    if "paper" in parts:
        print_paper(lives, sizes)
    return is_clean


def _dense_live(sizes: Sizes, dense: Dense) -> Live:
    with dense() as instance:
        return asyncio.run(measure(instance, "dense", sizes.dense_levels, sizes))


def _strict_live(sizes: Sizes) -> Live:
    slots = strict_slots(sizes)
    with _running(strict_settings(slots)) as instance:
        wait_for_pool(instance, slots)
        return asyncio.run(measure(instance, "strict", sizes.strict_levels, sizes))


Dense = Callable[[], AbstractContextManager[Instance]]
"""Gives an instance that runs dense."""


@contextmanager
def _dense_instances(sizes: Sizes, *, is_shared: bool) -> Iterator[Dense]:
    """Yield what starts one for each part: what a part leaves in memory is not the next one's.

    Args:
        is_shared: one for all instead, since to start one takes longer than a quick part.
    """
    settings = dense_settings(sizes)
    if not is_shared:
        yield lambda: _running(settings)
        return
    with ExitStack() as stack:
        made: list[Instance] = []

        def shared() -> AbstractContextManager[Instance]:
            if not made:
                made.append(stack.enter_context(_running(settings)))
            return nullcontext(made[0])

        yield shared


@contextmanager
def _running(settings: dict[str, object]) -> Iterator[Instance]:
    with (
        tempfile.TemporaryDirectory(prefix="ms", dir="/tmp") as folder,
        running(Path(folder), settings=settings) as instance,
    ):
        yield instance


# The command line.

_COUNTS = (
    "rounds",
    "pool_warm",
    "streams",
    "cancels",
    "neighbours",
    "observed_streams",
    "nodes",
    "seed",
)
_SECONDS = ("window_s", "seconds", "ramp_s", "slow_s", "soak_s", "soak_rate")
_LEVELS = ("dense_levels", "strict_levels", "cancel_levels", "observers")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=_some_of(PARTS), default=PARTS, metavar="PART,...")
    parser.add_argument("--modes", type=_some_of(MODES), default=MODES, help="of live and paper")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it works")
    for names, kind in ((_COUNTS, int), (_SECONDS, float), (_LEVELS, _levels)):
        for name in names:
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, dest=name)
    return parser.parse_args()


def _sizes(arguments: argparse.Namespace) -> Sizes:
    given = {f.name: getattr(arguments, f.name, None) for f in fields(Sizes)}
    base = QUICK if arguments.quick else Sizes()
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def _some_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{unknown.pop()!r} is none of {', '.join(known)}")
        return names

    return parse


def _levels(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(level) for level in text.split(",")}))


if __name__ == "__main__":
    main()
