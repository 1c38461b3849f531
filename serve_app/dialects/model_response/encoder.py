"""A completion's log as the named events of a model response.

    response.created               first, before whatever the first event adds
    response.output_item.added     a message, at its first text; a tool call
    response.output_text.delta     and response.output_text.done with the whole text, before the end
    response.refusal.delta         a refusal's text, in the message's place
    response.function_call_arguments.delta, .done
    response.completed | response.failed | response.cancelled

The pages name no event for refusals and calls: theirs are those of the same names elsewhere, and a
client that knows none of them misses nothing else. Reasoning is not streamed. There is no `[DONE]`.

Source: contract of the model-response dialect, section 7, and F16; design, section 4 (cursors).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from actors.core.errors import CompletionRuntimeError, Failure, FailureCode, IllegalTransition
from actors.core.events import (
    BlockFinished,
    Event,
    Finished,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    Started,
    Status,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from actors.core.record import CompletionHeader
from serve_app.dialects.base import render
from serve_app.dialects.midstream_object import midstream_object
from serve_app.dialects.model_response.errors import envelope, failure_object
from serve_app.dialects.model_response.render import finish_reason, finished_at, usage_object

__all__ = ["ModelResponseEncoder"]


class _ModelResponseStage(Enum):
    EMPTY = "empty"
    OPEN = "open"
    CLOSED = "closed"


class ModelResponseEncoder:
    """See `dialects.base.Encoder`."""

    def __init__(self, header: CompletionHeader) -> None:
        self._header = header
        self._stage = _ModelResponseStage.EMPTY
        self._number = 0
        self._items = 0
        self._message: int | None = None  # index of the message among the items
        self._text_head = b""
        self._texts: list[str] = []
        self._calls: dict[int, tuple[int, list[str]]] = {}  # by block: index, arguments

    def __repr__(self) -> str:
        return f"<ModelResponseEncoder {self._stage.value}, next frame {self._number}>"

    def encode(self, event: Event) -> list[bytes]:
        if self._stage is _ModelResponseStage.OPEN:
            return _FRAMES[type(event)](self, event)
        if self._stage is _ModelResponseStage.CLOSED:
            raise IllegalTransition(f"{type(event).__name__} after {self!r}")
        self._stage = _ModelResponseStage.OPEN
        created = {"id": self._header.wire_id, "status": "in_progress"}
        return [self._frame("response.created", created), *_FRAMES[type(event)](self, event)]

    def interrupted(self, error: CompletionRuntimeError) -> bytes:
        return b"event: error\ndata: %b\n\n" % render(envelope(error))

    def _frame(self, name: str, value: dict[str, Any]) -> bytes:
        return self._numbered(b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), render(value)))

    def _numbered(self, frame: bytes) -> bytes:
        number = self._number
        self._number = number + 1
        return b"id: %d\n%b" % (number, frame)

    def _text(self, event: TextDelta) -> list[bytes]:
        opening = self._open_message()
        self._texts.append(event.text)
        delta = self._numbered(b"%b%b}\n\n" % (self._text_head, render(event.text)))
        return [*opening, delta]

    def _refusal(self, event: RefusalDelta) -> list[bytes]:
        opening = self._open_message()
        delta = {"index": self._message, "delta": event.text}
        return [*opening, self._frame("response.refusal.delta", delta)]

    def _open_message(self) -> list[bytes]:
        if self._message is not None:
            return []
        self._message = index = self._next_item()
        self._text_head = b'event: response.output_text.delta\ndata: {"index":%d,"delta":' % index
        item = {"type": "message", "role": "assistant"}
        return [self._frame("response.output_item.added", {"index": index, "item": item})]

    def _next_item(self) -> int:
        index = self._items
        self._items += 1
        return index

    def _call_started(self, event: ToolCallStarted) -> list[bytes]:
        index = self._next_item()
        self._calls[event.block] = (index, [])
        item = {"type": "function_call", "id": event.call_id, "name": event.name}
        return [self._frame("response.output_item.added", {"index": index, "item": item})]

    def _call_arguments(self, event: ToolCallDelta) -> list[bytes]:
        index, pieces = self._calls[event.block]
        pieces.append(event.arguments)
        delta = {"index": index, "delta": event.arguments}
        return [self._frame("response.function_call_arguments.delta", delta)]

    def _block_finished(self, event: BlockFinished) -> list[bytes]:
        if event.block not in self._calls or not event.is_complete:
            return []
        index, pieces = self._calls[event.block]
        done = {"index": index, "arguments": "".join(pieces)}
        return [self._frame("response.function_call_arguments.done", done)]

    def _silent(self, event: Event) -> list[bytes]:
        return []

    def _finished(self, event: Finished) -> list[bytes]:
        self._stage = _ModelResponseStage.CLOSED
        match event.status:
            case Status.COMPLETED:
                return [*self._text_done(), self._completed(event)]
            case Status.FAILED:
                return [self._failed(event)]
            case Status.CANCELLED:
                return [self._cancelled(event)]

    def _text_done(self) -> list[bytes]:
        if not self._texts:
            return []
        done = {"index": self._message, "text": "".join(self._texts)}
        return [self._frame("response.output_text.done", done)]

    def _completed(self, event: Finished) -> bytes:
        value = {
            "id": self._header.wire_id,
            "status": "completed",
            "finishReason": finish_reason(event),
            "usage": usage_object(event.usage),
            "midstream": midstream_object(self._header, event),
        }
        return self._frame("response.completed", value)

    def _failed(self, event: Finished) -> bytes:
        failure = event.error or Failure(FailureCode.INTERNAL, "")
        value = {
            "id": self._header.wire_id,
            "status": "failed",
            "error": failure_object(failure),
            "midstream": midstream_object(self._header, event),
        }
        return self._frame("response.failed", value)

    def _cancelled(self, event: Finished) -> bytes:
        value = {
            "id": self._header.wire_id,
            "status": "cancelled",
            "cancelledAt": finished_at(event),
            "usage": usage_object(event.usage),
            "midstream": midstream_object(self._header, event),
        }
        return self._frame("response.cancelled", value)


_FRAMES: dict[type, Callable[[ModelResponseEncoder, Any], list[bytes]]] = {
    TextDelta: ModelResponseEncoder._text,
    RefusalDelta: ModelResponseEncoder._refusal,
    ToolCallStarted: ModelResponseEncoder._call_started,
    ToolCallDelta: ModelResponseEncoder._call_arguments,
    BlockFinished: ModelResponseEncoder._block_finished,
    ReasoningDelta: ModelResponseEncoder._silent,
    Started: ModelResponseEncoder._silent,
    Opaque: ModelResponseEncoder._silent,
    UsageReported: ModelResponseEncoder._silent,
    Finished: ModelResponseEncoder._finished,
}
