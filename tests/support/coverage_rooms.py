"""Branch coverage per room, and its floors: `python -m tests.support.coverage_rooms [--write]`.

Reads the data that `pytest --cov` left, prints a row per room, and fails where one is below its floor in
`tests/coverage_floors.json`; `--write` raises the floors to what is reached, whole percents, and lowers none.
What runs in Ray's own processes is not seen: rooms are held to what the tests in one process reach.
Coverage is of lines and branches together, as coverage.py counts them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["FLOORS", "below", "raised", "rooms", "shown"]

ROOT = Path(__file__).parent.parent.parent
FLOORS = ROOT / "tests" / "coverage_floors.json"
GOALS = dict.fromkeys(
    (
        "actors/core",
        "actors/registry",
        "actors/replica",
        "actors/ledger",
        "actors/completion",
        "actors/rpc",
    ),
    95,
)


def rooms(files: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the percentage of each room. Args: files: coverage.py's summary of each file, by path."""
    covered: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    for path, summary in files.items():
        room = _room(path)
        covered[room] += summary["covered_lines"] + summary["covered_branches"]
        total[room] += summary["num_statements"] + summary["num_branches"]
    return {room: 100 * covered[room] / total[room] for room in sorted(total) if total[room]}


def below(found: Mapping[str, float], floors: Mapping[str, int]) -> list[str]:
    """Return the rooms that are below their floors; one that is gone is not."""
    return [room for room, floor in floors.items() if found.get(room, 100) < floor]


def raised(found: Mapping[str, float], floors: Mapping[str, int]) -> dict[str, int]:
    """Return floors of the rooms that there are, none of them lower than before."""
    return {room: max(int(reached), floors.get(room, 0)) for room, reached in found.items()}


def shown(found: Mapping[str, float], floors: Mapping[str, int]) -> str:
    lines = [f"{'room':28} {'covered':>8} {'floor':>6} {'goal':>5}"]
    for room, reached in found.items():
        floor, goal = floors.get(room, "-"), GOALS.get(room, "")
        lines.append(f"{room:28} {reached:7.1f}% {floor:>6} {goal:>5}")
    return "\n".join(lines)


def _room(path: str) -> str:
    """Return the folder of two parts that a file is in."""
    parts = Path(path).parts[:-1]
    return "/".join(parts[:2])


def _measured() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(report)]
        subprocess.run(command, cwd=ROOT, check=True)
        files = json.loads(report.read_text())["files"]
    return rooms({path: file["summary"] for path, file in files.items()})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="raise the floors to what is reached")
    options = parser.parse_args()
    floors = json.loads(FLOORS.read_text()) if FLOORS.exists() else {}
    found = _measured()
    print(shown(found, floors))
    if options.write:
        FLOORS.write_text(json.dumps(raised(found, floors), indent=1) + "\n")
        return 0
    lower = below(found, floors)
    if lower:
        print(f"below their floors: {', '.join(lower)}", file=sys.stderr)
    return int(bool(lower))


if __name__ == "__main__":
    sys.exit(main())
