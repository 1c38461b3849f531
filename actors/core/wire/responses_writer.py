"""OpenAI Responses, the answer as a server writes it: the frames of a stream.

Owns the order of events around a block and their numbers. Every method returns whole frames; the
numbers are dense from 0 over all of them, so a frame is written when its turn comes or not at all.
What a response says of itself is whatever object the caller gives.

    text, refusal, reasoning   item added, part added, delta *, text done, part done, item done
    tool call                  item added, arguments delta *, arguments done, item done

Rules: nothing of a block's fixed part is encoded twice; text leaves as UTF-8; the arguments of a tool
call that was cut are never said to be done.

Source: OpenAI API reference, "Streaming events" of the Responses API, read 2026-11-22; contract of the
Responses dialect, section 6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from actors.core.events import (
    BlockFinished,
    Delta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.wire.responses_items import BlockText, status_of

__all__ = ["DONE", "ResponsesStreamWriter"]

DONE = b"data: [DONE]\n\n"
"""What gateways send after the last event, and SDKs stop at; it has no number."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class _Words(NamedTuple):
    """How a kind of block is spelled in events.

    `name` is the event's, `member` the one that `done` has the whole of, `tail` what a delta and its
    `done` have besides.
    """

    name: str
    member: str
    part: Mapping[str, Any]
    tail: str = ""


_WORDS: Mapping[type, _Words] = MappingProxyType(
    {
        TextDelta: _Words(
            "output_text",
            "text",
            {"type": "output_text", "text": "", "annotations": []},
            ',"logprobs":[]',
        ),
        RefusalDelta: _Words("refusal", "refusal", {"type": "refusal", "refusal": ""}),
        ReasoningDelta: _Words("reasoning_text", "text", {"type": "reasoning_text", "text": ""}),
    }
)

_ARGUMENTS = _Words("function_call_arguments", "arguments", {})


class _OpenBlock:
    """A block that has been begun: its item, its place, and what all its deltas begin with."""

    __slots__ = ("block", "head", "index", "words")

    def __init__(self, block: BlockText, index: int, words: _Words) -> None:
        self.block = block
        self.index = index
        self.words = words
        self.head = _event_head(f"response.{words.name}.delta") + self.place + ',"delta":'

    @property
    def place(self) -> str:
        part = "" if self.words is _ARGUMENTS else ',"content_index":0'
        return f',"item_id":{_encode(self.block.id)},"output_index":{self.index}{part}'


class ResponsesStreamWriter:
    """Writes one answer as a stream of events.

    Args:
        completion_id: makes the ids of the items.
    """

    def __init__(self, completion_id: str) -> None:
        self._completion_id = completion_id
        self._number = 0
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

    def delta(self, event: Delta) -> list[bytes]:
        """Return the events of a delta, and before them those that open its block."""
        match event:
            case TextDelta() | RefusalDelta() | ReasoningDelta():
                opening = [] if event.block in self._open else self._open_text(event)
                return [*opening, self._delta(self._open[event.block], event.text)]
            case ToolCallStarted():
                block = BlockText(event, self._completion_id)
                return [self._added(event.block, block, _ARGUMENTS, block.item("in_progress"))]
            case ToolCallDelta():
                return [self._delta(self._open[event.block], event.arguments)]

    def finish_block(self, event: BlockFinished) -> list[bytes]:
        """Return the events that close a block."""
        opened = self._open.pop(event.block, None)
        if opened is None:
            return []  # A block of which this writer was told nothing.
        item = opened.block.item(status_of(event.is_complete), event.signature)
        self._items[opened.index] = item
        done = f',"output_index":{opened.index},"item":{_encode(item)}'
        if opened.words is _ARGUMENTS:
            frames = [self._arguments_done(opened, item)] if event.is_complete else []
        else:
            frames = self._text_done(opened)
        return [*frames, self._event("response.output_item.done", done)]

    def _open_text(self, event: TextDelta | RefusalDelta | ReasoningDelta) -> list[bytes]:
        words = _WORDS[type(event)]
        block = BlockText(event, self._completion_id)
        item = {**block.item("in_progress"), "content": []}
        added = self._added(event.block, block, words, item)
        place = self._open[event.block].place
        part = f'{place},"part":{_encode(dict(words.part))}'
        return [added, self._event("response.content_part.added", part)]

    def _added(self, number: int, block: BlockText, words: _Words, item: dict[str, Any]) -> bytes:
        index = len(self._open) + len(self._items)
        self._open[number] = _OpenBlock(block, index, words)
        members = f',"output_index":{index},"item":{_encode(item)}'
        return self._event("response.output_item.added", members)

    def _delta(self, opened: _OpenBlock, text: str) -> bytes:
        opened.block.pieces.append(text)
        return self._frame(opened.head + _encode(text) + opened.words.tail)

    def _text_done(self, opened: _OpenBlock) -> list[bytes]:
        words, text = opened.words, opened.block.text
        done = f'{opened.place},"{words.member}":{_encode(text)}{words.tail}'
        part = _encode({**words.part, words.member: text})
        return [
            self._event(f"response.{words.name}.done", done),
            self._event("response.content_part.done", f'{opened.place},"part":{part}'),
        ]

    def _arguments_done(self, opened: _OpenBlock, item: dict[str, Any]) -> bytes:
        members = {"name": item["name"], "arguments": item["arguments"]}
        place = opened.place + "," + _encode(members)[1:-1]
        return self._event(f"response.{_ARGUMENTS.name}.done", place)

    def _event(self, kind: str, members: str) -> bytes:
        return self._frame(_event_head(kind) + members)

    def _frame(self, head: str) -> bytes:
        number = self._number
        self._number = number + 1
        # A lone surrogate has no UTF-8; it becomes a question mark rather than an exception.
        return f'{head},"sequence_number":{number}}}\n\n'.encode("utf-8", "replace")


def _event_head(kind: str) -> str:
    return f'event: {kind}\ndata: {{"type":"{kind}"'
