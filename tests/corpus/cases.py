"""The cases, read from the files beside this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["BULLETS", "Case", "Wrong", "cases", "contains"]

BULLETS = ("A", "B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "C")


class Wrong(AssertionError):
    """What came is not what is right; the message says how."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case: `played` says by what, `value` is its line."""

    played: str
    value: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.value["name"])

    @property
    def bullet(self) -> str:
        return str(self.value["bullet"])

    @property
    def report(self) -> str:
        return str(self.value["report"])


def cases() -> list[Case]:
    """Return every case.

    Raises:
        ValueError: a line without what every case has, or a name that is used twice.
    """
    found = list(_read())
    names: set[str] = set()
    for case in found:
        if case.bullet not in BULLETS or not case.report or case.name in names:
            raise ValueError(f"case {case.name}: a bullet, a report and a name of its own are due")
        names.add(case.name)
    return found


def _read() -> Iterator[Case]:
    for path in sorted(Path(__file__).parent.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            if line.strip():
                yield Case(path.stem.partition("-")[0], json.loads(line))


def contains(value: Any, least: Any, path: str = "") -> None:
    """Check that a JSON value has at least what another has.

    Objects may have more members; lists have as many elements, each at least what its counterpart has.

    Raises: Wrong.
    """
    if isinstance(least, dict) and isinstance(value, dict):
        for name, member in least.items():
            if name not in value:
                raise Wrong(f"no {path}{name}; there are {sorted(value)}")
            contains(value[name], member, f"{path}{name}.")
    elif isinstance(least, list) and isinstance(value, list) and len(least) == len(value):
        for index, member in enumerate(least):
            contains(value[index], member, f"{path}{index}.")
    elif value != least or type(value) is not type(least):
        raise Wrong(f"{path.rstrip('.') or 'the body'} is {value!r}, not {least!r}")
