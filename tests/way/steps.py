"""Steps: where one file of the product calls into another while a stretch is recorded, in order.

A step is a function that was called from another file, or by the event loop; it is counted once, however
often it is called or resumed. How a file divides its own work is no step, but is counted beside them as
functions. A lambda or a comprehension is part of the function that it stands in. Threads that are started
while a `Recorder` is installed are seen too.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

__all__ = ["Recorder", "Step", "Stretch"]

ROOT = Path(__file__).parent.parent.parent
_OURS = (f"{ROOT}/actors/", f"{ROOT}/serve_app/")
_DOUBLES = (f"{ROOT}/actors/simulator/", f"{ROOT}/actors/testing.py")
"""What stands in for a provider or for Ray is not on the way."""


@dataclass(frozen=True, slots=True)
class Step:
    """Args: file: below the root; room: the file's folder."""

    function: str
    file: str
    line: int

    @property
    def room(self) -> str:
        return str(Path(self.file).parent)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the way. Args: functions: how many ran in all, those that are no steps included."""

    name: str
    steps: tuple[Step, ...]
    functions: int

    @property
    def files(self) -> list[str]:
        """Return the files in the order in which they are first entered."""
        return list(dict.fromkeys(step.file for step in self.steps))


class Recorder:
    """Notes the product's functions while a stretch is on."""

    def __init__(self) -> None:
        self._codes: dict[CodeType, bool] | None = None  # Whether it is a step, too.

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Watch this thread, and those that it starts from now on."""
        before = sys.getprofile()
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(before)
            threading.setprofile(None)

    def begin(self) -> None:
        self._codes = {}

    def end(self, name: str) -> Stretch:
        codes, self._codes = self._codes, None
        assert codes is not None, "no stretch was begun"
        return Stretch(
            name, tuple(_step(code) for code, is_step in codes.items() if is_step), len(codes)
        )

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        codes = self._codes
        if codes is None or event != "call":
            return
        code = frame.f_code
        if _is_ours(code) and not code.co_name.startswith("<"):
            codes[code] = codes.get(code, False) or _caller(frame) != code.co_filename


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(_OURS) and not code.co_filename.startswith(_DOUBLES)


def _caller(frame: FrameType) -> str | None:
    """Return the nearest file of ours that the frame was called from, None where it was the loop."""
    while (frame := frame.f_back) is not None:
        if _is_ours(frame.f_code):
            return frame.f_code.co_filename
    return None


def _step(code: CodeType) -> Step:
    file = str(Path(code.co_filename).relative_to(ROOT))
    return Step(code.co_qualname, file, code.co_firstlineno)
