"""A completion's log as chat chunks. The wire format itself is `core.wire.openai_chat`'s.

What this adds: a number per frame (`id:`), and this API's usage and `midstream` members on the last
chunk. The usage is on a chunk of its own, without a choice, where the client asked for it in OpenAI's
way (`include_usage`): those that add up what they meet would count it twice. Under strict contracts
there is no reasoning text, and one last chunk in any case.

A client that asked with `functions` is answered with a `function_call`: the first one, as at OpenAI's.

A stream begins with the role, and ends with the last chunk and `[DONE]`, or with an error frame.

Source: contract of the chat dialect, section 4; design, section 4 (cursors).
"""

from __future__ import annotations

from typing import Any, ClassVar

from actors.core.errors import CompletionRuntimeError, UpstreamError
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
from actors.core.request import Dialect
from actors.core.wire.openai_chat import DONE, ChatStreamWriter
from serve_app.dialects.base import Operation, render
from serve_app.dialects.chat.errors import envelope
from serve_app.dialects.chat.render import (
    INCLUDE_USAGE,
    finish_reason,
    speaks_functions,
    usage_object,
)
from serve_app.dialects.encoder import FramesByEvent, NumberingEncoder, failure_of
from serve_app.dialects.midstream_object import midstream_object

__all__ = ["ChatEncoder"]


class ChatEncoder(NumberingEncoder):
    """See `dialects.base.Encoder`. The request id appears in error frames alone."""

    def __init__(
        self, header: CompletionHeader, *, request_id: str, is_strict: bool = False
    ) -> None:
        super().__init__(header)
        self._request_id = request_id
        self._is_strict = is_strict
        self._speaks_functions = speaks_functions(header)
        self._calls: set[int] = set()  # Blocks.
        self._has_calls = False  # One that is complete.
        self._writer = ChatStreamWriter(header.wire_id, header.model, int(header.created_at_s))

    def _opens(self, event: Event) -> bool:
        return not (isinstance(event, Finished) and event.status is Status.FAILED)

    def _beginning(self, event: Event) -> list[bytes]:
        return [self._writer.role()]

    def interrupted(self, error: CompletionRuntimeError) -> bytes:
        return _data(self._envelope(error, Operation.READ))

    def _text(self, event: TextDelta) -> list[bytes]:
        return [self._writer.text(event.text)]

    def _delta(self, event: RefusalDelta) -> list[bytes]:
        return [self._writer.delta(event)]

    def _reasoning(self, event: ReasoningDelta) -> list[bytes]:
        if self._is_strict or not event.text:
            return []
        return [self._writer.reasoning(event.text)]

    def _call(self, event: ToolCallStarted | ToolCallDelta) -> list[bytes]:
        self._calls.add(event.block)
        if not self._speaks_functions:
            return [self._writer.delta(event)]
        if len(self._calls) > 1:
            return []
        return [self._writer.function_call(event)]

    def _opaque(self, event: Opaque) -> list[bytes]:
        if event.format is not Dialect.CHAT or not event.payload:
            return []
        if self._speaks_functions and event.block in self._calls:
            return []
        return [self._writer.members(event)]

    def _block_finished(self, event: BlockFinished) -> list[bytes]:
        self._has_calls |= event.is_complete and event.block in self._calls
        return []

    def _finished(self, event: Finished) -> list[bytes]:
        if event.status is Status.FAILED:
            error = self._envelope(UpstreamError(failure_of(event)), Operation.CREATE)
            return [_data(error)]
        usage = usage_object(self._header, event.usage, event.charge, is_strict=self._is_strict)
        reason = finish_reason(self._header, event, has_calls=self._has_calls) or "stop"
        midstream = midstream_object(self._header, event)
        if self._is_strict or INCLUDE_USAGE not in self._header.echo:
            chunks = [self._writer.finish(reason, usage)]
        else:
            chunks = [self._writer.finish(reason), self._writer.usage(usage)]
        chunks[0] = _with_member(chunks[0], b"midstream", midstream)
        return [*chunks, DONE]

    def _envelope(self, error: CompletionRuntimeError, operation: Operation) -> dict[str, Any]:
        return envelope(error, operation, self._request_id, is_strict=self._is_strict)

    _FRAMES: ClassVar[FramesByEvent] = {
        TextDelta: _text,
        RefusalDelta: _delta,
        ToolCallStarted: _call,
        ToolCallDelta: _call,
        ReasoningDelta: _reasoning,
        Opaque: _opaque,
        BlockFinished: _block_finished,
        Finished: _finished,
    }


def _data(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % render(value)


def _with_member(frame: bytes, name: bytes, value: dict[str, Any]) -> bytes:
    """Return the frame with one member more at the end of its object."""
    return b'%b,"%b":%b}\n\n' % (frame.removesuffix(b"}\n\n"), name, render(value))
