"""Anthropic Messages, the streamed answer: bytes in, batches out.

Owns which block of ours a piece of the answer belongs to, and how many tokens it counts. A block
opens with the first piece of it that says something; it ends with its own `content_block_stop`, when
another opens, or with the stop reason.

Rules:
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
from typing import Any

from actors.core.events import (
    Delta,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.sse import ServerSentEvent
from actors.core.upstream import TokenCount
from actors.core.wire.anthropic_redacted import redacted_signature
from actors.core.wire.anthropic_usage import usage_from
from actors.core.wire.stream_decoder import Batch, Stage, WireStreamDecoder, finish_reason_of
from actors.core.wire.untrusted import Broken, error_failure, json_object, text_member

__all__ = ["MessagesStreamDecoder"]

_STOP_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "pause_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}

_KINDS: dict[str, type[Delta]] = {
    "text": TextDelta,
    "thinking": ReasoningDelta,
    "tool_use": ToolCallStarted,
}

_PLAIN_DELTAS: dict[str, tuple[type[TextDelta | ReasoningDelta], str]] = {
    "text_delta": (TextDelta, "text"),
    "thinking_delta": (ReasoningDelta, "thinking"),
}

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

_encode_json = json.JSONEncoder(ensure_ascii=False).encode


class MessagesStreamDecoder(WireStreamDecoder[type[Delta]]):
    """One answer's decoder; an open block is its kind."""

    def __init__(self, count: TokenCount, *, frame_bytes_max: int) -> None:
        super().__init__(count, frame_bytes_max=frame_bytes_max)
        self._index: Any = None  # What the provider calls its own open block.
        self._call_id: Any = None  # Of the call that opened last, as it came.
        self._input: dict[str, Any] | None = None  # Of the open call, until a piece of it comes.
        self._calls: set[int] = set()  # Indices of every call so far.
        self._usage = Usage()
        self._tokens_text = self._tokens_thought = 0

    def _read_frame(self, frame: ServerSentEvent, batch: Batch) -> None:
        is_error = frame.event == "error"
        value = _error_object(frame.data) if is_error else json_object(frame.data)
        kind = value.get("type", frame.event)
        if is_error or kind == "error" or value.get("error"):
            raise Broken(error_failure(value.get("error", value), _STATUSES.get))
        if kind == "message_stop":
            self._end(batch)
        elif self._stage is Stage.ANSWER and isinstance(kind, str):
            read = _READ.get(kind)
            if read is not None:
                read(self, value, batch)

    def _message_start(self, value: dict[str, Any], batch: Batch) -> None:
        usage = _member(value, "message").get("usage")
        if isinstance(usage, dict):
            known = usage_from(usage)
            # Of the output it has a token or so of the start, which is no report of it.
            self._usage = replace(known, completion_tokens=0, reasoning_tokens=0)
            if known.prompt_tokens:
                batch.events.append(UsageReported(self._usage))

    def _block_start(self, value: dict[str, Any], batch: Batch) -> None:
        content = _member(value, "content_block")
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

    def _open_call(self, content: dict[str, Any], batch: Batch) -> None:
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

    def _block_delta(self, value: dict[str, Any], batch: Batch) -> None:
        delta = _member(value, "delta")
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

    def _read_arguments(self, index: Any, arguments: str, batch: Batch) -> None:
        if index == self._index and self._open is ToolCallStarted:
            self._arguments(arguments, batch)
        elif arguments and type(index) is int and index in self._calls:
            # A piece of a call that is closed: it would make another's arguments wrong.
            raise Broken

    def _arguments(self, arguments: str, batch: Batch) -> None:
        if arguments:
            self._input = None
            batch.events.append(ToolCallDelta(self._block, arguments, self._tokens(arguments)))

    def _piece(self, kind: type[TextDelta | ReasoningDelta], text: str, batch: Batch) -> None:
        if text:
            self._open_block(kind, batch)
            batch.events.append(kind(self._block, text, self._tokens(text, kind)))

    def _seal(self, signature: str, batch: Batch) -> None:
        """Take a piece of a signature; thinking that is not shown has nothing else."""
        if not signature:
            return
        if self._open is not ReasoningDelta:
            self._open_block(ReasoningDelta, batch)
            batch.events.append(ReasoningDelta(self._block, "", 0))
        self._signature += signature

    def _block_stop(self, value: dict[str, Any], batch: Batch) -> None:
        if value.get("index") == self._index:
            self._close_block(batch)
            self._index = None

    def _close_block(self, batch: Batch, *, is_complete: bool = True) -> None:
        if self._input is not None:
            # A call without a piece of its input has all of it in its start, {} for none.
            self._arguments(_encode_json(self._input), batch)
        super()._close_block(batch, is_complete=is_complete)

    def _message_delta(self, value: dict[str, Any], batch: Batch) -> None:
        delta = _member(value, "delta")
        reason = delta.get("stop_reason")
        if reason is not None:
            self._finish(finish_reason_of(reason, _STOP_REASONS), batch)
            batch.stop_sequence = text_member(delta, "stop_sequence") or None
        usage = value.get("usage")
        if isinstance(usage, dict):
            self._usage = usage_from(usage, self._usage)
            if reason is None:
                batch.events.append(UsageReported(self._usage))
        if reason is not None:
            self._report_end(batch)

    def _report_end(self, batch: Batch) -> None:
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


def _error_object(data: str) -> dict[str, Any]:
    """Return what an error frame holds; one in prose names no status."""
    try:
        return json_object(data)
    except Broken:
        return {}


def _member(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a member that has to be an object."""
    inner = value.get(name)
    if not isinstance(inner, dict):
        raise Broken
    return inner
