"""What all encoders have in common: they fold a log into numbered frames, and stop at its end.

    EMPTY  --the first event that opens the stream-->  OPEN  --Finished-->  CLOSED
           what a stream begins with                          what it ends with

Frames are numbered densely from 0, in their `id:`. An event that a dialect's table does not name adds no
frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, ClassVar

from actors.core.errors import CompletionRuntimeError, Failure, FailureCode, IllegalTransition
from actors.core.events import Event, Finished
from actors.core.record import CompletionHeader

__all__ = ["EncoderStage", "FramesByEvent", "NumberingEncoder", "failure_of"]


FramesByEvent = Mapping[type, Callable[[Any, Any], list[bytes]]]


class EncoderStage(Enum):
    EMPTY = "empty"
    OPEN = "open"
    CLOSED = "closed"


class NumberingEncoder(ABC):
    """See `dialects.base.Encoder`. A dialect's own says how a stream begins, and its `_FRAMES`."""

    _FRAMES: ClassVar[FramesByEvent]
    """By kind of event: the frames that it adds, without their numbers."""

    def __init__(self, header: CompletionHeader) -> None:
        self._header = header
        self._stage = EncoderStage.EMPTY
        self._number = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._stage.value}, next frame {self._number}>"

    def encode(self, event: Event) -> list[bytes]:
        if self._stage is EncoderStage.CLOSED:
            raise IllegalTransition(f"{type(event).__name__} after {self!r}")
        frames: list[bytes] = []
        if self._stage is EncoderStage.EMPTY and self._opens(event):
            self._stage = EncoderStage.OPEN
            frames += self._beginning(event)
        frames_of = self._FRAMES.get(type(event))
        if frames_of is not None:
            frames += frames_of(self, event)
        if type(event) is Finished:
            self._stage = EncoderStage.CLOSED
        return self._numbered(frames)

    @abstractmethod
    def interrupted(self, error: CompletionRuntimeError) -> bytes: ...

    def _opens(self, event: Event) -> bool:
        """Return whether the stream begins with this event, as the first."""
        return True

    @abstractmethod
    def _beginning(self, event: Event) -> list[bytes]:
        """Return what a stream begins with, whose first event that tells something is this one."""

    def _numbered(self, frames: list[bytes]) -> list[bytes]:
        first = self._number
        self._number = first + len(frames)
        return [b"id: %d\n%b" % (number, frame) for number, frame in enumerate(frames, first)]


def failure_of(finished: Finished) -> Failure:
    """Return why a completion failed."""
    return finished.error or Failure(FailureCode.INTERNAL, "")
