"""A completion's answer: the fold over its events that every dialect's body is rendered from.

It knows blocks, tokens and the end, and no dialect's words. An unfinished answer is as good as a
finished one: it is what there is so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from actors.core.events import (
    BlockFinished,
    Event,
    Finished,
    FinishReason,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.request import Dialect, ToolKind

__all__ = ["FoldedAnswer", "Block", "BlockKind", "agreed_reason"]


class BlockKind(Enum):
    TEXT = "text"
    REASONING = "reasoning"
    REFUSAL = "refusal"
    TOOL_CALL = "tool_call"
    OPAQUE = "opaque"  # shown as it came, to readers of the wire format that it came in


@dataclass(slots=True)
class Block:
    """One content block; `pieces` are its text, or the arguments of its call.

    `is_complete` is False until the block was closed whole: a call that is not must not be called.
    `opaque` is what only readers of one wire format are shown of it, by format, in its order.
    """

    kind: BlockKind
    call_id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    is_complete: bool = False
    signature: str | None = None
    tool: ToolKind = ToolKind.FUNCTION
    namespace: str | None = None
    opaque: list[tuple[Dialect, Mapping[str, Any]]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def opaque_of(self, format: Dialect) -> list[Mapping[str, Any]]:
        return [payload for known, payload in self.opaque if known is format]


class FoldedAnswer:
    """Feed it a completion's events, in order, from the first."""

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.finished: Finished | None = None
        self._reported = Usage()
        self._prompt_tokens_estimated = 0
        self._tokens_visible = 0
        self._tokens_reasoning = 0

    @classmethod
    def of(cls, events: Iterable[Event]) -> FoldedAnswer:
        answer = cls()
        for event in events:
            answer.observe(event)
        return answer

    def observe(self, event: Event) -> None:
        _OBSERVE[type(event)](self, event)

    def of_kind(self, kind: BlockKind) -> list[Block]:
        """Return the blocks of that kind in the order of the answer."""
        return [
            self.blocks[index] for index in sorted(self.blocks) if self.blocks[index].kind is kind
        ]

    def calls(self, *, is_complete: bool) -> list[Block]:
        """Return the tool calls that may be made, or those that were cut and must not be."""
        return [
            block for block in self.of_kind(BlockKind.TOOL_CALL) if block.is_complete is is_complete
        ]

    def text_of(self, kind: BlockKind) -> str:
        """Return the text of all blocks of that kind, joined as the model wrote it."""
        return "".join(block.text for block in self.of_kind(kind))

    @property
    def usage(self) -> Usage:
        """What was used; while it runs, the provider's figures where it sent any, else our counts."""
        if self.finished is not None:
            return self.finished.usage
        reported = self._reported
        return Usage(
            prompt_tokens=reported.prompt_tokens or self._prompt_tokens_estimated,
            completion_tokens=max(reported.completion_tokens, self._tokens_visible),
            reasoning_tokens=max(reported.reasoning_tokens, self._tokens_reasoning),
            cached_tokens=reported.cached_tokens,
            cache_write_tokens=reported.cache_write_tokens,
        )

    def _started(self, event: Started) -> None:
        self._prompt_tokens_estimated = event.prompt_tokens_estimated

    def _text(self, event: TextDelta) -> None:
        self._block(event.block, BlockKind.TEXT).pieces.append(event.text)
        self._tokens_visible += event.tokens

    def _reasoning(self, event: ReasoningDelta) -> None:
        self._block(event.block, BlockKind.REASONING).pieces.append(event.text)
        self._tokens_reasoning += event.tokens

    def _refusal(self, event: RefusalDelta) -> None:
        self._block(event.block, BlockKind.REFUSAL).pieces.append(event.text)
        self._tokens_visible += event.tokens

    def _call_started(self, event: ToolCallStarted) -> None:
        self.blocks[event.block] = Block(
            BlockKind.TOOL_CALL,
            event.call_id,
            event.name,
            tool=event.kind,
            namespace=event.namespace,
        )
        self._tokens_visible += event.tokens

    def _call_arguments(self, event: ToolCallDelta) -> None:
        self.blocks[event.block].pieces.append(event.arguments)
        self._tokens_visible += event.tokens

    def _opaque(self, event: Opaque) -> None:
        block = self._block(event.block, BlockKind.OPAQUE)
        block.opaque.append((event.format, event.payload))
        self._tokens_visible += event.tokens

    def _block_finished(self, event: BlockFinished) -> None:
        block = self.blocks[event.block]
        block.is_complete, block.signature = event.is_complete, event.signature

    def _usage_reported(self, event: UsageReported) -> None:
        self._reported = self._reported.followed_by(event.usage)

    def _finished(self, event: Finished) -> None:
        self.finished = event

    def _block(self, index: int, kind: BlockKind) -> Block:
        block = self.blocks.get(index)
        if block is None:
            block = self.blocks[index] = Block(kind)
        elif block.kind is BlockKind.OPAQUE:
            block.kind = kind  # What decorates it came first.
        return block


_OBSERVE: dict[type, Callable[[FoldedAnswer, Any], None]] = {
    Started: FoldedAnswer._started,
    TextDelta: FoldedAnswer._text,
    ReasoningDelta: FoldedAnswer._reasoning,
    RefusalDelta: FoldedAnswer._refusal,
    ToolCallStarted: FoldedAnswer._call_started,
    ToolCallDelta: FoldedAnswer._call_arguments,
    Opaque: FoldedAnswer._opaque,
    BlockFinished: FoldedAnswer._block_finished,
    UsageReported: FoldedAnswer._usage_reported,
    Finished: FoldedAnswer._finished,
}


def agreed_reason(reason: FinishReason, *, has_calls: bool) -> FinishReason:
    """Return why an answer ended, in agreement with what is in it.

    Some providers say `stop` beside tool calls, some `tool_calls` without one: a client that goes by
    the reason alone would miss its calls, or look for one.
    """
    if reason is FinishReason.STOP and has_calls:
        return FinishReason.TOOL_CALLS
    if reason is FinishReason.TOOL_CALLS and not has_calls:
        return FinishReason.STOP
    return reason
