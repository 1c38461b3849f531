"""OpenAI Responses, the streamed answer: bytes in, batches out.

Owns which block a piece of the answer belongs to. A part of a message, what one item of reasoning says
and each tool call is a block; it ends when its item ends, or as `stream_decoder` says.

Rules:
- A stream without its last event was cut.
- Deltas count. What an item's end or the last event repeats is taken only where no delta said it.
- Usage is reported with the last event; tokens are counted until then.
- Items of tools that the provider runs itself, and whatever else has no word in events, are opaque:
  readers of this format are shown their events as they came.
- A response that somebody else cancelled is a failure here: to take it for a proper end would charge
  for it in full.

Known departures of servers that are taken in: no sequence numbers, no `output_index` or item ids
(gateways, llama.cpp), tool calls that come whole, pieces of an item that is not the latest, an answer that
is in the last event alone, a whole response in one frame or as the body, a `[DONE]` after it.

Source: OpenAI API reference, "Streaming events" of the Responses API; llama.cpp's server; both read
2026-11-22.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from actors.core.errors import Failure
from actors.core.events import (
    FinishReason,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallStarted,
    UsageReported,
)
from actors.core.request import Dialect, ToolKind
from actors.core.sse import ServerSentEvent
from actors.core.upstream import TokenCount
from actors.core.wire.finish_words import finish_reason_of
from actors.core.wire.responses.places import Item, Items, beyond
from actors.core.wire.responses.usage import usage_from
from actors.core.wire.stream_decoder import Batch, OpenBlock, WireStreamDecoder
from actors.core.wire.untrusted import (
    Broken,
    error_failure,
    json_object,
    piece_member,
    text_member,
)

__all__ = ["ResponsesStreamDecoder"]

_ID_CHARS_MAX = 256

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

_PlainKind = type[TextDelta] | type[RefusalDelta] | type[ReasoningDelta]

_CALLS: Mapping[str, tuple[ToolKind, str]] = {
    "function_call": (ToolKind.FUNCTION, "arguments"),
    "custom_tool_call": (ToolKind.CUSTOM, "input"),
    "tool_search_call": (ToolKind.TOOL_SEARCH, "arguments"),
    "local_shell_call": (ToolKind.LOCAL_SHELL, "action"),
}
"""Items that the client acts on: what kind of tool they call, and which member has the arguments."""

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ResponsesStreamDecoder(WireStreamDecoder):
    """One answer's decoder.

    `response_id` is the provider's name for the answer, None until it was told: who wants the provider
    to stop asks for it by that.
    """

    def __init__(self, count: TokenCount, *, frame_bytes_max: int) -> None:
        super().__init__(count, frame_bytes_max=frame_bytes_max)
        self.response_id: str | None = None
        self._items = Items()

    def _read_frame(self, frame: ServerSentEvent, batch: Batch) -> None:
        value = json_object(frame.data)
        kind = value.get("type")
        if not isinstance(kind, str):
            is_response = value.get("object") == "response"
            if is_response and not value.get("error"):
                value = {"response": value}
            kind = value["type"] = "response.completed" if is_response else frame.event
        if kind == "error" or value.get("error"):
            raise Broken(_failure_of(value.get("error") or value))
        read = _READ.get(kind)
        if read is not None:
            read(self, value, batch)
        else:
            self._other(value, batch)

    # Events of the response.

    def _opened(self, value: dict[str, Any], batch: Batch) -> None:
        response_id = _member(value, "response").get("id")
        if isinstance(response_id, str) and 0 < len(response_id) <= _ID_CHARS_MAX:
            self.response_id = self.response_id or response_id

    def _ended_response(self, value: dict[str, Any], batch: Batch) -> None:
        response = _member(value, "response")
        status = response.get("status") or value["type"].rpartition(".")[2]
        if status == "failed":
            raise Broken(_failure_of(response.get("error")))
        if status not in ("completed", "done", "incomplete"):
            raise Broken
        self._read_output(response, batch)
        reason = FinishReason.STOP
        if status == "incomplete":
            said = _member(response, "incomplete_details").get("reason")
            reason = finish_reason_of(said) if isinstance(said, str) else FinishReason.LENGTH
            if reason in (FinishReason.STOP, FinishReason.TOOL_CALLS):
                reason = FinishReason.LENGTH  # It is cut, by whatever limit that was.
        self._finish(reason, batch)
        usage = response.get("usage")
        if isinstance(usage, dict) and (figures := usage_from(usage)).total_tokens:
            batch.events.append(UsageReported(figures))
        self._end(batch)

    def _read_output(self, response: dict[str, Any], batch: Batch) -> None:
        """Take the answer from the last event, where no other had any of it."""
        output = response.get("output")
        if self._blocks or not isinstance(output, list):
            return
        for index, item in enumerate(output):
            if isinstance(item, dict):
                state = self._items.added({"output_index": index}, item)
                self._read_item(state, item, {"item": item}, batch)

    # Events of an item.

    def _item_added(self, value: dict[str, Any], batch: Batch) -> None:
        item = _member(value, "item")
        state = self._items.added(value, item)
        kind = item.get("type")
        if kind in _CALLS and not _is_hosted(item):
            if kind == "local_shell_call" or text_member(item, "name"):
                self._open_call(state, item, batch)
        elif kind not in ("message", "reasoning"):
            self._show(state, value, batch)

    def _item_done(self, value: dict[str, Any], batch: Batch) -> None:
        item = _member(value, "item")
        self._read_item(self._items.named(value, item), item, value, batch)

    def _read_item(
        self, state: Item, item: dict[str, Any], value: dict[str, Any], batch: Batch
    ) -> None:
        """Take of a whole item what no delta said, and close it."""
        kind = item.get("type")
        if kind == "message":
            self._read_parts(state, item, batch)
        elif kind == "reasoning":
            self._read_reasoning(state, item, batch)
        elif kind in _CALLS and not _is_hosted(item):
            self._read_call(state, str(kind), item, batch)
        else:
            self._show(state, {"type": "response.output_item.done", **value}, batch)
        members = beyond(item)
        for block in (*state.parts.values(), state.block):
            if block is not None and self._is_open(block):
                if members and block.kind is not Opaque:
                    note = {"type": "response.output_item.done", "item": members}
                    self._show_on(block, note, batch)
                if block.is_call and item.get("status") == "incomplete":
                    self._close(block, batch, is_complete=False)
                else:
                    self._stop(block, batch)

    def _read_parts(self, state: Item, item: dict[str, Any], batch: Batch) -> None:
        for index, part in enumerate(_list(item, "content")):
            kind, member = _PART_KINDS.get(str(part.get("type")), (TextDelta, "text"))
            if (kind, index) not in state.said:
                self._add_text(kind, state, (kind, index), piece_member(part, member), batch)

    def _read_reasoning(self, state: Item, item: dict[str, Any], batch: Batch) -> None:
        if not state.said:
            for family in ("content", "summary"):
                for index, part in enumerate(_list(item, family)):
                    self._add_reasoning(state, (family, index), piece_member(part, "text"), batch)
        sealed = text_member(item, "encrypted_content")
        if sealed and not self._is_open(state.block) and not state.said:
            # Thought that the provider seals and does not show: a block without text.
            state.block = self._begin(ReasoningDelta, batch)
            batch.events.append(ReasoningDelta(state.block.number, "", 0))
        if state.block is not None:
            state.block.signature = sealed

    def _read_call(self, state: Item, kind: str, item: dict[str, Any], batch: Batch) -> None:
        if state.block is None:
            self._open_call(state, item, batch)
        given = item.get(_CALLS[kind][1])
        if isinstance(given, dict | list):
            given = _encode_json(given)
        elif given is not None and not isinstance(given, str):
            raise Broken
        if not state.said:
            self._add_arguments(state, given or state.held, batch)

    # Deltas.

    def _text_delta(self, value: dict[str, Any], batch: Batch) -> None:
        kind = RefusalDelta if value["type"] == "response.refusal.delta" else TextDelta
        part = (kind, _index(value, "content_index"))
        state = self._items.spoken_of(value)
        self._add_text(kind, state, part, piece_member(value, "delta"), batch)

    def _reasoning_delta(self, value: dict[str, Any], batch: Batch) -> None:
        family = "content" if value["type"] == "response.reasoning_text.delta" else "summary"
        part = (family, _index(value, f"{family}_index"))
        state = self._items.spoken_of(value)
        self._add_reasoning(state, part, piece_member(value, "delta"), batch)

    def _arguments_delta(self, value: dict[str, Any], batch: Batch) -> None:
        state = self._items.spoken_of(value)
        text = piece_member(value, "delta")
        if state.block is None:
            state.held += text  # Of a call that nobody named yet: it is taken when its item ends.
        else:
            self._add_arguments(state, text, batch)

    def _add_text(
        self, kind: _PlainKind, state: Item, part: object, text: str, batch: Batch
    ) -> None:
        if not text:
            return
        block = state.parts.get(part)
        if block is None or not self._is_open(block):
            block = state.parts[part] = self._begin(kind, batch)
        state.said.add(part)
        self._say(block, text, batch)

    def _add_reasoning(self, state: Item, part: tuple[str, int], text: str, batch: Batch) -> None:
        """Add to the item's block; of summary and content the first that says something counts."""
        if not text or state.family not in (None, part[0]):
            return
        if state.said and part not in state.said:
            text = "\n\n" + text
        state.family = part[0]
        state.said.add(part)
        if state.block is None or not self._is_open(state.block):
            state.block = self._begin(ReasoningDelta, batch)
        self._say(state.block, text, batch)

    def _add_arguments(self, state: Item, text: str, batch: Batch) -> None:
        if state.block is None or not text:
            return
        if not self._is_open(state.block):
            if text.strip():
                # A piece of a call that is closed: to leave it out would make its arguments wrong.
                raise Broken
            return
        state.said.add(ToolCallStarted)
        self._say(state.block, text, batch)

    # What has no word in events.

    def _other(self, value: dict[str, Any], batch: Batch) -> None:
        """Show an event of an unknown kind with the block that it speaks of, where there is one."""
        if "output_index" not in value and "item_id" not in value:
            return
        state = self._items.spoken_of(value)
        block = state.block if not state.parts else list(state.parts.values())[-1]
        is_hosted = block is not None and block.kind is Opaque
        is_note = str(value.get("type")).startswith(_NOTES)
        if block is not None and (is_hosted or is_note) and self._is_open(block):
            self._show_on(block, value, batch)

    def _show(self, state: Item, value: dict[str, Any], batch: Batch) -> None:
        if state.block is None:
            state.block = self._begin(Opaque, batch)
        if self._is_open(state.block):
            self._show_on(state.block, value, batch)

    def _show_on(self, block: OpenBlock, value: dict[str, Any], batch: Batch) -> None:
        payload = {name: member for name, member in value.items() if name not in _WRITERS_OWN}
        delta = value.get("delta")
        is_code = block.kind is Opaque and isinstance(delta, str)
        tokens = self._count(str(delta)) if is_code else 0
        batch.events.append(Opaque(block.number, Dialect.RESPONSES, payload, tokens))

    # Blocks.

    def _open_call(self, state: Item, item: dict[str, Any], batch: Batch) -> None:
        kind, _ = _CALLS[str(item.get("type"))]
        default = "" if kind is ToolKind.CUSTOM else "{}"
        block = state.block = self._begin(ToolCallStarted, batch, tool_kind=kind, default=default)
        name = text_member(item, "name") or ("" if kind is ToolKind.FUNCTION else kind.value)
        call_id = text_member(item, "call_id") or text_member(item, "id") or f"call_{block.number}"
        namespace = text_member(item, "namespace") or None
        tokens = self._tokens(name)
        batch.events.append(ToolCallStarted(block.number, call_id, name, tokens, kind, namespace))


