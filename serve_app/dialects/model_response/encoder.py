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

from typing import Any, ClassVar

from actors.core.errors import CompletionRuntimeError
from actors.core.events import (
    BlockFinished,
    Event,
    Finished,
    RefusalDelta,
    Status,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.record import CompletionHeader
from serve_app.dialects.base import render
from serve_app.dialects.encoder import FramesByEvent, NumberingEncoder, failure_of
from serve_app.dialects.midstream_object import midstream_object
from serve_app.dialects.model_response.errors import envelope, failure_object
from serve_app.dialects.model_response.render import finish_reason, finished_at, usage_object

__all__ = ["ModelResponseEncoder"]


class ModelResponseEncoder(NumberingEncoder):
    """See `dialects.base.Encoder`."""

    def __init__(self, header: CompletionHeader) -> None:
        super().__init__(header)
        self._items = 0
        self._message: int | None = None  # index of the message among the items
        self._text_head = b""
        self._texts: list[str] = []
        self._calls: dict[int, tuple[int, list[str]]] = {}  # by block: index, arguments

    def _beginning(self, event: Event) -> list[bytes]:
        created = {"id": self._header.wire_id, "status": "in_progress"}
        return [_frame("response.created", created)]

    def interrupted(self, error: CompletionRuntimeError) -> bytes:
        return b"event: error\ndata: %b\n\n" % render(envelope(error))

    def _text(self, event: TextDelta) -> list[bytes]:
        opening = self._open_message()
        self._texts.append(event.text)
        delta = b"%b%b}\n\n" % (self._text_head, render(event.text))
        return [*opening, delta]

    def _refusal(self, event: RefusalDelta) -> list[bytes]:
        opening = self._open_message()
        delta = {"index": self._message, "delta": event.text}
        return [*opening, _frame("response.refusal.delta", delta)]

    def _open_message(self) -> list[bytes]:
        if self._message is not None:
            return []
        self._message = index = self._next_item()
        self._text_head = b'event: response.output_text.delta\ndata: {"index":%d,"delta":' % index
        item = {"type": "message", "role": "assistant"}
        return [_frame("response.output_item.added", {"index": index, "item": item})]

    def _next_item(self) -> int:
        index = self._items
        self._items += 1
        return index

    def _call_started(self, event: ToolCallStarted) -> list[bytes]:
        index = self._next_item()
        self._calls[event.block] = (index, [])
        item = {"type": "function_call", "id": event.call_id, "name": event.name}
        return [_frame("response.output_item.added", {"index": index, "item": item})]

    def _call_arguments(self, event: ToolCallDelta) -> list[bytes]:
        index, pieces = self._calls[event.block]
        pieces.append(event.arguments)
        delta = {"index": index, "delta": event.arguments}
        return [_frame("response.function_call_arguments.delta", delta)]

    def _block_finished(self, event: BlockFinished) -> list[bytes]:
        if event.block not in self._calls or not event.is_complete:
            return []
        index, pieces = self._calls[event.block]
        done = {"index": index, "arguments": "".join(pieces)}
        return [_frame("response.function_call_arguments.done", done)]

    def _finished(self, event: Finished) -> list[bytes]:
        status = event.status
        frames: list[bytes] = []
        value: dict[str, Any] = {"id": self._header.wire_id, "status": status.value}
        match status:
            case Status.COMPLETED:
                if self._texts:
                    done = {"index": self._message, "text": "".join(self._texts)}
                    frames.append(_frame("response.output_text.done", done))
                value["finishReason"] = finish_reason(event)
            case Status.FAILED:
                value["error"] = failure_object(failure_of(event))
            case Status.CANCELLED:
                value["cancelledAt"] = finished_at(event)
        if status is not Status.FAILED:
            value["usage"] = usage_object(event.usage)
        value["midstream"] = midstream_object(self._header, event)
        return [*frames, _frame(f"response.{status.value}", value)]

    _FRAMES: ClassVar[FramesByEvent] = {
        TextDelta: _text,
        RefusalDelta: _refusal,
        ToolCallStarted: _call_started,
        ToolCallDelta: _call_arguments,
        BlockFinished: _block_finished,
        Finished: _finished,
    }


def _frame(name: str, value: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), render(value))
