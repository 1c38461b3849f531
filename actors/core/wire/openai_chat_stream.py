"""OpenAI chat completions, the streamed answer: bytes in, batches out.

Owns which block a piece of the answer belongs to, and how many tokens it counts. A text, a stretch
of reasoning, a refusal and each tool call is a block, numbered from 0 in the order in which they
open; a block ends when another opens or the finish reason comes.

Rules:
- Nothing that a provider sends raises. What is no stream of this format is a failure, which is
  final, as is the end: what comes after either is ignored.
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

import json
from enum import Enum
from typing import Any, NoReturn

from actors.core.errors import Failure
from actors.core.events import (
    BlockFinished,
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
from actors.core.sse import FrameTooLarge, ServerSentEvent, SSEDecoder
from actors.core.upstream import TokenCount, UpstreamBatch
from actors.core.wire.failures import BROKEN_STREAM, failure_of_status
from actors.core.wire.openai_chat_usage import usage_from, usage_from_timings

__all__ = ["ChatStreamDecoder"]

_DONE = "[DONE]"
_NOTHING = UpstreamBatch()

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}

_BROKEN_OFF = frozenset({"abort", "cancelled", "error"})
"""What vLLM, SGLang, OpenRouter and this runtime call an answer that did not end by itself. To take
it for a proper end would charge for it in full."""

_PLAIN_BLOCKS: dict[type[TextDelta | ReasoningDelta | RefusalDelta], tuple[str, ...]] = {
    ReasoningDelta: ("reasoning_content", "reasoning"),
    TextDelta: ("content",),
    RefusalDelta: ("refusal",),
}
"""The members of a delta that are text, in the order in which one frame's are read; of two names for
the same thing the first that says something counts."""


class _Stage(Enum):
    ANSWER = "answer"  # before the finish reason
    FINISHED = "finished"  # after it: usage and the end are still to come
    OVER = "over"  # the end or a failure


class _Broken(Exception):
    """The stream cannot be read on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


# Python's own decoder takes NaN and Infinity, which no JSON has.
_decode_json = json.JSONDecoder(parse_constant=_refuse_constant).decode


