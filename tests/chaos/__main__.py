"""Strike an instance under load: `python -m tests.chaos --minutes M --seed N`; it prints what came of it."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.run import Options, run
from tests.chaos.table import print_outcome
from tests.support.postgres import PostgresServer, find_binaries


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="drawn if not given")
    parser.add_argument("--streams", type=int, default=200, help="live at every moment")
    parser.add_argument("--pause", type=float, default=4.0, help="seconds each role is left alone")
    parser.add_argument("--at-once", type=int, default=16, help="strikes not recovered from yet")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--nodes", type=int, choices=[1, 3], default=1)
    parser.add_argument(
        "--only", action="append", default=[], metavar="TARGET", help="carriers, ledger, head, ..."
    )
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    with _database(args.store) as database:
        options = Options(
            seconds=args.minutes * 60,
            seed=seed,
            streams=args.streams,
            pause_s=args.pause,
            at_once=args.at_once,
            nodes=args.nodes,
            database=database,
            only=tuple(args.only),
        )
        outcome = run(options)
    print_outcome(outcome)
    return 0 if outcome.is_well else 1


@contextmanager
def _database(store: str) -> Iterator[str]:
    if store == "sqlite":
        yield ""
        return
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL is not installed (no initdb)")
    with tempfile.TemporaryDirectory(prefix="chaos-pg-", ignore_cleanup_errors=True) as name:
        server = PostgresServer(binaries, Path(name))
        try:
            yield server.create_database()
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
