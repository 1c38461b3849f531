"""A completion's log as chat chunks. The wire format itself is `core.wire.openai_chat`'s.

What this adds: a number per frame (`id:`), this API's usage and `midstream` members on the last
chunk, and no reasoning text: this API never streams it.

    EMPTY  --any event-->  OPEN  --Finished-->  CLOSED
           role frame            last chunk and [DONE], or an error frame

Source: contract of the chat dialect, section 4; design, section 4 (cursors).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from actors.core.errors import (
    CompletionRuntimeError,
    Failure,
    FailureCode,
    IllegalTransition,
    UpstreamError,
)
from actors.core.events import (
    BlockFinished,
    Event,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    Status,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from actors.core.wire.openai_chat import DONE, ChatStreamWriter
from actors.record import CompletionHeader
from serve_app.dialects.base import Operation, render
from serve_app.dialects.chat.errors import envelope
from serve_app.dialects.chat.render import finish_reason, usage_object
from serve_app.dialects.midstream_object import midstream_object

__all__ = ["ChatEncoder"]


class _Stage(Enum):
    EMPTY = "empty"
    OPEN = "open"
    CLOSED = "closed"


class ChatEncoder:
    """See `dialects.base.Encoder`. The request id appears in error frames alone."""

    def __init__(self, header: CompletionHeader, *, request_id: str) -> None:
        self._header = header
        self._request_id = request_id
        self._writer = ChatStreamWriter(header.wire_id, header.model, int(header.created_at_s))
        self._stage = _Stage.EMPTY
        self._number = 0

    def __repr__(self) -> str:
        return f"<ChatEncoder {self._stage.value}, next frame {self._number}>"

    def encode(self, event: Event) -> list[bytes]:
        if self._stage is _Stage.OPEN:
            return _FRAMES[type(event)](self, event)
        if self._stage is _Stage.CLOSED:
            raise IllegalTransition(f"{type(event).__name__} after {self!r}")
        if isinstance(event, Finished) and event.status is Status.FAILED:
            return self._finished(event)
        self._stage = _Stage.OPEN
        return [self._numbered(self._writer.role()), *_FRAMES[type(event)](self, event)]

    def interrupted(self, error: CompletionRuntimeError) -> bytes:
        return _data(envelope(error, Operation.READ, self._request_id))

    def _numbered(self, frame: bytes) -> bytes:
        number = self._number
        self._number = number + 1
        return b"id: %d\n%b" % (number, frame)

    def _text(self, event: TextDelta) -> list[bytes]:
        return [self._numbered(self._writer.text(event.text))]

    def _delta(self, event: RefusalDelta | ToolCallStarted | ToolCallDelta) -> list[bytes]:
        return [self._numbered(self._writer.delta(event))]

    def _silent(self, event: Event) -> list[bytes]:
        return []

    def _finished(self, event: Finished) -> list[bytes]:
        self._stage = _Stage.CLOSED
        if event.status is Status.FAILED:
            failure = event.error or Failure(FailureCode.INTERNAL, "")
            error = envelope(UpstreamError(failure), Operation.CREATE, self._request_id)
            return [self._numbered(_data(error))]
        usage = usage_object(self._header, event.usage, event.charge)
        last = self._writer.finish(finish_reason(event) or "stop", usage)
        midstream = midstream_object(self._header, event)
        return [
            self._numbered(_with_member(last, b"midstream", midstream)),
            self._numbered(DONE),
        ]


def _data(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % render(value)


def _with_member(frame: bytes, name: bytes, value: dict[str, Any]) -> bytes:
    """Return the frame with one member more at the end of its object."""
    return b'%b,"%b":%b}\n\n' % (frame.removesuffix(b"}\n\n"), name, render(value))


_FRAMES: dict[type, Callable[[ChatEncoder, Any], list[bytes]]] = {
    TextDelta: ChatEncoder._text,
    RefusalDelta: ChatEncoder._delta,
    ToolCallStarted: ChatEncoder._delta,
    ToolCallDelta: ChatEncoder._delta,
    ReasoningDelta: ChatEncoder._silent,
    Started: ChatEncoder._silent,
    BlockFinished: ChatEncoder._silent,
    UsageReported: ChatEncoder._silent,
    Finished: ChatEncoder._finished,
}
