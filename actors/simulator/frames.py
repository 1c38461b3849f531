"""The frames of an answer in its wire format, and the figures that they report.

A fold over the answer's deltas: whoever takes them again gets the same bytes. It must not know time
or connections; whoever takes says how many tokens are due.
"""

from __future__ import annotations

from actors.core.events import Delta, ReasoningDelta, TextDelta, Usage
from actors.simulator.log import RequestEntry
from actors.simulator.models import Ending, SimulatedModel
from actors.simulator.request import Ask, Fault
from actors.simulator.wires.base import FrameWriter

__all__ = ["FAILURE", "Frames", "UsageCount"]

FRAMES_PER_WRITE = 128  # about 25 KB, below the transport's high-water mark of 64 KB

FAILURE = Fault(
    "The simulated model failed, as it always does.", 500, None, "simulated_failure", "server_error"
)


class UsageCount:
    """The provider's own figures of an answer, as far as it went."""

    __slots__ = ("_completion_tokens", "_prompt_tokens", "_reasoning_tokens")

    def __init__(self, prompt_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._completion_tokens = 0
        self._reasoning_tokens = 0

    def add(self, delta: Delta) -> None:
        if isinstance(delta, ReasoningDelta):
            self._reasoning_tokens += delta.tokens
        else:
            self._completion_tokens += delta.tokens

    def figures(self) -> Usage:
        return Usage(self._prompt_tokens, self._completion_tokens, self._reasoning_tokens)


class Frames:
    """The frames of one answer, taken as they come due."""

    def __init__(
        self, entry: RequestEntry, writer: FrameWriter, model: SimulatedModel, ask: Ask
    ) -> None:
        self.tokens_taken = 0
        self.deltas_taken = 0
        self._answer = entry.answer
        self._ending = model.ending
        self._has_running_usage = ask.has_running_usage and model.reports_usage
        self._has_usage = (ask.has_usage or ask.has_running_usage) and model.reports_usage
        self._writer = writer
        self._usage = UsageCount(entry.prompt_tokens)
        self._deltas = iter(entry.answer)
        self._next = next(self._deltas, None)

    @property
    def are_over(self) -> bool:
        """Whether the last frame was taken, or there are none but the end."""
        return self._next is None

    def start(self) -> bytes:
        """Return what comes before the first delta."""
        return self._writer.start(self._usage.figures())

    def take(self, tokens_due: int) -> bytes:
        """Return the deltas' frames that are due, with the answer's end where they are the last."""
        frames: list[bytes] = []
        while self._next is not None and self.tokens_taken < tokens_due:
            if len(frames) >= FRAMES_PER_WRITE:
                break
            frames.append(self._frame(self._next))
            self.tokens_taken += self._next.tokens
            self.deltas_taken += 1
            self._next = next(self._deltas, None)
        if self._next is None:
            frames.append(self._end())
        return b"".join(frames)

    def _frame(self, delta: Delta) -> bytes:
        self._usage.add(delta)
        usage = self._usage.figures() if self._has_running_usage else None
        return self._writer.delta(delta, usage)

    def _end(self) -> bytes:
        match self._ending:
            case Ending.FINISH:
                usage = self._usage.figures() if self._has_usage else None
                return self._writer.finish(self._answer.finish_reason, usage)
            case Ending.ERROR_FRAME:
                return self._writer.failure(FAILURE)
            case Ending.HALF_FRAME:
                frame = self._writer.delta(TextDelta(0, " half", 1), None)
                return frame[: len(frame) // 2]
        return b""
