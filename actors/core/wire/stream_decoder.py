"""Reading a streamed answer, whatever the wire format: bytes in, batches out.

Owns what the formats share: the frames that bytes make, when an answer is over, which blocks are open.
It must not know what is in a frame; that is each format's own.

Rules:
- Nothing that a provider sends raises. What is no stream of the format is a failure, which is final,
  as is the end: what comes after either is ignored.
- Blocks are numbered from 0 in the order in which they open; several may be open. A text, a thought or
  a refusal closes when any other block opens. A call closes where its provider says so, or when it is
  whole and another block opens; what is open at the finish closes with it. A call that a limit or a
  filter cut is not complete.
- The finish reason agrees with the calls: `stop` beside one is `tool_calls`, and that without one `stop`.
- A body that begins with a brace is no stream: the provider ignored that one was asked for, and sends its
  answer as one JSON object, or as one in each line.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum

from actors.core.errors import Failure
from actors.core.events import (
    BlockFinished,
    Delta,
    FinishReason,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.request import ToolKind
from actors.core.sse import FrameTooLarge, ServerSentEvent, SSEDecoder
from actors.core.upstream import TokenCount, UpstreamBatch
from actors.core.wire.failures import BROKEN_STREAM
from actors.core.wire.untrusted import Broken, whole_text

__all__ = ["Batch", "OpenBlock", "PlainDelta", "Stage", "WireStreamDecoder"]

_DONE = "[DONE]"
_NOTHING = UpstreamBatch()

_BLANK_BYTES = (
    b"\xef\xbb\xbf \t\r\n"  # What may stand before a body: white space, a byte order mark.
)
_BLANK_BYTES_MAX = 64 * 1024  # Some servers send white space while an answer is made.

_CHECKS_MAX = 64  # How often a call is asked whether it is whole, before it has to grow in between.

PlainDelta = TextDelta | ReasoningDelta | RefusalDelta

_CUT = (FinishReason.LENGTH, FinishReason.CONTENT_FILTER)


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


@dataclass(slots=True, eq=False)
class OpenBlock:
    """A block that is open: its number, what it is, and what its next pieces are joined with.

    Args: default: a call's arguments, where no piece of them comes.
    """

    number: int
    kind: type[PlainDelta] | type[ToolCallStarted] | type[Opaque]
    tool_kind: ToolKind = ToolKind.FUNCTION
    default: str = ""
    half: str = ""  # Of a surrogate pair, at the end of the last piece.
    signature: str = ""
    is_stopped: bool = False  # Its provider said so, and yet it may have been cut.
    arguments: list[str] = field(default_factory=list)
    _checks: int = 0
    _checked_length: int = 0

    @property
    def is_call(self) -> bool:
        return self.kind is ToolCallStarted

    def is_whole(self) -> bool:
        """Whether a call's arguments are a JSON object; of other input nobody can tell."""
        if not self.arguments:
            return self.default not in ("", "{}")
        if self.tool_kind is ToolKind.CUSTOM:
            return False
        if not self.arguments[-1].rstrip().endswith("}"):
            return False
        length = sum(map(len, self.arguments))
        if self._checks >= _CHECKS_MAX and length < 2 * self._checked_length:
            return False  # Else a long call among many others would be read again for each of them.
        self._checks, self._checked_length = self._checks + 1, length
        return is_json_object("".join(self.arguments))


