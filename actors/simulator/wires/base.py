"""What the simulator needs of a wire format: a parser of bodies and a writer of answers.

One module beside this one per format; the application has the table of them. A format knows bytes
and the neutral ask, and nothing of time, connections or the log: when a frame is sent, and whether
it was, is the simulator's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actors.core.events import Delta, FinishReason, Usage
from actors.simulator.request import Ask, Fault

__all__ = ["FrameWriter", "Heading", "Wire"]


@dataclass(frozen=True, slots=True)
class Heading:
    """What an answer shows beside what the model says.

    Args: answer_id: to which a format adds its own prefix.
    """

    answer_id: str
    model: str
    created_at_s: float
    ask: Ask


class FrameWriter(Protocol):
    """Writes one answer as a stream: `start`, deltas, then `finish` or `failure`.

    Each call returns whole frames, one or several, each of which ends with an empty line. It must
    be a fold: the same calls give the same bytes.
    """

    def start(self, usage: Usage) -> bytes:
        """Return what travels with the first token; `usage` has the prompt's tokens alone."""
        ...

    def delta(self, delta: Delta, usage: Usage | None) -> bytes:
        """Return the delta's frames; `usage` is there where the client asked for it in each one."""
        ...

    def finish(self, reason: FinishReason, usage: Usage | None) -> bytes:
        """Return the proper end; `usage` is None where none was asked for or the model has none."""
        ...

    def failure(self, fault: Fault) -> bytes:
        """Return the end of an answer that failed on its way."""
        ...


class Wire(Protocol):
    """One wire format. `path` is where its bodies are posted to."""

    path: str

    def parse(self, body: bytes) -> Ask:
        """Read and check a request's body.

        Raises: AskRefused: it is not JSON, or a member is missing or wrong.
        """
        ...

    def writer(self, heading: Heading) -> FrameWriter: ...

    def body(
        self, heading: Heading, deltas: Sequence[Delta], reason: FinishReason, usage: Usage
    ) -> Mapping[str, Any]:
        """Return a whole answer that was not asked for as a stream."""
        ...

    def error_body(self, fault: Fault) -> Mapping[str, Any]:
        """Return the body of an HTTP error."""
        ...
