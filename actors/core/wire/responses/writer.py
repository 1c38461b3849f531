"""OpenAI Responses, the answer as a server writes it: the frames of a stream.

Owns the order of events around a block and their numbers. Every method returns whole frames; the
numbers are dense from 0 over all of them, so a frame is written when its turn comes or not at all.
What a response says of itself is whatever object the caller gives.

    text, refusal        item added, part added, delta *, text done, part done, item done
    reasoning            the same, and beside each event the one of its summary: SDKs read that
    call of a function   item added, arguments delta *, arguments done, item done
    call of custom text  item added, input delta *, input done, item done
    any other call       item added, item done: its arguments are an object, which has no pieces
    opaque               what came, with our place and number

Rules: nothing of a block's fixed part is encoded twice; text leaves as UTF-8; the arguments of a tool
call that was cut are never said to be done; a piece without text makes no event.

Source: OpenAI API reference, "Streaming events" of the Responses API, read 2026-11-22; contract of the
Responses dialect, section 6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from actors.core.events import (
    BlockFinished,
    Delta,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.request import Dialect, ToolKind
from actors.core.wire.responses.items import BlockText, OpaqueBlock, status_of

__all__ = ["DONE", "ResponsesStreamWriter"]

DONE = b"data: [DONE]\n\n"
"""What gateways send after the last event, and SDKs stop at; it has no number."""

_EVENT_NAME = re.compile(r"[a-z][a-z0-9_.]{0,127}", re.ASCII)

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class _Words(NamedTuple):
    """How a kind of piece is spelled in events.

    `name` is the event's, `member` the one that `done` has the whole of, `part` the object that its
    pieces make with its own events and the member that counts such parts, `tail` what a delta and its
    `done` have besides.
    """

    name: str
    member: str
    part: Mapping[str, Any] = MappingProxyType({})
    part_event: str = "content_part"
    counter: str = "content_index"
    tail: str = ""


_TEXT = _Words(
    "output_text",
    "text",
    {"type": "output_text", "text": "", "annotations": []},
    tail=',"logprobs":[]',
)
_REFUSAL = _Words("refusal", "refusal", {"type": "refusal", "refusal": ""})
_THOUGHT = _Words("reasoning_text", "text", {"type": "reasoning_text", "text": ""})
_SUMMARY = _Words(
    "reasoning_summary_text",
    "text",
    {"type": "summary_text", "text": ""},
    "reasoning_summary_part",
    "summary_index",
)
_ARGUMENTS = _Words("function_call_arguments", "arguments")
_INPUT = _Words("custom_tool_call_input", "input")

_WORDS: Mapping[type, tuple[_Words, ...]] = {
    TextDelta: (_TEXT,),
    RefusalDelta: (_REFUSAL,),
    ReasoningDelta: (_THOUGHT, _SUMMARY),
}

_CALL_WORDS: Mapping[ToolKind, tuple[_Words, ...]] = {
    ToolKind.FUNCTION: (_ARGUMENTS,),
    ToolKind.CUSTOM: (_INPUT,),
    ToolKind.TOOL_SEARCH: (),
    ToolKind.LOCAL_SHELL: (),
    ToolKind.HOSTED: (_ARGUMENTS,),
}

_DONE_BESIDE = ("name", "arguments")
"""What the end of a function's arguments says."""


class _Spoken:
    """One way in which a block's pieces are told: its place, and what all its deltas begin with."""

    __slots__ = ("delta", "place", "words")

    def __init__(self, words: _Words, item_id: str, index: int) -> None:
        part = f',"{words.counter}":0' if words.part else ""
        self.words = words
        self.place = f',"item_id":{_encode(item_id)},"output_index":{index}{part}'
        self.delta = _event_head(f"response.{words.name}.delta") + self.place + ',"delta":'


class _OpenBlock:
    """A block that has been begun: its item and its place."""

    __slots__ = ("block", "has_parts", "index", "spoken")

    def __init__(
        self, block: BlockText | OpaqueBlock, index: int, words: tuple[_Words, ...]
    ) -> None:
        self.block = block
        self.index = index
        self.has_parts = False
        self.spoken: tuple[_Spoken, ...] = ()
        if isinstance(block, BlockText):
            self.spoken = tuple(_Spoken(each, block.id, index) for each in words)


