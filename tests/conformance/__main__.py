"""`python -m tests.conformance [--only CASE]`: start Midstream, run every case in every dialect, print."""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.conformance.cases import CASES, NotApplicable
from tests.conformance.sdk import SDK_CASES
from tests.dialect_clients import CLIENTS, DialectClient
from tests.instance import Instance, running


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="a case's name, or a part of it", default="")
    arguments = parser.parse_args()
    table = Table("case", *CLIENTS, title="dialect x case")
    has_failed = False
    settings = {"idle_timeout_s": 4.0, "actors_warm": 8}
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        running(Path(folder), settings=settings) as instance,
    ):
        for name in [*CASES, *SDK_CASES]:
            if arguments.only in name:
                row = [outcome(instance, client, name) for client in CLIENTS.values()]
                table.add_row(name, *row)
                has_failed = has_failed or "FAIL" in row
    Console(width=120).print(table)
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
