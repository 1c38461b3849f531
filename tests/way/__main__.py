"""Print the way of one streamed chat completion, there and back: `python -m tests.way`."""

from __future__ import annotations

from itertools import groupby

from tests.way.completion import walk
from tests.way.steps import Stretch

__all__ = ["told"]


def told(stretch: Stretch) -> str:
    """Return the steps in order, a heading for each room that is entered."""
    lines = [f"{stretch.name}: {totals(stretch)}", ""]
    number = 0
    for room, steps in groupby(stretch.steps, key=lambda step: step.room):
        lines.append(f"  {room}")
        for step in steps:
            number += 1
            lines.append(f"  {number:4}  {step}")
    return "\n".join([*lines, ""])


def totals(stretch: Stretch) -> str:
    steps, files = len(stretch.steps), len(stretch.files)
    return f"{steps} steps in {files} files ({stretch.functions} functions)"


if __name__ == "__main__":
    for stretch in walk():
        print(told(stretch))
