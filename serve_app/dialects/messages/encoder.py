"""A completion's log as Anthropic's events. The wire format itself is `core.wire.anthropic`'s.

What this adds: a number per frame (`id:`), the order in which blocks may stand, and the `midstream`
member on the last `message_delta`.

A stream begins with `message_start`, and ends with `message_delta` and `message_stop`, or with an error.
`message_start` waits for the first event after the dispatch, so that a provider which reports the
prompt at once is quoted, not our estimate. The format's blocks follow each other: what the log has
of another block while one is open waits until that one is closed. A block without a word is not
opened before it is closed: only then is known whether it is thinking that nobody may read.

What came in this very format and is of no other (hosted tools' blocks, citations) goes on as it came,
under the index that its block has here.

A cancelled answer ends as any other, with `stop_reason` `cancelled`; a call that was cut says
`incomplete` where it stops.

Source: contract of the messages dialect, section 5; design, section 4 (cursors).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from actors.core.errors import CompletionRuntimeError, UpstreamError
from actors.core.events import (
    BlockFinished,
    Delta,
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
    Usage,
    UsageReported,
)
from actors.core.record import CompletionHeader
from actors.core.request import Dialect
from actors.core.wire.anthropic import (
    MESSAGE_STOP,
    MessagesStreamWriter,
    error_frame,
    redacted_data,
)
from serve_app.dialects.encoder import FramesByEvent, NumberingEncoder, failure_of
from serve_app.dialects.messages.errors import error_members, error_object
from serve_app.dialects.messages.render import stop_reason_of, usage_object
from serve_app.dialects.midstream_object import midstream_object

__all__ = ["MessagesEncoder"]


class MessagesEncoder(NumberingEncoder):
    """See `dialects.base.Encoder`. The request id appears in error frames alone."""

    def __init__(self, header: CompletionHeader, *, request_id: str) -> None:
        super().__init__(header)
        self._request_id = request_id
        self._writer = MessagesStreamWriter(header.wire_id, header.model, has_block_ids=True)
        self._block: int | None = None  # The one that is open.
        self._call: int | None = None  # It again, while it is a call.
        self._waiting: dict[int, list[Delta | Opaque | BlockFinished]] = {}
        self._calls: set[int] = set()
        self._has_calls = False  # One that is complete.
        self._has_refused = False

    def _opens(self, event: Event) -> bool:
        if isinstance(event, Finished):
            return event.status is not Status.FAILED
        return not isinstance(event, Started)

    def _beginning(self, event: Event) -> list[bytes]:
        return [self._writer.message_start(usage_object(self._usage_at_start(event)))]

    def interrupted(self, error: CompletionRuntimeError) -> bytes:
        return error_frame(error_object(error), **error_members(error, self._request_id))

    def _usage_at_start(self, event: Event) -> Usage:
        if isinstance(event, UsageReported) and event.usage.prompt_tokens:
            usage = event.usage
            return Usage(
                usage.prompt_tokens,
                cached_tokens=usage.cached_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                cache_write_1h_tokens=usage.cache_write_1h_tokens,
            )
        if isinstance(event, Finished):
            return Usage(event.usage.prompt_tokens)
        return Usage(self._header.prompt_tokens_estimated)

    # Blocks.

    def _text(self, event: TextDelta | RefusalDelta) -> list[bytes]:
        if self._block == event.block:
            return [self._writer.delta(event.text)]
        if self._block is not None:
            return self._wait(event)
        self._block = event.block
        return [self._writer.text_start(), self._writer.delta(event.text)]

    def _refusal(self, event: RefusalDelta) -> list[bytes]:
        self._has_refused = True
        return self._text(event)

    def _reasoning(self, event: ReasoningDelta) -> list[bytes]:
        if self._block == event.block:
            return [self._writer.delta(event.text)] if event.text else []
        if self._block is not None:
            return self._wait(event)
        if not event.text:
            return []
        self._block = event.block
        return [self._writer.thinking_start(), self._writer.delta(event.text)]

    def _call_started(self, event: ToolCallStarted) -> list[bytes]:
        if self._block is not None:
            return self._wait(event)
        self._block = self._call = event.block
        self._calls.add(event.block)
        return [self._writer.tool_use_start(event.call_id, event.name)]

    def _call_arguments(self, event: ToolCallDelta) -> list[bytes]:
        if self._block == event.block:
            return [self._writer.delta(event.arguments)]
        return self._wait(event)

    def _opaque(self, event: Opaque) -> list[bytes]:
        if event.format is not Dialect.MESSAGES:
            return []
        delta = event.payload.get("delta")
        if self._block == event.block:
            return [self._writer.opaque_delta(delta)] if isinstance(delta, Mapping) else []
        if self._block is not None:
            return self._wait(event)
        block = event.payload.get("content_block")
        if isinstance(block, Mapping):
            self._block = event.block
            return [self._writer.opaque_start(block)]
        if isinstance(delta, Mapping) and delta.get("type") == "citations_delta":
            # It is of a text that has not said a word.
            self._block = event.block
            return [self._writer.text_start(), self._writer.opaque_delta(delta)]
        return []

    def _block_finished(self, event: BlockFinished) -> list[bytes]:
        if self._block is not None and self._block != event.block:
            return self._wait(event)
        self._has_calls |= event.is_complete and event.block in self._calls
        frames = self._unsaid(event) if self._block is None else self._stopped(event)
        self._block = self._call = None
        return frames + self._resumed()

    def _stopped(self, event: BlockFinished) -> list[bytes]:
        seal = [] if event.signature is None else [self._writer.signature(event.signature)]
        is_cut_call = self._call is not None and not event.is_complete
        members: dict[str, Any] = {"incomplete": True} if is_cut_call else {}
        return [*seal, self._writer.block_stop(**members)]

    def _unsaid(self, event: BlockFinished) -> list[bytes]:
        """Return the frames of a block that was not opened, since it never said a word."""
        if event.signature is None:
            return []
        data = redacted_data(event.signature)
        if data is not None:
            return [self._writer.redacted_thinking_start(data), self._writer.block_stop()]
        return [self._writer.thinking_start(), *self._stopped(event)]

    def _wait(self, event: Delta | Opaque | BlockFinished) -> list[bytes]:
        self._waiting.setdefault(event.block, []).append(event)
        return []

    def _resumed(self) -> list[bytes]:
        """Return the frames of the block that has waited longest, as far as they are known."""
        if not self._waiting:
            return []
        events = self._waiting.pop(next(iter(self._waiting)))
        return [frame for event in events for frame in self._FRAMES[type(event)](self, event)]

    # The end.

    def _finished(self, event: Finished) -> list[bytes]:
        if event.status is Status.FAILED:
            return [self.interrupted(UpstreamError(failure_of(event)))]
        end = self._writer.message_delta(
            stop_reason_of(event, has_refused=self._has_refused, has_calls=self._has_calls),
            usage_object(event.usage),
            stop_sequence=event.stop_sequence,
            midstream=midstream_object(self._header, event),
        )
        return [end, MESSAGE_STOP]

    _FRAMES: ClassVar[FramesByEvent] = {
        TextDelta: _text,
        ReasoningDelta: _reasoning,
        RefusalDelta: _refusal,
        ToolCallStarted: _call_started,
        ToolCallDelta: _call_arguments,
        Opaque: _opaque,
        BlockFinished: _block_finished,
        Finished: _finished,
    }
