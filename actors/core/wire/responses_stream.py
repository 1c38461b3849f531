"""OpenAI Responses, the streamed answer: bytes in, batches out.

Owns which block a piece of the answer belongs to. A part of a message, what one item of reasoning says
and each tool call is a block; it ends when its item ends or another opens.

Rules:
- A stream without its last event was cut.
- Deltas count. What an item's end or the last event repeats is taken only where no delta said it.
- Usage is reported with the last event; tokens are counted until then.
- A response that somebody else cancelled is a failure here: to take it for a proper end would charge
  for it in full.

Known departures of servers that are taken in: no sequence numbers, no `output_index` or item ids
(gateways, llama.cpp), tool calls that come whole, an answer that is in the last event alone, a `[DONE]`
after it, events of unknown kinds.

Source: OpenAI API reference, "Streaming events" of the Responses API; llama.cpp's server; both read
2026-11-22.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.core.errors import Failure
from actors.core.events import (
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from actors.core.sse import ServerSentEvent
from actors.core.upstream import TokenCount, UpstreamBatch
from actors.core.wire.failures import BROKEN_STREAM
from actors.core.wire.responses_usage import usage_from
from actors.core.wire.stream_decoder import Batch, WireStreamDecoder
from actors.core.wire.untrusted import Broken, error_failure, json_object, text_member

__all__ = ["ResponsesStreamDecoder"]

_ID_CHARS_MAX = 256
_ITEMS_MAX = 4_096  # An answer of more is none; what it would be kept in is bounded by this.

_INCOMPLETE = {
    "max_output_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}

_STATUSES = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "bio_policy": 400,
    "data_residency_mismatch": 400,
}

_PlainDelta = type[TextDelta] | type[RefusalDelta] | type[ReasoningDelta]

_Key = int | str


@dataclass(slots=True)
class _Item:
    """An item of the output: what was taken from its deltas."""

    call: int | None = None  # Its block, where it is a tool call.
    family: str | None = None  # Of reasoning: whether its content or its summary is taken.
    said: set[object] = field(default_factory=set)  # The parts that deltas brought.


class ResponsesStreamDecoder(WireStreamDecoder[tuple[_Key, object]]):
    """One answer's decoder; an open block is an item and what part of it.

    `response_id` is the provider's name for the answer, None until it was told: who wants the provider
    to stop asks for it by that.
    """

    def __init__(self, count: TokenCount, *, frame_bytes_max: int) -> None:
        super().__init__(count, frame_bytes_max=frame_bytes_max)
        self.response_id: str | None = None
        self._items: dict[_Key, _Item] = {}
        self._keys: dict[str, _Key] = {}  # Of items, by their ids.
        self._latest: _Key = 0  # The item that was spoken of last.
        self._has_call = False

    def _read_eof(self, cut: ServerSentEvent | None) -> UpstreamBatch:
        # The last event may lack the empty line after it; if it is not whole it is no JSON.
        return self._decode([cut] if cut is not None else [], BROKEN_STREAM)

    def _read_frame(self, frame: ServerSentEvent, batch: Batch) -> None:
        value = json_object(frame.data)
        kind = value.get("type")
        if not isinstance(kind, str):
            kind = value["type"] = frame.event
        if kind == "error" or value.get("error"):
            raise Broken(_failure_of(value.get("error") or value))
        read = _READ.get(kind)
        if read is not None:
            read(self, value, batch)

    # Events of the response.

    def _opened(self, value: dict[str, Any], batch: Batch) -> None:
        response_id = _member(value, "response").get("id")
        if isinstance(response_id, str) and 0 < len(response_id) <= _ID_CHARS_MAX:
            self.response_id = self.response_id or response_id

    def _ended(self, value: dict[str, Any], batch: Batch) -> None:
        response = _member(value, "response")
        status = response.get("status") or value["type"].rpartition(".")[2]
        if status == "failed":
            raise Broken(_failure_of(response.get("error")))
        if status not in ("completed", "done", "incomplete"):
            raise Broken
        self._read_output(response, batch)
        if status == "incomplete":
            self._close_block(batch, is_complete=not self._is_call_open())
        self._finish(self._finish_reason(status, response), batch)
        usage = response.get("usage")
        if isinstance(usage, dict):
            batch.events.append(UsageReported(usage_from(usage)))
        self._end(batch)

    def _finish_reason(self, status: Any, response: dict[str, Any]) -> FinishReason:
        if status == "incomplete":
            reason = _member(response, "incomplete_details").get("reason")
            return _INCOMPLETE.get(str(reason), FinishReason.LENGTH)
        return FinishReason.TOOL_CALLS if self._has_call else FinishReason.STOP

    def _read_output(self, response: dict[str, Any], batch: Batch) -> None:
        """Take the answer from the last event, where no other had any of it."""
        output = response.get("output")
        if self._block >= 0 or not isinstance(output, list):
            return
        for index, item in enumerate(output):
            if isinstance(item, dict):
                self._read_item(index, item, batch)

    # Events of an item.

    def _item_added(self, value: dict[str, Any], batch: Batch) -> None:
        item = _member(value, "item")
        self._latest = f"#{len(self._items)}"  # Unless it has a name of its own.
        key = self._key_of_item(value, item)
        self._item(key)
        if item.get("type") == "function_call" and text_member(item, "name"):
            self._open_call(key, item, batch)

    def _item_done(self, value: dict[str, Any], batch: Batch) -> None:
        item = _member(value, "item")
        self._read_item(self._key_of_item(value, item), item, batch)

    def _read_item(self, key: _Key, item: dict[str, Any], batch: Batch) -> None:
        """Take of a whole item what no delta said, and close it."""
        state = self._item(key)
        kind = item.get("type")
        if kind == "message":
            self._read_parts(key, item, batch)
        elif kind == "reasoning":
            self._read_reasoning(key, state, item, batch)
        elif kind == "function_call":
            if state.call is None:
                self._open_call(key, item, batch)
            arguments = text_member(item, "arguments")
            if arguments and not state.said:
                self._add_arguments(key, state, arguments, batch)
        if self._is_open(key):
            self._signature = text_member(item, "encrypted_content")
            is_cut = kind == "function_call" and item.get("status") == "incomplete"
            self._close_block(batch, is_complete=not is_cut)

    def _read_parts(self, key: _Key, item: dict[str, Any], batch: Batch) -> None:
        for index, part in enumerate(_list(item, "content")):
            kind, member = _PART_KINDS.get(str(part.get("type")), (TextDelta, "text"))
            if (kind, index) not in self._items[key].said:
                self._add_text(kind, key, (kind, index), text_member(part, member), batch)

    def _read_reasoning(self, key: _Key, state: _Item, item: dict[str, Any], batch: Batch) -> None:
        if not state.said:
            for family in ("content", "summary"):
                for index, part in enumerate(_list(item, family)):
                    self._add_reasoning(key, (family, index), text_member(part, "text"), batch)
        if not state.said and text_member(item, "encrypted_content"):
            # Thought that the provider seals and does not show: a block without text.
            self._open_block((key, ReasoningDelta), batch)
            batch.events.append(ReasoningDelta(self._block, "", 0))

    # Deltas.

    def _text_delta(self, value: dict[str, Any], batch: Batch) -> None:
        self._part_delta(TextDelta, value, batch)

    def _refusal_delta(self, value: dict[str, Any], batch: Batch) -> None:
        self._part_delta(RefusalDelta, value, batch)

    def _part_delta(self, kind: _PlainDelta, value: dict[str, Any], batch: Batch) -> None:
        part = (kind, _index(value, "content_index"))
        self._add_text(kind, self._key(value), part, text_member(value, "delta"), batch)

    def _reasoning_delta(self, value: dict[str, Any], batch: Batch) -> None:
        part = ("content", _index(value, "content_index"))
        self._add_reasoning(self._key(value), part, text_member(value, "delta"), batch)

    def _summary_delta(self, value: dict[str, Any], batch: Batch) -> None:
        part = ("summary", _index(value, "summary_index"))
        self._add_reasoning(self._key(value), part, text_member(value, "delta"), batch)

    def _arguments_delta(self, value: dict[str, Any], batch: Batch) -> None:
        key = self._key(value)
        state = self._items.get(key)
        text = text_member(value, "delta")
        # A call that nobody named yet is taken whole when its item ends.
        if state is not None and state.call is not None and text:
            self._add_arguments(key, state, text, batch)

    def _add_text(
        self, kind: _PlainDelta, key: _Key, part: object, text: str, batch: Batch
    ) -> None:
        if not text:
            return
        self._open_block((key, part), batch)
        self._item(key).said.add(part)
        batch.events.append(kind(self._block, text, self._count(text)))

    def _add_reasoning(self, key: _Key, part: tuple[str, int], text: str, batch: Batch) -> None:
        """Add to the item's one block; of summary and content the first that says something counts."""
        state = self._item(key)
        if not text or state.family not in (None, part[0]):
            return
        if state.said and part not in state.said:
            text = "\n\n" + text
        state.family = part[0]
        state.said.add(part)
        self._open_block((key, ReasoningDelta), batch)
        batch.events.append(ReasoningDelta(self._block, text, self._count(text)))

    def _add_arguments(self, key: _Key, state: _Item, text: str, batch: Batch) -> None:
        if not self._is_open(key):
            # A piece of a call that is closed: it would make the open call's arguments wrong.
            raise Broken
        state.said.add(ToolCallDelta)
        batch.events.append(ToolCallDelta(self._block, text, self._count(text)))

    # Blocks.

    def _open_call(self, key: _Key, item: dict[str, Any], batch: Batch) -> None:
        self._open_block((key, ToolCallStarted), batch)
        self._item(key).call = self._block
        self._has_call = True
        name = text_member(item, "name")
        call_id = text_member(item, "call_id") or text_member(item, "id") or f"call_{self._block}"
        batch.events.append(ToolCallStarted(self._block, call_id, name, self._count(name)))

    def _item(self, key: _Key) -> _Item:
        """Return an item, a new one where it is spoken of for the first time."""
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item()
        return item

    def _is_open(self, key: _Key) -> bool:
        return self._open is not None and self._open[0] == key

    def _is_call_open(self) -> bool:
        return self._open is not None and self._open[1] is ToolCallStarted

    # Which item is meant.

    def _key(self, value: dict[str, Any]) -> _Key:
        """Return the item that an event speaks of: by its index, its id, or because it is the latest."""
        index, item_id = value.get("output_index"), value.get("item_id")
        if type(index) is int:
            self._latest = index
        elif isinstance(item_id, str) and item_id:
            self._latest = self._keys.get(item_id, item_id)
        return self._latest

    def _key_of_item(self, value: dict[str, Any], item: dict[str, Any]) -> _Key:
        ids = [i for name in ("id", "call_id") if isinstance(i := item.get(name), str) and i]
        index = value.get("output_index")
        known = next((self._keys[i] for i in ids if i in self._keys), None)
        if type(index) is int:
            self._latest = index
        elif known is not None:
            self._latest = known
        elif ids:
            self._latest = ids[0]
        if len(self._keys) > _ITEMS_MAX or len(self._items) > _ITEMS_MAX:
            raise Broken
        for item_id in ids:
            self._keys[item_id] = self._latest
        return self._latest