_PART_KINDS: Mapping[str, tuple[_PlainKind, str]] = {
    "output_text": (TextDelta, "text"),
    "refusal": (RefusalDelta, "refusal"),
}

_READ: Mapping[str, Callable[[ResponsesStreamDecoder, dict[str, Any], Batch], None]] = {
    **dict.fromkeys(
        ("response.created", "response.queued", "response.in_progress"),
        ResponsesStreamDecoder._opened,
    ),
    "response.output_item.added": ResponsesStreamDecoder._item_added,
    "response.output_item.done": ResponsesStreamDecoder._item_done,
    "response.output_text.delta": ResponsesStreamDecoder._text_delta,
    "response.refusal.delta": ResponsesStreamDecoder._text_delta,
    "response.reasoning_text.delta": ResponsesStreamDecoder._reasoning_delta,
    "response.reasoning_summary_text.delta": ResponsesStreamDecoder._reasoning_delta,
    "response.reasoning_summary.delta": ResponsesStreamDecoder._reasoning_delta,
    "response.function_call_arguments.delta": ResponsesStreamDecoder._arguments_delta,
    "response.custom_tool_call_input.delta": ResponsesStreamDecoder._arguments_delta,
    "response.completed": ResponsesStreamDecoder._ended_response,
    "response.done": ResponsesStreamDecoder._ended_response,
    "response.incomplete": ResponsesStreamDecoder._ended_response,
    "response.failed": ResponsesStreamDecoder._ended_response,
    "response.cancelled": ResponsesStreamDecoder._ended_response,
}
"""Every other event repeats what these say, or is opaque."""

_NOTES = ("response.output_text.annotation",)
"""Events that say something more of a text."""

_WRITERS_OWN = ("output_index", "sequence_number")


def _is_hosted(item: dict[str, Any]) -> bool:
    """Whether a call that a client may have to make was made by the provider itself."""
    return item.get("execution") == "server"


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
