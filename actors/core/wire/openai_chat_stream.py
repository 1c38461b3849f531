"""OpenAI chat completions, the streamed answer: bytes in, batches out.

Owns which block a piece of the answer belongs to, and how many tokens it counts. A text, a stretch
of reasoning, a refusal and each tool call is a block; it ends when another opens or the finish reason
comes.

Rules:
- Tokens are counted, except in a frame with the provider's running figures: there the increment of
  its output since the last such frame goes to the frame's first delta, and the others get 0.
- Usage of a frame before the finish reason is running, any other is reported.
- Only the first choice counts. What comes after the finish reason is usage or nothing.
- `[DONE]` without a finish reason ends an answer that had content; some servers leave it out.

Known departures of providers that are taken in: tool calls without an index or an id, whole calls
that all have index 0, reasoning under either of two names, usage beside the finish reason, an end
without `[DONE]`, an event named `error`.

Source: OpenAI API reference, "Chat completion chunk"; vLLM's and llama.cpp's servers; all read
2026-11-22.
"""

from __future__ import annotations

from typing import Any

from actors.core.events import (
    Delta,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.sse import ServerSentEvent
from actors.core.upstream import TokenCount, UpstreamBatch
from actors.core.wire.failures import BROKEN_STREAM
from actors.core.wire.openai_chat_usage import usage_from, usage_from_timings
from actors.core.wire.stream_decoder import (
    DONE,
    Batch,
    Stage,
    WireStreamDecoder,
    finish_reason_of,
)
from actors.core.wire.untrusted import Broken, error_failure, json_object, text_member

__all__ = ["ChatStreamDecoder"]

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}

_PLAIN_BLOCKS: dict[type[TextDelta | ReasoningDelta | RefusalDelta], tuple[str, ...]] = {
    ReasoningDelta: ("reasoning_content", "reasoning"),
    TextDelta: ("content",),
    RefusalDelta: ("refusal",),
}
"""The members of a delta that are text, in the order in which one frame's are read; of two names for
the same thing the first that says something counts."""