_PART_KINDS: Mapping[str, tuple[_PlainDelta, str]] = {
    "output_text": (TextDelta, "text"),
    "refusal": (RefusalDelta, "refusal"),
}

_READ: Mapping[str, Callable[[ResponsesStreamDecoder, dict[str, Any], Batch], None]] = {
    "response.created": ResponsesStreamDecoder._opened,
    "response.queued": ResponsesStreamDecoder._opened,
    "response.in_progress": ResponsesStreamDecoder._opened,
    "response.output_item.added": ResponsesStreamDecoder._item_added,
    "response.output_item.done": ResponsesStreamDecoder._item_done,
    "response.output_text.delta": ResponsesStreamDecoder._text_delta,
    "response.refusal.delta": ResponsesStreamDecoder._refusal_delta,
    "response.reasoning_text.delta": ResponsesStreamDecoder._reasoning_delta,
    "response.reasoning_summary_text.delta": ResponsesStreamDecoder._summary_delta,
    "response.function_call_arguments.delta": ResponsesStreamDecoder._arguments_delta,
    "response.completed": ResponsesStreamDecoder._ended,
    "response.done": ResponsesStreamDecoder._ended,
    "response.incomplete": ResponsesStreamDecoder._ended,
    "response.failed": ResponsesStreamDecoder._ended,
    "response.cancelled": ResponsesStreamDecoder._ended,
}
"""Every other event repeats what these say, or is of a kind that no request of ours asks for."""


def _member(value: dict[str, Any], name: str) -> dict[str, Any]:
    member = value.get(name)
    return member if isinstance(member, dict) else {}


def _list(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    members = value.get(name)
    return [m for m in members if isinstance(m, dict)] if isinstance(members, list) else []


def _index(value: dict[str, Any], name: str) -> int:
    index = value.get(name)
    return index if type(index) is int else 0


def _failure_of(error: Any) -> Failure:
    return error_failure(error, _status_of_word, words=("code", "type"))


def _status_of_word(word: str) -> int | None:
    """Return the status of a code; some are of families that providers extend."""
    if word.startswith("rate_limit"):
        return 429
    if word.startswith(("invalid_image", "image_")):
        return 400
    return _STATUSES.get(word)
