"""What the simulator says: an answer as the seam's own deltas, each of which becomes one frame.

Owns which deltas an answer has and how many tokens each one is. It must not know time, frames or
connections. An answer can be iterated again and gives the same deltas, so that the log can tell
what was sent without keeping it.

Rules: a model says what it has to say and ends with `stop`, or with `length` where the request's
limit cuts it; the long ones say exactly what the limit allows. A tool call and a JSON answer have as
many tokens as they need, and end with `tool_calls` and `stop`, unless the limit cuts them. A delta's
tokens are those of its own text: their sum is what is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from msgspec.structs import replace as replace_members

from actors.core.events import (
    Delta,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.request import Tool, ToolKind
from actors.simulator.json_answers import arguments_text, json_text
from actors.simulator.models import LONG_TOKENS_DEFAULT, Content, SimulatedModel
from actors.simulator.request import Ask
from actors.simulator.vocabulary import MULTI_BYTE_WORDS, WORDS, draw, seed_of
from actors.upstream.tokenizer import count_text

__all__ = ["NOTHING", "SimulatedAnswer", "compose", "text_of"]

_Words = TextDelta | ReasoningDelta | RefusalDelta

_FREE_INPUT_WORDS = 4  # of a tool whose input is no JSON


@dataclass(frozen=True, slots=True)
class SimulatedAnswer:
    """Iterate it for its deltas."""

    parts: tuple[Iterable[Delta], ...]
    finish_reason: FinishReason

    def __iter__(self) -> Iterator[Delta]:
        return chain.from_iterable(self.parts)


NOTHING = SimulatedAnswer((), FinishReason.STOP)


@dataclass(frozen=True, slots=True)
class _Speech:
    """The words that follow from a seed; `table` holds each of them as a delta of one token."""

    seed: int
    tokens: int
    table: tuple[_Words, ...]
    tokens_per_delta: int = 1

    def __iter__(self) -> Iterator[Delta]:
        table = self.table
        words = (table[index] for index in draw(self.seed, self.tokens, len(table)))
        return words if self.tokens_per_delta == 1 else _joined(words, self.tokens_per_delta)


def text_of(delta: Delta) -> str:
    """Return what the delta adds to the answer; a tool's name is no part of it."""
    match delta:
        case ToolCallStarted():
            return ""
        case ToolCallDelta():
            return delta.arguments
        case _:
            return delta.text


def compose(model: SimulatedModel, ask: Ask) -> SimulatedAnswer:
    """Return what the model answers."""
    seed = seed_of(model.slug, ask.prompt, ask.seed)
    limits = [limit for limit in (ask.output_tokens_max, model.tokens_max) if limit is not None]
    limit = min(limits, default=None)
    if ask.tool is not None and (ask.is_tool_forced or model.content is Content.TOOL_CALL):
        return _tool_call(ask.tool, seed, limit)
    if ask.response_format is not None:
        pieces = _pieces(json_text(ask.response_format, _plain_words(seed)))
        texts = [TextDelta(0, piece, count_text(piece)) for piece in pieces]
        return _within(limit, texts, FinishReason.STOP)
    if model.tokens_said is not None and (limit is None or model.tokens_said <= limit):
        return SimulatedAnswer(_speech(model, seed, model.tokens_said), FinishReason.STOP)
    tokens = LONG_TOKENS_DEFAULT if limit is None else limit
    return SimulatedAnswer(_speech(model, seed, tokens), FinishReason.LENGTH)


def _speech(model: SimulatedModel, seed: int, tokens: int) -> tuple[_Speech, ...]:
    per_delta = model.tokens_per_frame
    if model.content is Content.REASONING:
        thought = tokens // 2
        return (
            _Speech(seed ^ 1, thought, _REASONING, per_delta),
            _Speech(seed, tokens - thought, _AFTER_REASONING, per_delta),
        )
    return (_Speech(seed, tokens, _TABLES.get(model.content, _TEXT), per_delta),)


def _tool_call(tool: Tool, seed: int, tokens_max: int | None) -> SimulatedAnswer:
    tokens, words = count_text(tool.name), _plain_words(seed)
    call_id = f"call_{seed:016x}"
    started = ToolCallStarted(0, call_id, tool.name, tokens, tool.kind, tool.namespace)
    if tool.kind is ToolKind.FUNCTION:
        text = arguments_text(tool.parameters, words)
    else:
        text = " ".join(islice(words, _FREE_INPUT_WORDS))
    arguments = [ToolCallDelta(0, piece, count_text(piece)) for piece in _pieces(text)]
    return _within(tokens_max, [started, *arguments], FinishReason.TOOL_CALLS)


def _within(
    tokens_max: int | None, deltas: Iterable[Delta], finish_reason: FinishReason
) -> SimulatedAnswer:
    """Return the deltas, as many of them as the limit allows."""
    tokens = 0
    allowed: list[Delta] = []
    for delta in deltas:
        tokens += delta.tokens
        if tokens_max is not None and tokens > tokens_max:
            return SimulatedAnswer((allowed,), FinishReason.LENGTH)
        allowed.append(delta)
    return SimulatedAnswer((allowed,), finish_reason)


# A word or a run of signs, each with the space before it: about a token.
_pieces = re.compile(r"\s*(?:\w+|[^\w\s]+)|\s+").findall


def _plain_words(seed: int) -> Iterator[str]:
    """Yield words without end, without their leading space."""
    while True:
        for index in draw(seed, 1 << 16, len(WORDS)):
            yield WORDS[index].strip()


def _joined(words: Iterator[_Words], per_delta: int) -> Iterator[Delta]:
    while group := list(islice(words, per_delta)):
        yield replace_members(
            group[0], text="".join(word.text for word in group), tokens=len(group)
        )


def _table(
    kind: Callable[[int, str, int], _Words], words: tuple[str, ...], *, block: int = 0
) -> tuple[_Words, ...]:
    return tuple(kind(block, word, 1) for word in words)


_TEXT = _table(TextDelta, WORDS)
_REASONING = _table(ReasoningDelta, WORDS)
_AFTER_REASONING = _table(TextDelta, WORDS, block=1)
_TABLES = {
    Content.MULTI_BYTE_WORDS: _table(TextDelta, MULTI_BYTE_WORDS),
    Content.REFUSAL: _table(RefusalDelta, WORDS),
}
