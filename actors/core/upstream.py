"""What a wire format's decoder tells the driver: one value per piece of upstream bytes.

Everything that one network segment brought travels as one batch, from the socket to the reader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from actors.core.errors import Failure
from actors.core.events import BlockFinished, Delta, FinishReason, Opaque, Usage, UsageReported

__all__ = ["StreamDecoder", "TokenCount", "UpstreamBatch"]

TokenCount = Callable[[str], int]
"""Counts the tokens of a piece of text; our tokenizer."""


@dataclass(frozen=True, slots=True)
class UpstreamBatch:
    """What one segment of upstream bytes meant.

    Args:
        events: in order; deltas carry their tokens, the increments of `running` where the provider
            reports it with each frame, else counted by our tokenizer.
        running: the provider's own running figures after this batch, None where it sends none.
        finish_reason: set once, in the batch that brought it.
        stop_sequence: beside the finish reason, where the provider tells which one it was.
        failure: an error frame, or bytes that are no stream of this wire format. Final.
        is_end: the provider said that nothing more will come.
    """

    events: tuple[Delta | Opaque | BlockFinished | UsageReported, ...] = ()
    running: Usage | None = None
    finish_reason: FinishReason | None = None
    failure: Failure | None = None
    is_end: bool = False
    stop_sequence: str | None = None


class StreamDecoder(Protocol):
    """Incremental: bytes in, batches out, however the bytes were cut. Never raises on bad bytes."""

    def receive_data(self, data: bytes) -> UpstreamBatch: ...

    def receive_eof(self) -> UpstreamBatch:
        """Tell the decoder that the body ended; a stream cut before its finish reason is a failure."""
        ...