class ResponsesStreamWriter:
    """Writes one answer as a stream of events.

    Args: completion_id: makes the ids of the items.
    """

    def __init__(self, completion_id: str) -> None:
        self._completion_id = completion_id
        self._number = 0
        self._places = 0  # Given to items so far.
        self._open: dict[int, _OpenBlock] = {}
        self._items: dict[int, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return f"<ResponsesStreamWriter next event {self._number}>"

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items that have ended, in their order."""
        return [self._items[index] for index in sorted(self._items)]

    @property
    def open_blocks(self) -> list[int]:
        """The blocks that were begun and have not ended."""
        return list(self._open)

    def response(self, kind: str, response: Mapping[str, Any]) -> bytes:
        """Return an event of the response as a whole: `response.created`, `response.failed` ..."""
        return self._event(kind, f',"response":{_encode(dict(response))}')

    def error(self, code: str | None, message: str, param: str | None = None) -> bytes:
        """Return the flat `error` event; an object around it would make SDKs raise something else."""
        members = {"code": code, "message": message, "param": param}
        return self._event("error", "," + _encode(members)[1:-1])

    def keep_alive(self) -> bytes:
        """Return an event that says only that the stream lives; it repeats the last number."""
        number = max(0, self._number - 1)
        return b'event: keepalive\ndata: {"type":"keepalive","sequence_number":%d}\n\n' % number

    def delta(self, event: Delta) -> list[bytes]:
        """Return the events of a delta, and before them those that open its block."""
        match event:
            case TextDelta() | RefusalDelta() | ReasoningDelta():
                opening = self._opening(event)
                return [*opening, *self._pieces(self._open[event.block], event.text)]
            case ToolCallStarted():
                return self._added(event, _CALL_WORDS[event.kind])
            case ToolCallDelta():
                return self._pieces(self._open[event.block], event.arguments)

    def opaque(self, event: Opaque) -> list[bytes]:
        """Return the event that a provider of this format sent, with our place and number."""
        if event.format is not Dialect.RESPONSES:
            return []
        opened = self._open.get(event.block)
        if opened is None:
            opened = self._open[event.block] = _OpenBlock(OpaqueBlock(), self._places, ())
            self._places += 1
        opened.block.payloads.append(event.payload)
        payload = {name: value for name, value in event.payload.items() if name != "type"}
        if isinstance(opened.block, BlockText):
            if "item" in payload:
                return []  # It is told with the item's own end.
            payload |= {"item_id": opened.block.id}
            if "content_index" in payload:
                payload |= {"content_index": 0}
        kind = event.payload.get("type")
        if not isinstance(kind, str) or not _EVENT_NAME.fullmatch(kind):
            return []  # No line of a stream can carry it.
        members = _encode({**payload, "output_index": opened.index})[1:-1]
        return [self._event(kind, "," + members)]

    def finish_block(self, event: BlockFinished) -> list[bytes]:
        """Return the events that close a block."""
        opened = self._open.pop(event.block, None)
        if opened is None:
            return []  # A block of another format alone.
        item = opened.block.item(status_of(event.is_complete), event.signature)
        if item is None:
            return []
        self._items[opened.index] = item
        if isinstance(opened.block, OpaqueBlock) and opened.block.has_ended:
            return []  # Its end came with its events.
        done = f',"output_index":{opened.index},"item":{_encode(item)}'
        frames = [frame for said in opened.spoken for frame in self._said(opened, said, event)]
        return [*frames, self._event("response.output_item.done", done)]

    # A block's beginning.

    def _opening(self, event: TextDelta | RefusalDelta | ReasoningDelta) -> list[bytes]:
        opened = self._open.get(event.block)
        frames: list[bytes] = []
        if opened is None or isinstance(opened.block, OpaqueBlock):
            frames = self._added(event, _WORDS[type(event)])
            opened = self._open[event.block]
        if event.text and not opened.has_parts:
            opened.has_parts = True
            frames += [
                self._event(
                    f"response.{said.words.part_event}.added",
                    f'{said.place},"part":{_encode(dict(said.words.part))}',
                )
                for said in opened.spoken
            ]
        return frames

    def _added(
        self,
        event: TextDelta | RefusalDelta | ReasoningDelta | ToolCallStarted,
        words: tuple[_Words, ...],
    ) -> list[bytes]:
        block = BlockText(event, self._completion_id)
        before = self._open.get(event.block)
        index = self._places if before is None else before.index
        if before is None:
            self._places += 1
        else:
            block.payloads = before.block.payloads  # They came before what they belong to.
        self._open[event.block] = _OpenBlock(block, index, words)
        item = block.item("in_progress")
        if block.type == "message":
            item["content"] = []
        members = f',"output_index":{index},"item":{_encode(item)}'
        return [self._event("response.output_item.added", members)]

    # Its pieces and its end.

    def _pieces(self, opened: _OpenBlock, text: str) -> list[bytes]:
        block = opened.block
        assert isinstance(block, BlockText), "an opaque block has no pieces of ours"
        if not text:
            return []
        block.pieces.append(text)
        piece = _encode(text)
        return [self._frame(said.delta + piece + said.words.tail) for said in opened.spoken]

    def _said(self, opened: _OpenBlock, said: _Spoken, event: BlockFinished) -> list[bytes]:
        """Return the events that end one way of telling a block's pieces."""
        words, block = said.words, opened.block
        assert isinstance(block, BlockText), "an opaque block has no pieces of ours"
        item = block.item("completed")
        if not words.part:
            if not event.is_complete:
                return []
            names = _DONE_BESIDE if words is _ARGUMENTS else (words.member,)
            members = _encode({name: item[name] for name in names})[1:-1]
            return [self._event(f"response.{words.name}.done", f"{said.place},{members}")]
        if not opened.has_parts:
            return []
        text = _encode(block.text)
        whole = {**words.part, words.member: block.text}
        if words is _TEXT:
            whole["annotations"] = item["content"][0]["annotations"]
        return [
            self._event(
                f"response.{words.name}.done",
                f'{said.place},"{words.member}":{text}{words.tail}',
            ),
            self._event(
                f"response.{words.part_event}.done", f'{said.place},"part":{_encode(whole)}'
            ),
        ]

    def _event(self, kind: str, members: str) -> bytes:
        return self._frame(_event_head(kind) + members)

    def _frame(self, head: str) -> bytes:
        number = self._number
        self._number = number + 1
        # A lone surrogate has no UTF-8; it becomes a question mark rather than an exception.
        return f'{head},"sequence_number":{number}}}\n\n'.encode("utf-8", "replace")


def _event_head(kind: str) -> str:
    return f'event: {kind}\ndata: {{"type":{_encode(kind)}'
