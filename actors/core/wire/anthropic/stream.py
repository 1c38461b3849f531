"""Anthropic Messages, the streamed answer: bytes in, batches out.

Owns which block of ours a piece of the answer belongs to, and how many tokens it counts. A block
opens with the first piece of it that says something; it ends with its own `content_block_stop`, as
`stream_decoder` says, or with the stop reason.

Rules:
- Tokens are counted: the format has no running figures of the output. `message_start` reports the
  prompt at once, so that a cancel is charged by the provider's own figure.
- Usage is cumulative; a later report replaces the figures that it has.
- The stop reason and the last usage come in one frame. After it the answer is whole: a body that is
  cut from there on has ended.
- Blocks of a kind unknown here (those of tools that the provider runs itself), and deltas (citations),
  are opaque: readers of this format are shown them as they came.

Known departures of providers that are taken in: blocks that all stop at the very end or not at all,
a block that starts again under its own index with its last piece (llama.cpp), a delta without its
`content_block_start`, pieces of a block that is not the latest, a call's whole input in its start,
`[DONE]` for `message_stop`, usage at the end alone, a whole message in one frame or as the body, events
without an `event` line, errors with a figure for their code.

Source: Anthropic API reference, "Streaming Messages" and "Errors"; llama.cpp's and vLLM's servers;
all read 2026-11-22.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace as replace_members

from actors.core.events import (
    Opaque,
    ReasoningDelta,
    TextDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.request import Dialect
from actors.core.sse import ServerSentEvent
from actors.core.upstream import TokenCount
from actors.core.wire.anthropic.redacted import redacted_signature
from actors.core.wire.anthropic.usage import usage_from
from actors.core.wire.finish_words import finish_reason_of, word_of
from actors.core.wire.stream_decoder import (
    Batch,
    OpenBlock,
    PlainDelta,
    Stage,
    WireStreamDecoder,
)
from actors.core.wire.untrusted import (
    Broken,
    error_failure,
    json_object,
    piece_member,
    text_member,
)

__all__ = ["MessagesStreamDecoder"]

_PLAIN_DELTAS: dict[str, tuple[type[PlainDelta], str]] = {
    "text_delta": (TextDelta, "text"),
    "thinking_delta": (ReasoningDelta, "thinking"),
}

_OWN_BLOCKS = {"text": TextDelta, "thinking": ReasoningDelta, "tool_use": ToolCallStarted}

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


_BLOCKS_MAX = 4_096  # An answer of more is none.


class MessagesStreamDecoder(WireStreamDecoder):
    """One answer's decoder."""

    def __init__(self, count: TokenCount, *, frame_bytes_max: int) -> None:
        super().__init__(count, frame_bytes_max=frame_bytes_max)
        self._latest: int | None = None  # The provider's index of the block that it spoke of last.
        self._by_index: dict[int | None, OpenBlock] = {}
        self._call_ids: dict[int, str] = {}  # Of calls, as they came, by our numbers.
        self._usage = Usage()

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
            self._usage = replace_members(known, completion_tokens=0, reasoning_tokens=0)
            if known.prompt_tokens:
                batch.events.append(UsageReported(self._usage))

    def _message(self, value: dict[str, Any], batch: Batch) -> None:
        """Read a whole message, which is what a provider sends that does not stream."""
        content = value.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if not isinstance(content, list):
            raise Broken
        for index, block in enumerate(content):
            self._block_start({"index": index, "content_block": block}, batch)
            self._block_stop({"index": index}, batch)
        reason = value.get("stop_reason") or "end_turn"
        delta = {"stop_reason": reason, "stop_sequence": value.get("stop_sequence")}
        self._message_delta({"delta": delta, "usage": value.get("usage")}, batch)

    # Blocks.

    def _block_start(self, value: dict[str, Any], batch: Batch) -> None:
        content = _member(value, "content_block")
        kind = text_member(content, "type")
        index = self._index(value)
        known = self._by_index.get(index)
        if known is not None and self._is_open(known):
            if self._goes_on(known, kind, content):
                return
            self._close(known, batch)  # Another block under the same index.
        self._by_index.pop(index, None)
        if self._plain is not None:
            self._close(self._plain, batch)
        match kind:
            case "text":
                self._piece(index, TextDelta, piece_member(content, "text"), batch)
            case "thinking":
                self._piece(index, ReasoningDelta, piece_member(content, "thinking"), batch)
                self._seal(index, text_member(content, "signature"), batch)
            case "redacted_thinking":
                self._seal(index, redacted_signature(text_member(content, "data")), batch)
            case "tool_use":
                self._open_call(index, content, batch)
            case _:
                self._open_opaque(index, value, batch)

    def _goes_on(self, block: OpenBlock, kind: str, content: dict[str, Any]) -> bool:
        """Whether a start is that of an open block again."""
        is_other_call = block.is_call and content.get("id") != self._call_ids[block.number]
        return _OWN_BLOCKS.get(kind) is block.kind and not is_other_call

    def _open_call(self, index: int | None, content: dict[str, Any], batch: Batch) -> None:
        given = content.get("input")
        default = _encode_json(given) if isinstance(given, dict) else "{}"
        block = self._begin(ToolCallStarted, batch, default=default)
        self._by_index[index] = block
        call_id, name = text_member(content, "id"), text_member(content, "name")
        self._call_ids[block.number] = call_id
        call_id = call_id or f"call_{block.number}"
        tokens = self._tokens(name)
        batch.events.append(ToolCallStarted(block.number, call_id, name, tokens))

    def _open_opaque(self, index: int | None, value: dict[str, Any], batch: Batch) -> None:
        block = self._begin(Opaque, batch)
        self._by_index[index] = block
        self._show(block, value, 0, batch)

    def _show(self, block: OpenBlock, value: dict[str, Any], tokens: int, batch: Batch) -> None:
        payload = {name: member for name, member in value.items() if name != "index"}
        batch.events.append(Opaque(block.number, Dialect.MESSAGES, payload, tokens))

    def _block_delta(self, value: dict[str, Any], batch: Batch) -> None:
        delta = _member(value, "delta")
        index, kind = self._index(value), text_member(delta, "type")
        known = self._by_index.get(index)
        if known is not None and known.kind is Opaque:
            if self._is_open(known):
                tokens = self._count(text_member(delta, "partial_json"))
                self._show(known, value, tokens, batch)
        elif kind == "input_json_delta":
            self._read_arguments(known, piece_member(delta, "partial_json"), batch)
        elif kind == "signature_delta":
            if known is None or self._is_open(known):
                self._seal(index, text_member(delta, "signature"), batch)
        elif kind in _PLAIN_DELTAS:
            plain, name = _PLAIN_DELTAS[kind]
            self._piece(index, plain, piece_member(delta, name), batch)
        else:
            self._decorate(index, known, value, batch)

    def _read_arguments(self, call: OpenBlock | None, arguments: str, batch: Batch) -> None:
        if call is None or not call.is_call:
            return
        if self._is_open(call):
            self._say(call, arguments, batch)
        elif arguments.strip():
            # A piece of a call that is closed: to leave it out would make its arguments wrong.
            raise Broken

    def _piece(
        self, index: int | None, kind: type[PlainDelta], text: str, batch: Batch
    ) -> OpenBlock | None:
        """Add to the block of that index; to a new one where it is closed, or not begun."""
        if not text:
            return None
        block = self._by_index.get(index)
        if block is None or not self._is_open(block) or block.kind is not kind:
            block = self._begin(kind, batch)
            self._by_index[index] = block
        self._say(block, text, batch)
        return block

    def _seal(self, index: int | None, signature: str, batch: Batch) -> None:
        """Take a piece of a signature; thinking that is not shown has nothing else."""
        if not signature:
            return
        block = self._by_index.get(index)
        if block is None or not self._is_open(block) or block.kind is not ReasoningDelta:
            block = self._by_index[index] = self._begin(ReasoningDelta, batch)
            batch.events.append(ReasoningDelta(block.number, "", 0))
        block.signature += signature

    def _decorate(
        self, index: int | None, block: OpenBlock | None, value: dict[str, Any], batch: Batch
    ) -> None:
        """Show a delta of a kind unknown here (a citation) with the text that it belongs to."""
        if block is None or not self._is_open(block):
            block = self._by_index[index] = self._begin(TextDelta, batch)
            batch.events.append(TextDelta(block.number, "", 0))
        self._show(block, value, 0, batch)

    def _block_stop(self, value: dict[str, Any], batch: Batch) -> None:
        block = self._by_index.get(self._index(value))
        if block is None or not self._is_open(block):
            return
        if block.kind is Opaque:
            # Its end is no frame of its own: every reader knows it from the block's.
            self._close(block, batch)
        else:
            self._stop(block, batch)

    def _index(self, value: dict[str, Any]) -> int | None:
        """Return the index that a frame names, the latest one where it names none."""
        index = value.get("index")
        if type(index) is int:
            self._latest = index
        if len(self._by_index) > _BLOCKS_MAX:
            raise Broken
        return self._latest

    # The end.

    def _message_delta(self, value: dict[str, Any], batch: Batch) -> None:
        delta = _member(value, "delta")
        word = word_of(delta.get("stop_reason"))
        usage = value.get("usage")
        if word is not None:
            self._finish(finish_reason_of(word), batch)
            batch.stop_sequence = text_member(delta, "stop_sequence") or None
        if isinstance(usage, dict):
            self._usage = usage_from(usage, self._usage)
        if self._usage.total_tokens and (word is not None or isinstance(usage, dict)):
            batch.events.append(UsageReported(self._usage))


_READ = {
    "message": MessagesStreamDecoder._message,
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
