"""Prints a row for every case: its kind, its name, where it was met, pass or fail."""

from __future__ import annotations

import sys
from collections import Counter

from tests.corpus.cases import BULLETS, cases
from tests.corpus.players import fault


def main(words: list[str]) -> int:
    passed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for case in cases():
        row = f"{case.bullet:<3} {case.played:<9} {case.name:<44} {case.report}"
        if not all(word in row for word in words):
            continue
        wrong = fault(case)
        (passed if wrong is None else failed)[case.bullet] += 1
        print(f"{'pass' if wrong is None else 'FAIL'}  {row}", flush=True)
        if wrong is not None:
            print(f"      {wrong}", flush=True)
    print()
    for bullet in BULLETS:
        print(f"{bullet:<3} {passed[bullet]:>4} passed {failed[bullet]:>4} failed")
    print(f"all {passed.total():>4} passed {failed.total():>4} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
