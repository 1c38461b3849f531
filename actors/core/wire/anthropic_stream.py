"""Anthropic Messages, the streamed answer: bytes in, batches out.

Owns which block of ours a piece of the answer belongs to, and how many tokens it counts. A block
opens with the first piece of it that says something and is numbered from 0 in that order; it ends
with its own `content_block_stop`, when another opens, or with the stop reason.

Rules:
- Nothing that a provider sends raises. What is no stream of this format is a failure, which is
  final, as is the end: what comes after either is ignored.
- Tokens are counted: the format has no running figures of the output. `message_start` reports the
  prompt at once, so that a cancel is charged by the provider's own figure.
- Usage is cumulative; a later report replaces the figures that it has. An answer that ends without
  any figure of its output is reported as it was counted, since a report of 0 would be believed.
- The stop reason and the last usage come in one frame. After it the answer is whole: a body that is
  cut from there on has ended.
- Events and blocks of a kind unknown here (those of tools that the provider runs itself) are passed
  over, as Anthropic asks of its clients.

Known departures of providers that are taken in: blocks that all stop at the very end or not at all,
a block that starts again under its own index with its last piece (llama.cpp), a delta without its
`content_block_start`, a call's whole input in its start, `[DONE]` for `message_stop`, usage at the
end alone, events without an `event` line, errors with a figure for their code.

Source: Anthropic API reference, "Streaming Messages" and "Errors"; llama.cpp's and vLLM's servers;
all read 2026-11-22.
"""

from __future__ import annotations

import json
from dataclasses import replace
from enum import Enum
from typing import Any