class WireStreamDecoder(ABC):
    """One answer's decoder; implements `actors.core.upstream.StreamDecoder`.

    Args:
        count: our tokenizer.
        frame_bytes_max: bound of one frame, and of a body that is no stream; a longer one is a failure.
    """

    def __init__(self, count: TokenCount, *, frame_bytes_max: int) -> None:
        self._count = count
        self._frame_bytes_max = frame_bytes_max
        self._sse = SSEDecoder(frame_bytes_max)
        self._head: bytes | None = b""  # What came before it was known whether this is a stream.
        self._body: bytearray | None = None  # A body that is none.
        self._stage = Stage.ANSWER
        self._blocks = 0  # That were opened so far.
        self._open: dict[int, OpenBlock] = {}
        self._plain: OpenBlock | None = None  # The one that is neither a call nor opaque.
        self._has_call = False  # Whether there is a call that may be made.

    def receive_data(self, data: bytes) -> UpstreamBatch:
        """Return what these bytes completed."""
        if self._stage is Stage.OVER:
            return _NOTHING
        if self._head is not None:
            data = self._sniffed(self._head + data)
        if self._body is not None:
            self._body += data
            is_over = len(self._body) > self._frame_bytes_max
            return self._decode([], BROKEN_STREAM) if is_over else _NOTHING
        try:
            return self._decode(self._sse.receive_data(data))
        except FrameTooLarge as error:
            return self._decode(error.events, BROKEN_STREAM)

    def receive_eof(self) -> UpstreamBatch:
        """Return the end, or the failure of a stream that was cut before it."""
        if self._stage is Stage.OVER:
            return _NOTHING
        if self._body is not None:
            whole = self._body.decode("utf-8", "replace")
            return self._decode(_frames_of_body(whole), is_eof=True)
        cut = self._sse.receive_eof()
        # What lacks only the empty line after it is whole, if it is JSON.
        is_whole = cut is not None and (_is_done(cut.data) or is_json_object(cut.data))
        return self._decode([cut] if cut is not None and is_whole else [], is_eof=True)

    def _sniffed(self, head: bytes) -> bytes:
        """Look at the first bytes; return what is to be read now."""
        begun = head.lstrip(_BLANK_BYTES)
        if not begun and len(head) <= _BLANK_BYTES_MAX:
            self._head = head
            return b""
        self._head = None
        if begun.startswith(b"{"):
            self._body = bytearray()
            return begun
        return head

    def _decode(
        self,
        frames: list[ServerSentEvent],
        failure: Failure | None = None,
        *,
        is_eof: bool = False,
    ) -> UpstreamBatch:
        """Read whole frames up to an end or a failure; `failure` is what came after them."""
        batch = Batch()
        try:
            for frame in frames:
                if _is_done(frame.data):
                    self._end(batch)
                elif frame.event == "error" or frame.data.strip():  # A bare `data:` says nothing.
                    self._read_frame(frame, batch)
                if batch.is_end:
                    return batch.frozen(None)
            if is_eof:
                self._read_eof(batch)
        except Broken as error:
            failure = error.failure
        if failure is not None:
            self._stage = Stage.OVER
        return batch.frozen(failure)

    @abstractmethod
    def _read_frame(self, frame: ServerSentEvent, batch: Batch) -> None:
        """Add what a frame says.

        Raises: Broken: the stream cannot be read on.
        """

    def _read_eof(self, batch: Batch) -> None:
        """Take the end of the body.

        Raises: Broken: the answer was not over.
        """
        self._end(batch)

    def _finish(self, reason: FinishReason, batch: Batch) -> None:
        """Close every block and tell the reason, the one that agrees with the calls."""
        for block in list(self._open.values()):
            is_cut = block.is_call and reason in _CUT and not block.is_whole()
            self._close(block, batch, is_complete=not is_cut)
        if self._has_call and reason is FinishReason.STOP:
            reason = FinishReason.TOOL_CALLS
        elif reason is FinishReason.TOOL_CALLS and not self._has_call:
            reason = FinishReason.STOP
        batch.finish_reason = reason
        self._stage = Stage.FINISHED

    def _end(self, batch: Batch) -> None:
        """Take the provider's word that nothing more will come."""
        if self._stage is Stage.ANSWER:
            raise Broken
        batch.is_end = True
        self._stage = Stage.OVER

    # Blocks.

    def _say_plain(self, kind: type[PlainDelta], text: str, batch: Batch) -> OpenBlock:
        """Add a piece to the open block of that kind, a new one where there is none."""
        block = self._plain
        if block is None or block.kind is not kind:
            block = self._begin(kind, batch)
        self._say(block, text, batch)
        return block

    def _begin(
        self,
        kind: type[PlainDelta] | type[ToolCallStarted] | type[Opaque],
        batch: Batch,
        *,
        tool_kind: ToolKind = ToolKind.FUNCTION,
        default: str = "",
    ) -> OpenBlock:
        """Open a block; those that nothing more can belong to close before it."""
        for other in list(self._open.values()):
            is_over = other.is_call and (other.is_stopped or other.is_whole())
            if is_over or other is self._plain:
                self._close(other, batch)
        block = OpenBlock(self._blocks, kind, tool_kind, default)
        self._blocks += 1
        self._open[block.number] = block
        if kind is not ToolCallStarted and kind is not Opaque:
            self._plain = block
        return block

    def _say(self, block: OpenBlock, text: str, batch: Batch) -> None:
        """Add a piece of text, or of a call's arguments, to an open block."""
        if block.half or not text.isascii():
            text, block.half = whole_text(block.half + text)
        if text:
            self._add(block, text, batch)

    def _add(self, block: OpenBlock, text: str, batch: Batch) -> None:
        if block.is_call:
            block.arguments.append(text)
            batch.events.append(ToolCallDelta(block.number, text, self._tokens(text)))
        elif block.kind is ReasoningDelta:
            tokens = self._tokens(text)
            batch.events.append(ReasoningDelta(block.number, text, tokens))
        else:
            plain = RefusalDelta if block.kind is RefusalDelta else TextDelta
            batch.events.append(plain(block.number, text, self._tokens(text)))

    def _stop(self, block: OpenBlock, batch: Batch) -> None:
        """Take the provider's word that a block is over.

        A call that is not whole waits for what comes next: a limit may have cut it.
        """
        block.is_stopped = True
        is_plain = not block.is_call or block.tool_kind is ToolKind.CUSTOM
        if is_plain or block.is_whole():
            self._close(block, batch)

    def _close(self, block: OpenBlock, batch: Batch, *, is_complete: bool = True) -> None:
        if block.half:
            block.half = ""
            self._add(block, "\ufffd", batch)
        if block.is_call and is_complete:
            self._has_call = True
            if block.default and not block.arguments:
                self._add(block, block.default, batch)
        batch.events.append(BlockFinished(block.number, is_complete, block.signature or None))
        del self._open[block.number]
        if block is self._plain:
            self._plain = None

    def _is_open(self, block: OpenBlock | None) -> bool:
        return block is not None and block.number in self._open

    def _tokens(self, text: str) -> int:
        return self._count(text)


def is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _is_done(data: str) -> bool:
    return data[:1] in ("[", " ") and data.strip().startswith(_DONE)


def _frames_of_body(body: str) -> list[ServerSentEvent]:
    """Return what a JSON body is as frames: one, or one for each line."""
    lines = [body] if is_json_object(body) else [line for line in body.splitlines() if line.strip()]
    return [ServerSentEvent(line) for line in lines]
