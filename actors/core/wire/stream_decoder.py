"""Reading a streamed answer, whatever the wire format: bytes in, batches out.

Owns what the formats share: the frames that bytes make, when an answer is over, which block is open.
It must not know what is in a frame; that is each format's own.

Rules:
- Nothing that a provider sends raises. What is no stream of the format is a failure, which is final,
  as is the end: what comes after either is ignored.
- Blocks are numbered from 0 in the order in which they open; one is open at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum
from typing import Any, Generic, TypeVar

from actors.core.errors import Failure
from actors.core.events import BlockFinished, Delta, FinishReason, Opaque, Usage, UsageReported
from actors.core.sse import FrameTooLarge, ServerSentEvent, SSEDecoder
from actors.core.upstream import TokenCount, UpstreamBatch
from actors.core.wire.failures import BROKEN_STREAM
from actors.core.wire.untrusted import Broken

__all__ = ["DONE", "Batch", "Stage", "WireStreamDecoder", "finish_reason_of"]

DONE = "[DONE]"
_NOTHING = UpstreamBatch()

_BROKEN_OFF = frozenset({"abort", "cancelled", "error"})
"""What vLLM, SGLang, OpenRouter and this runtime call an answer that did not end by itself. To take it
for a proper end would charge for it in full."""


class Stage(Enum):
    ANSWER = "answer"  # before the finish reason
    FINISHED = "finished"  # after it: usage and the end may still come
    OVER = "over"  # the end or a failure


class Batch:
    """An `UpstreamBatch` in the making."""

    __slots__ = ("events", "finish_reason", "is_end", "running", "stop_sequence")

    def __init__(self) -> None:
        self.events: list[Delta | Opaque | BlockFinished | UsageReported] = []
        self.running: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.stop_sequence: str | None = None
        self.is_end = False

    def frozen(self, failure: Failure | None) -> UpstreamBatch:
        return UpstreamBatch(
            tuple(self.events),
            self.running,
            self.finish_reason,
            failure,
            self.is_end,
            self.stop_sequence,
        )


Open = TypeVar("Open")
"""What a format tells its open block by."""


class WireStreamDecoder(ABC, Generic[Open]):
    """One answer's decoder; implements `actors.core.upstream.StreamDecoder`.

    Args:
        count: our tokenizer.
        frame_bytes_max: bound of one frame; a longer one is a failure.
    """

    def __init__(self, count: TokenCount, *, frame_bytes_max: int) -> None:
        self._count = count
        self._sse = SSEDecoder(frame_bytes_max)
        self._stage = Stage.ANSWER
        self._block = -1  # The block that opened last.
        self._open: Open | None = None  # What it is, while it is open.
        self._signature = ""  # What it is sealed with so far.

    def receive_data(self, data: bytes) -> UpstreamBatch:
        """Return what these bytes completed."""
        if self._stage is Stage.OVER:
            return _NOTHING
        try:
            return self._decode(self._sse.receive_data(data))
        except FrameTooLarge as error:
            return self._decode(error.events, BROKEN_STREAM)

    def receive_eof(self) -> UpstreamBatch:
        """Return the end, or the failure of a stream that was cut before it."""
        if self._stage is Stage.OVER:
            return _NOTHING
        return self._read_eof(self._sse.receive_eof())

    def _decode(
        self, frames: list[ServerSentEvent], failure: Failure | None = None
    ) -> UpstreamBatch:
        """Read whole frames up to an end or a failure; `failure` is what came after them."""
        batch = Batch()
        try:
            for frame in frames:
                if frame.data.startswith(DONE):
                    self._end(batch)
                else:
                    self._read_frame(frame, batch)
                if batch.is_end:
                    return batch.frozen(None)
        except Broken as error:
            failure = error.failure
        if failure is not None:
            self._stage = Stage.OVER
        return batch.frozen(failure)

    @abstractmethod
    def _read_frame(self, frame: ServerSentEvent, batch: Batch) -> None:
        """Add what a frame says.

        Raises:
            Broken: the stream cannot be read on.
        """

    def _read_eof(self, cut: ServerSentEvent | None) -> UpstreamBatch:
        """Return what the end of the body means; `cut` is a frame that lacks the empty line after it."""
        if self._stage is Stage.ANSWER:
            return self._decode([], BROKEN_STREAM)
        self._stage = Stage.OVER
        return UpstreamBatch(is_end=True)

    def _finish(self, reason: FinishReason, batch: Batch) -> None:
        self._close_block(batch)
        batch.finish_reason = reason
        self._stage = Stage.FINISHED

    def _end(self, batch: Batch) -> None:
        """Take the provider's word that nothing more will come."""
        if self._stage is Stage.ANSWER:
            raise Broken
        batch.is_end = True
        self._stage = Stage.OVER

    def _open_block(self, what: Open, batch: Batch) -> None:
        """Open the next block, unless the open one is just that."""
        if self._open != what:
            self._close_block(batch)
            self._block += 1
            self._open = what

    def _close_block(self, batch: Batch, *, is_complete: bool = True) -> None:
        if self._open is not None:
            finished = BlockFinished(self._block, is_complete, self._signature or None)
            batch.events.append(finished)
            self._open, self._signature = None, ""


def finish_reason_of(word: Any, reasons: Mapping[str, FinishReason]) -> FinishReason:
    """Return what a provider's word means; one that is unknown is a proper end.

    Raises:
        Broken: the answer did not end by itself.
    """
    if not isinstance(word, str) or word in _BROKEN_OFF:
        raise Broken
    return reasons.get(word, FinishReason.STOP)