from actors.core.errors import Failure
from actors.core.events import (
    BlockFinished,
    Delta,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.sse import FrameTooLarge, ServerSentEvent, SSEDecoder
from actors.core.upstream import TokenCount, UpstreamBatch
from actors.core.wire.anthropic_frames import (
    Broken,
    error_failure,
    json_object,
    member,
    text_member,
)
from actors.core.wire.anthropic_redacted import redacted_signature
from actors.core.wire.anthropic_usage import usage_from
from actors.core.wire.failures import BROKEN_STREAM

__all__ = ["MessagesStreamDecoder"]

_DONE = "[DONE]"
_NOTHING = UpstreamBatch()

_STOP_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "pause_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}

_BROKEN_OFF = frozenset({"abort", "cancelled", "error"})
"""What servers, this runtime among them, call an answer that did not end by itself. To take it for a
proper end would charge for it in full."""

_KINDS: dict[str, type[Delta]] = {
    "text": TextDelta,
    "thinking": ReasoningDelta,
    "tool_use": ToolCallStarted,
}

_PLAIN_DELTAS: dict[str, tuple[type[TextDelta | ReasoningDelta], str]] = {
    "text_delta": (TextDelta, "text"),
    "thinking_delta": (ReasoningDelta, "thinking"),
}


class _Stage(Enum):
    ANSWER = "answer"  # before the stop reason
    FINISHED = "finished"  # after it: only the end is still to come
    OVER = "over"  # the end or a failure


_encode_json = json.JSONEncoder(ensure_ascii=False).encode


class MessagesStreamDecoder:
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
        self._index: Any = None  # What the provider calls its own open block.
        self._signature = ""
        self._call_id: Any = None  # Of the call that opened last, as it came.
        self._input: dict[str, Any] | None = None  # Of the open call, until a piece of it comes.
        self._calls: set[int] = set()  # Indices of every call so far.
        self._usage = Usage()
        self._tokens_text = self._tokens_thought = 0

    def receive_data(self, data: bytes) -> UpstreamBatch:
        """Return what these bytes completed."""
        if self._stage is _Stage.OVER:
            return _NOTHING
        try:
            return self._batch(self._sse.receive_data(data))
        except FrameTooLarge as error:
            return self._batch(error.events, BROKEN_STREAM)

    def receive_eof(self) -> UpstreamBatch:
        """Return the end, or the failure of a stream that was cut before its stop reason."""
        if self._stage is _Stage.OVER:
            return _NOTHING
        if self._stage is _Stage.FINISHED:
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
                self._read_frame(frame, batch)
                if batch.is_end:
                    return batch.frozen()
        except Broken as error:
            failure = error.failure
        if failure is not None:
            self._stage = _Stage.OVER
        return batch.frozen(failure)

    def _read_frame(self, frame: ServerSentEvent, batch: _Batch) -> None:
        if frame.data.startswith(_DONE):
            self._end(batch)
            return
        if frame.event == "error":
            raise Broken(error_failure(frame.data))
        value = json_object(frame.data)
        kind = value.get("type", frame.event)
        if kind == "error" or value.get("error"):
            raise Broken(error_failure(frame.data))
        if kind == "message_stop":
            self._end(batch)
        elif self._stage is _Stage.ANSWER and isinstance(kind, str):
            read = _READ.get(kind)
            if read is not None:
                read(self, value, batch)

    def _message_start(self, value: dict[str, Any], batch: _Batch) -> None:
        usage = member(value, "message").get("usage")
        if isinstance(usage, dict):
            known = usage_from(usage)
            # Of the output it has a token or so of the start, which is no report of it.
            self._usage = replace(known, completion_tokens=0, reasoning_tokens=0)
            if known.prompt_tokens:
                batch.events.append(UsageReported(self._usage))

    def _block_start(self, value: dict[str, Any], batch: _Batch) -> None:
        content = member(value, "content_block")
        if self._goes_on(value.get("index"), content):
            return
        self._close_block(batch)
        self._index = value.get("index")
        match content.get("type"):
            case "text":
                self._piece(TextDelta, text_member(content, "text"), batch)
            case "thinking":
                self._seal(text_member(content, "signature"), batch)
                self._piece(ReasoningDelta, text_member(content, "thinking"), batch)
            case "redacted_thinking":
                self._seal(redacted_signature(text_member(content, "data")), batch)
            case "tool_use":
                self._open_call(content, batch)

    def _goes_on(self, index: Any, content: dict[str, Any]) -> bool:
        """Whether a start is that of the open block again."""
        if self._open is None or index != self._index or index is None:
            return False
        is_other_call = self._open is ToolCallStarted and content.get("id") != self._call_id
        return _KINDS.get(text_member(content, "type")) is self._open and not is_other_call

    def _open_call(self, content: dict[str, Any], batch: _Batch) -> None:
        self._open_block(ToolCallStarted, batch)
        if type(self._index) is int:
            self._calls.add(self._index)
        call_id, name = text_member(content, "id"), text_member(content, "name")
        self._call_id = content.get("id")
        given = content.get("input")
        self._input = given if isinstance(given, dict) else {}
        started = ToolCallStarted(
            self._block, call_id or f"call_{self._block}", name, self._tokens(name)
        )
        batch.events.append(started)

    def _block_delta(self, value: dict[str, Any], batch: _Batch) -> None:
        delta = member(value, "delta")
        index, kind = value.get("index"), text_member(delta, "type")
        if kind == "input_json_delta":
            self._read_arguments(index, text_member(delta, "partial_json"), batch)
        elif kind == "signature_delta" and index == self._index:
            self._seal(text_member(delta, "signature"), batch)
        elif kind in _PLAIN_DELTAS:
            if index != self._index:
                self._close_block(batch)
                self._index = index
            plain, name = _PLAIN_DELTAS[kind]
            self._piece(plain, text_member(delta, name), batch)

    def _read_arguments(self, index: Any, arguments: str, batch: _Batch) -> None:
        if index == self._index and self._open is ToolCallStarted:
            self._arguments(arguments, batch)
        elif arguments and type(index) is int and index in self._calls:
            # A piece of a call that is closed: it would make another's arguments wrong.
            raise Broken

    def _arguments(self, arguments: str, batch: _Batch) -> None:
        if arguments:
            self._input = None
            batch.events.append(ToolCallDelta(self._block, arguments, self._tokens(arguments)))

    def _piece(self, kind: type[TextDelta | ReasoningDelta], text: str, batch: _Batch) -> None:
        if text:
            self._open_block(kind, batch)
            batch.events.append(kind(self._block, text, self._tokens(text, kind)))

    def _seal(self, signature: str, batch: _Batch) -> None:
        """Take a piece of a signature; thinking that is not shown has nothing else."""
        if not signature:
            return
        if self._open is not ReasoningDelta:
            self._open_block(ReasoningDelta, batch)
            batch.events.append(ReasoningDelta(self._block, "", 0))
        self._signature += signature

    def _block_stop(self, value: dict[str, Any], batch: _Batch) -> None:
        if value.get("index") == self._index:
            self._close_block(batch)
            self._index = None

    def _open_block(self, kind: type[Delta], batch: _Batch) -> None:
        if self._open is not kind or kind is ToolCallStarted:
            self._close_block(batch)
            self._block += 1
            self._open = kind

    def _close_block(self, batch: _Batch) -> None:
        if self._open is None:
            return
        if self._input is not None:
            # A call without a piece of its input has all of it in its start, {} for none.
            self._arguments(_encode_json(self._input), batch)
        batch.events.append(BlockFinished(self._block, True, self._signature or None))
        self._open, self._signature = None, ""

    def _message_delta(self, value: dict[str, Any], batch: _Batch) -> None:
        delta = member(value, "delta")
        reason = delta.get("stop_reason")
        if reason is not None:
            self._finish(reason, batch)
            batch.stop_sequence = text_member(delta, "stop_sequence") or None
        usage = value.get("usage")
        if isinstance(usage, dict):
            self._usage = usage_from(usage, self._usage)
            if reason is None:
                batch.events.append(UsageReported(self._usage))
        if reason is not None:
            self._report_end(batch)

    def _finish(self, reason: Any, batch: _Batch) -> None:
        if not isinstance(reason, str) or reason in _BROKEN_OFF:
            raise Broken
        self._close_block(batch)
        batch.finish_reason = _STOP_REASONS.get(reason, FinishReason.STOP)
        self._stage = _Stage.FINISHED

    def _report_end(self, batch: _Batch) -> None:
        """Report the last figures, if the provider gave any at all."""
        usage = self._usage
        if not usage.completion_tokens and not usage.reasoning_tokens:
            usage = replace(
                usage,
                completion_tokens=self._tokens_text,
                reasoning_tokens=self._tokens_thought,
            )
        if self._usage != Usage():
            batch.events.append(UsageReported(usage))

    def _end(self, batch: _Batch) -> None:
        if self._stage is _Stage.ANSWER:
            raise Broken
        batch.is_end = True
        self._stage = _Stage.OVER

    def _tokens(self, text: str, kind: type[Delta] = TextDelta) -> int:
        tokens = self._count(text)
        if kind is ReasoningDelta:
            self._tokens_thought += tokens
        else:
            self._tokens_text += tokens
        return tokens


_READ = {
    "message_start": MessagesStreamDecoder._message_start,
    "content_block_start": MessagesStreamDecoder._block_start,
    "content_block_delta": MessagesStreamDecoder._block_delta,
    "content_block_stop": MessagesStreamDecoder._block_stop,
    "message_delta": MessagesStreamDecoder._message_delta,
}


class _Batch:
    """An `UpstreamBatch` in the making."""

    __slots__ = ("events", "finish_reason", "is_end", "stop_sequence")

    def __init__(self) -> None:
        self.events: list[Delta | BlockFinished | UsageReported] = []
        self.finish_reason: FinishReason | None = None
        self.stop_sequence: str | None = None
        self.is_end = False

    def frozen(self, failure: Failure | None = None) -> UpstreamBatch:
        return UpstreamBatch(
            tuple(self.events),
            None,
            self.finish_reason,
            failure,
            self.is_end,
            self.stop_sequence,
        )