class ChatStreamDecoder(WireStreamDecoder[type[Delta] | int]):
    """One answer's decoder; an open block is its kind, a tool call its index."""

    def __init__(self, count: TokenCount, *, frame_bytes_max: int) -> None:
        super().__init__(count, frame_bytes_max=frame_bytes_max)
        self._call_ids: dict[int, str] = {}  # Of every call so far, by index.
        self._tokens_given = 0
        self._frame_tokens: int | None = None  # What is left of this frame's running increment.

    def _read_eof(self, cut: ServerSentEvent | None) -> UpstreamBatch:
        if cut is None:
            return super()._read_eof(None)
        is_done = cut.data.startswith(DONE)  # Only the empty line after it is missing.
        return self._decode([cut] if is_done else [], BROKEN_STREAM)

    def _read_frame(self, frame: ServerSentEvent, batch: Batch) -> None:
        value = json_object(frame.data)
        error = value.get("error")
        if error or frame.event == "error":
            raise Broken(error_failure(error or value, _status_of_word))
        choices = value.get("choices")
        if not isinstance(choices, list):
            if frame.event != "message":
                return  # A vendor's own event, which a reader of chunks may pass over.
            raise Broken
        self._read_chunk(_first_choice(choices), _usage(value), batch)

    def _read_chunk(self, choice: dict[str, Any], usage: Usage | None, batch: Batch) -> None:
        is_answer = bool(choice) and self._stage is Stage.ANSWER
        finish_reason = choice.get("finish_reason") if is_answer else None
        is_running = is_answer and finish_reason is None
        self._frame_tokens = None if usage is None else self._increment(usage)
        if usage is not None and is_running and (self._frame_tokens is not None or self._block < 0):
            batch.running = usage
        if is_answer:
            self._read_delta(choice.get("delta"), batch)
        if finish_reason is not None:
            self._finish(finish_reason_of(finish_reason, _FINISH_REASONS), batch)
        if usage is not None and not is_running:
            batch.events.append(UsageReported(usage))

    def _increment(self, usage: Usage) -> int | None:
        """Return how far the provider's output is past what was given; None where it has no figure.

        A figure that stays 0 beside content is none.
        """
        output = usage.completion_tokens + usage.reasoning_tokens
        return max(0, output - self._tokens_given) if output else None

    def _read_delta(self, delta: Any, batch: Batch) -> None:
        if delta is None:
            return
        if not isinstance(delta, dict):
            raise Broken
        for kind, names in _PLAIN_BLOCKS.items():
            text = _first_text(delta, names)
            if text:
                self._open_block(kind, batch)
                batch.events.append(kind(self._block, text, self._tokens(text)))
        calls = delta.get("tool_calls")
        if calls:
            self._read_calls(calls, batch)

    def _read_calls(self, calls: Any, batch: Batch) -> None:
        if not isinstance(calls, list):
            raise Broken
        for call in calls:
            if not isinstance(call, dict):
                raise Broken
            self._read_call(call, batch)

    def _read_call(self, call: dict[str, Any], batch: Batch) -> None:
        function = call.get("function")
        if not isinstance(function, dict):
            function = {}
        call_id, name = text_member(call, "id"), text_member(function, "name")
        arguments = text_member(function, "arguments")
        index = self._call_index(call.get("index"), call_id, name)
        if self._is_new_call(index, call_id, name):
            self._open_call(index, call_id, name, batch)
        if not arguments:
            return
        if self._open != index:
            # A piece of a call that is closed: it would make the open call's arguments wrong.
            raise Broken
        batch.events.append(ToolCallDelta(self._block, arguments, self._tokens(arguments)))

    def _call_index(self, index: Any, call_id: str, name: str) -> int:
        """Return the call's index; where it has none, a name with another id is the next call."""
        if type(index) is int:
            return index
        if isinstance(self._open, int):
            is_next = bool(name) and call_id != self._call_ids[self._open]
            if not is_next:
                return self._open
        return max(self._call_ids, default=-1) + 1

    def _is_new_call(self, index: int, call_id: str, name: str) -> bool:
        """Whether the piece opens a call.

        Some servers give every call index 0, others every piece an id of its own: only a new id that
        comes with a name tells another call.
        """
        known_id = self._call_ids.get(index)
        return known_id is None or (bool(name) and bool(call_id) and call_id != known_id)

    def _open_call(self, index: int, call_id: str, name: str, batch: Batch) -> None:
        self._close_block(batch)  # Another call may have the same index.
        self._open_block(index, batch)
        self._call_ids[index] = call_id = call_id or f"call_{self._block}"
        started = ToolCallStarted(self._block, call_id, name, self._tokens(name))
        batch.events.append(started)

    def _tokens(self, text: str) -> int:
        if self._frame_tokens is None:
            tokens = self._count(text)
        else:
            tokens, self._frame_tokens = self._frame_tokens, 0
        self._tokens_given += tokens
        return tokens

    def _end(self, batch: Batch) -> None:
        if self._stage is Stage.ANSWER and self._block >= 0:
            is_call = isinstance(self._open, int)
            self._finish(FinishReason.TOOL_CALLS if is_call else FinishReason.STOP, batch)
        super()._end(batch)


def _usage(value: dict[str, Any]) -> Usage | None:
    usage = value.get("usage")
    if isinstance(usage, dict):
        return usage_from(usage)
    timings = value.get("timings")
    return usage_from_timings(timings) if isinstance(timings, dict) else None


def _first_choice(choices: list[Any]) -> dict[str, Any]:
    """Return the choice with index 0, an empty one where the frame has none of it."""
    for choice in choices:
        if not isinstance(choice, dict):
            raise Broken
        if choice.get("index") in (0, None):
            return choice
    return {}


def _first_text(value: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        if name in value and (text := text_member(value, name)):
            return text
    return ""


def _status_of_word(word: str) -> int | None:
    return 429 if word.startswith("rate_limit") else None
