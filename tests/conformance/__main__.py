"""`python -m tests.conformance [--only CASE]`: start Midstream, run every case in every dialect, print.

Twice: as it comes, and under strict contracts, where the primary pages' own behaviour stands.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

from rich.table import Table

from tests.conformance.cases import CASES, NotApplicable
from tests.conformance.sdk import SDK_CASES
from tests.support.consoles import plain_console
from tests.support.dialect_clients import CLIENTS, DialectClient
from tests.support.instance import Instance, running


def outcome(instance: Instance, client: DialectClient, name: str) -> str:
    case = CASES.get(name) or SDK_CASES[name]
    try:
        case(instance, client)
    except NotApplicable as reason:
        return f"- ({reason})"
    except Exception:
        traceback.print_exc()
        return "FAIL"
    return "pass"


def run(mode: str, settings: dict[str, object], only: str) -> bool:
    """Run the cases on an instance of their own and print the table; return whether all held."""
    table = Table("case", *CLIENTS, title=f"dialect x case, {mode}")
    holds = True
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        running(Path(folder), settings=settings) as instance,
    ):
        for name in [*CASES, *SDK_CASES]:
            if only in name:
                row = [outcome(instance, client, name) for client in CLIENTS.values()]
                table.add_row(name, *row)
                holds = holds and "FAIL" not in row
    plain_console(width=120).print(table)
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="a case's name, or a part of it", default="")
    arguments = parser.parse_args()
    settings: dict[str, object] = {"idle_timeout_s": 4.0, "actors_warm": 8}
    modes = {"as it comes": settings, "strict contracts": settings | {"strict_contracts": True}}
    held = [run(mode, changes, arguments.only) for mode, changes in modes.items()]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