class ChatStreamDecoder:
    """One answer's decoder; implements `actors.core.upstream.StreamDecoder`.

    Args:
        count: our tokenizer.
        frame_bytes_max: bound of one frame; a longer one is a failure.
    """

    def __init__(self, count: TokenCount, *, frame_bytes_max: int) -> None:
        self._count = count
        self._sse = SSEDecoder(frame_bytes_max)
        self._stage = _Stage.ANSWER
        self._block = -1  # The block that opened last.
        self._open: type[Delta] | None = None  # What it is, while it is open.
        self._open_call: int | None = None  # Its index, while it is a tool call.
        self._call_ids: dict[int, str] = {}  # Of every call so far, by index.
        self._tokens_given = 0
        self._frame_tokens: int | None = None  # What is left of this frame's running increment.

    def receive_data(self, data: bytes) -> UpstreamBatch:
        """Return what these bytes completed."""
        if self._stage is _Stage.OVER:
            return _NOTHING
        try:
            return self._batch(self._sse.receive_data(data))
        except FrameTooLarge as error:
            return self._batch(error.events, BROKEN_STREAM)

    def receive_eof(self) -> UpstreamBatch:
        """Return the end, or the failure of a stream that was cut before its finish reason."""
        if self._stage is _Stage.OVER:
            return _NOTHING
        cut = self._sse.receive_eof()
        if cut is not None and cut.data.startswith(
            _DONE
        ):  # Only the empty line after it is missing.
            return self._batch([cut])
        if cut is None and self._stage is _Stage.FINISHED:
            self._stage = _Stage.OVER
            return UpstreamBatch(is_end=True)
        return self._batch([], BROKEN_STREAM)

    def _batch(
        self, frames: list[ServerSentEvent], failure: Failure | None = None
    ) -> UpstreamBatch:
        """Read whole frames up to an end or a failure; `failure` is what came after them."""
        batch = _Batch()
        try:
            for frame in frames:
                if frame.data.startswith(_DONE):
                    self._end(batch)
                    return batch.frozen()
                self._read_frame(frame, batch)
        except _Broken as error:
            failure = error.failure
        if failure is not None:
            self._stage = _Stage.OVER
        return batch.frozen(failure)

    def _read_frame(self, frame: ServerSentEvent, batch: _Batch) -> None:
        value = _json_object(frame.data)
        error = value.get("error")
        if error or frame.event == "error":
            raise _Broken(failure_of_status(_error_status(error or value)))
        choices = value.get("choices")
        if not isinstance(choices, list):
            if frame.event != "message":
                return  # A vendor's own event, which a reader of chunks may pass over.
            raise _Broken(BROKEN_STREAM)
        self._read_chunk(_first_choice(choices), _usage(value), batch)

    def _read_chunk(self, choice: dict[str, Any], usage: Usage | None, batch: _Batch) -> None:
        is_answer = bool(choice) and self._stage is _Stage.ANSWER
        finish_reason = choice.get("finish_reason") if is_answer else None
        is_running = is_answer and finish_reason is None
        self._frame_tokens = None if usage is None else self._increment(usage)
        if usage is not None and is_running and (self._frame_tokens is not None or self._block < 0):
            batch.running = usage
        if is_answer:
            self._read_delta(choice.get("delta"), batch)
        if finish_reason is not None:
            self._finish(finish_reason, batch)
        if usage is not None and not is_running:
            batch.events.append(UsageReported(usage))

    def _increment(self, usage: Usage) -> int | None:
        """Return how far the provider's output is past what was given; None where it has no figure.

        A figure that stays 0 beside content is none.
        """
        output = usage.completion_tokens + usage.reasoning_tokens
        return max(0, output - self._tokens_given) if output else None

    def _read_delta(self, delta: Any, batch: _Batch) -> None:
        if delta is None:
            return
        if not isinstance(delta, dict):
            raise _Broken(BROKEN_STREAM)
        for kind, names in _PLAIN_BLOCKS.items():
            text = _first_text(delta, names)
            if text:
                self._open_block(kind, batch)
                batch.events.append(kind(self._block, text, self._tokens(text)))
        calls = delta.get("tool_calls")
        if calls:
            self._read_calls(calls, batch)

    def _read_calls(self, calls: Any, batch: _Batch) -> None:
        if not isinstance(calls, list):
            raise _Broken(BROKEN_STREAM)
        for call in calls:
            if not isinstance(call, dict):
                raise _Broken(BROKEN_STREAM)
            self._read_call(call, batch)

    def _read_call(self, call: dict[str, Any], batch: _Batch) -> None:
        function = call.get("function")
        if not isinstance(function, dict):
            function = {}
        call_id, name = _text(call, "id"), _text(function, "name")
        arguments = _text(function, "arguments")
        index = self._call_index(call.get("index"), call_id, name)
        if self._is_new_call(index, call_id, name):
            self._open_call_block(index, call_id, name, batch)
        if not arguments:
            return
        if self._open_call != index:
            # A piece of a call that is closed: it would make the open call's arguments wrong.
            raise _Broken(BROKEN_STREAM)
        batch.events.append(ToolCallDelta(self._block, arguments, self._tokens(arguments)))

    def _call_index(self, index: Any, call_id: str, name: str) -> int:
        """Return the call's index; where it has none, a name with another id is the next call."""
        if type(index) is int:
            return index
        if self._open_call is not None:
            is_next = bool(name) and call_id != self._call_ids[self._open_call]
            if not is_next:
                return self._open_call
        return max(self._call_ids, default=-1) + 1

    def _is_new_call(self, index: int, call_id: str, name: str) -> bool:
        """Whether the piece opens a call.

        Some servers give every call index 0, others every piece an id of its own: only a new id that
        comes with a name tells another call.
        """
        known_id = self._call_ids.get(index)
        return known_id is None or (bool(name) and bool(call_id) and call_id != known_id)

    def _open_call_block(self, index: int, call_id: str, name: str, batch: _Batch) -> None:
        self._close_block(batch)
        self._block += 1
        self._open = ToolCallStarted
        self._open_call = index
        self._call_ids[index] = call_id = call_id or f"call_{self._block}"
        started = ToolCallStarted(self._block, call_id, name, self._tokens(name))
        batch.events.append(started)

    def _open_block(self, kind: type[Delta], batch: _Batch) -> None:
        if self._open is not kind:
            self._close_block(batch)
            self._block += 1
            self._open = kind

    def _close_block(self, batch: _Batch) -> None:
        if self._open is None:
            return
        batch.events.append(BlockFinished(self._block, is_complete=True))
        self._open = self._open_call = None

    def _tokens(self, text: str) -> int:
        if self._frame_tokens is None:
            tokens = self._count(text)
        else:
            tokens, self._frame_tokens = self._frame_tokens, 0
        self._tokens_given += tokens
        return tokens

    def _finish(self, reason: Any, batch: _Batch) -> None:
        if not isinstance(reason, str) or reason in _BROKEN_OFF:
            raise _Broken(BROKEN_STREAM)
        self._close_block(batch)
        batch.finish_reason = _FINISH_REASONS.get(reason, FinishReason.STOP)
        self._stage = _Stage.FINISHED

    def _end(self, batch: _Batch) -> None:
        if self._stage is _Stage.ANSWER:
            if self._block < 0:
                raise _Broken(BROKEN_STREAM)
            is_call = self._open_call is not None
            reason = FinishReason.TOOL_CALLS if is_call else FinishReason.STOP
            self._finish(reason.value, batch)
        batch.is_end = True
        self._stage = _Stage.OVER


class _Batch:
    """An `UpstreamBatch` in the making."""

    __slots__ = ("events", "finish_reason", "is_end", "running")

    def __init__(self) -> None:
        self.events: list[Delta | BlockFinished | UsageReported] = []
        self.running: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.is_end = False

    def frozen(self, failure: Failure | None = None) -> UpstreamBatch:
        return UpstreamBatch(
            tuple(self.events), self.running, self.finish_reason, failure, self.is_end
        )


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = _decode_json(text)
    except (ValueError, RecursionError):
        raise _Broken(BROKEN_STREAM) from None
    if not isinstance(value, dict):
        raise _Broken(BROKEN_STREAM)
    return value


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
            raise _Broken(BROKEN_STREAM)
        if choice.get("index") in (0, None):
            return choice
    return {}


def _first_text(value: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        text = _text(value, name)
        if text:
            return text
    return ""


def _text(value: dict[str, Any], name: str) -> str:
    """Return a member that is text or absent."""
    text = value.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise _Broken(BROKEN_STREAM)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON can carry half of a surrogate pair; no encoder after this one can.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _error_status(error: Any) -> int | None:
    """Return the HTTP status that an error frame names, None where it names none."""
    if isinstance(error, dict):
        for name in ("code", "status", "status_code"):
            status = error.get(name)
            if type(status) is int and 400 <= status <= 599:
                return status
        kind = error.get("type")
        if isinstance(kind, str) and kind.startswith("rate_limit"):
            return 429
    return None
