"""A completion's log as Responses events. The wire format itself is `core.wire.responses`'.

What this adds: the response as a whole at the beginning and at the end, with this API's `midstream`
member, a number per frame (`id:`), which is the event's `sequence_number`, and `[DONE]`.

A stream begins, at any event or after a second without one, with the response as it was accepted; it ends
with the open blocks' ends, the response's end and `[DONE]`.

A quiet stream says `keepalive`, an event that takes no number: some clients count nothing else as life.

A response that failed has no `[DONE]`: it did not end properly.
There is no event for a cancelled response in any SDK: it ends with `response.incomplete`, whose
response says `cancelled`.

Source: contract of the Responses dialect, sections 6 and 7; design, section 4 (cursors).
"""

from __future__ import annotations

from typing import ClassVar

from actors.core.errors import CompletionRuntimeError
from actors.core.events import (
    BlockFinished,
    Event,
    Finished,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    Status,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.record import CompletionHeader
from actors.core.wire.responses import DONE, ResponsesStreamWriter
from serve_app.dialects.base import render
from serve_app.dialects.encoder import EncoderStage, FramesByEvent, NumberingEncoder
from serve_app.dialects.responses.errors import envelope
from serve_app.dialects.responses.render import opening_status, queued_response, response_object

__all__ = ["ResponsesEncoder"]

_END_EVENTS = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "cancelled": "response.incomplete",
    "failed": "response.failed",
}


class ResponsesEncoder(NumberingEncoder):
    """See `dialects.base.Encoder`."""

    def __init__(self, header: CompletionHeader) -> None:
        super().__init__(header)
        self._writer = ResponsesStreamWriter(header.completion_id)

    def opening(self) -> list[bytes]:
        """Return the response as it was accepted, where nothing was said of it yet."""
        if self._stage is not EncoderStage.EMPTY:
            return []
        self._stage = EncoderStage.OPEN
        return self._numbered(self._beginning())

    def keep_alive(self) -> bytes:
        return self._writer.keep_alive()

    def interrupted(self, error: CompletionRuntimeError) -> bytes:
        """Return a flat error event; it has no number, since the response may go on."""
        body = envelope(error)["error"]
        value = {"type": "error", **{name: body[name] for name in ("code", "message", "param")}}
        return b"event: error\ndata: %b\n\n" % render(value)

    def _beginning(self, event: Event | None = None) -> list[bytes]:
        first = queued_response(self._header)
        kinds = [("response.created", first)]
        if first["status"] == "queued":
            kinds.append(("response.queued", first))
        kinds.append(("response.in_progress", {**first, "status": "in_progress"}))
        return [self._writer.response(kind, response) for kind, response in kinds]

    def _delta(
        self, event: TextDelta | ReasoningDelta | RefusalDelta | ToolCallStarted | ToolCallDelta
    ) -> list[bytes]:
        return self._writer.delta(event)

    def _opaque(self, event: Opaque) -> list[bytes]:
        return self._writer.opaque(event)

    def _block_finished(self, event: BlockFinished) -> list[bytes]:
        return self._writer.finish_block(event)

    def _finished(self, event: Finished) -> list[bytes]:
        writer = self._writer
        # A completion whose process died was cut without a word of its blocks.
        ends = [
            frame
            for block in writer.open_blocks
            for frame in writer.finish_block(BlockFinished(block, is_complete=False))
        ]
        response = response_object(
            self._header,
            writer.items,
            status=opening_status(self._header),
            usage=event.usage,
            finished=event,
        )
        end = writer.response(_END_EVENTS[response["status"]], response)
        return [*ends, end] if event.status is Status.FAILED else [*ends, end, DONE]

    _FRAMES: ClassVar[FramesByEvent] = {
        TextDelta: _delta,
        ReasoningDelta: _delta,
        RefusalDelta: _delta,
        ToolCallStarted: _delta,
        ToolCallDelta: _delta,
        Opaque: _opaque,
        BlockFinished: _block_finished,
        Finished: _finished,
    }
