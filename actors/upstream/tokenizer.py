"""Counts tokens offline, with OpenAI's o200k_base vocabulary: the one tokenizer of the runtime.

Owns: how many tokens a piece of text or a prompt is. It must not know prices, models or dialects.

Rules: counting never raises, whatever the text; the same text always counts the same; nothing is
loaded before the first count. For a model with another tokenizer the figure is an estimate, and
whoever charges by it says so.

The vocabulary is `bpe_openai`'s, in its compiled extension. The package around the extension also
builds Python tables of three vocabularies when imported: 66 MB and 0.6 s for each process that
counts, and every completion actor is such a process. So the extension is loaded on its own (35 MB,
0.07 s).

Source: OpenAI cookbook, "How to count tokens with tiktoken", read 2026-11-22, for the framing of
messages; OpenAI's image pricing for GPT-4o (85 tokens, plus 170 for each of four tiles).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Protocol, cast

from actors.core.request import (
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    VideoPart,
)

__all__ = ["count_prompt", "count_request", "count_text"]

ENCODING = "o200k_base"

TOKENS_PER_MESSAGE = 3
TOKENS_PER_NAME = 1
TOKENS_PRIMING = 3  # every answer is primed with the assistant's role

IMAGE_TOKENS = 765  # fixed: the size of an image is not known before it is fetched
IMAGE_TOKENS_LOW_DETAIL = 85
VIDEO_TOKENS = 8 * IMAGE_TOKENS  # fixed: as eight frames
FILE_TOKENS = 4 * IMAGE_TOKENS  # fixed: as four pages

CACHED_CHARACTERS_MAX = 32  # a delta's text; longer ones seldom repeat
CACHED_TEXTS_MAX = 8192  # the oldest are forgotten; about 1 MB


class _Vocabulary(Protocol):
    def count(self, text: str) -> int: ...


def count_text(text: str) -> int:
    """Return how many tokens the text is; special tokens count as the plain text they are."""
    if len(text) <= CACHED_CHARACTERS_MAX:
        return _count_cached(text)
    return _count(text)


def count_prompt(messages: Iterable[Message], tools: Sequence[Tool] = ()) -> int:
    """Return how many tokens the prompt is.

    Images and videos count a fixed figure each, tools as the JSON text of their definitions.
    """
    count = TOKENS_PRIMING + sum(_count_message(message) for message in messages)
    if tools:
        count += sum(count_text(_tool_text(tool)) for tool in tools)
    return count


def count_request(
    messages: Sequence[Message], tools: Sequence[Tool], beyond: Sequence[str]
) -> tuple[int, int]:
    """Return how many tokens the prompt is, and how many are beyond it, in its body alone."""
    return count_prompt(messages, tools), sum(map(count_text, beyond))


def _count_message(message: Message) -> int:
    """Count as the chat format sends it: a tool result is a message of its own, nothing is no message."""
    if not message.parts:
        return 0
    results = [part for part in message.parts if isinstance(part, ToolResultPart)]
    count = sum(_framed(Role.TOOL, None) + count_text(part.text) for part in results)
    if results and len(results) == len(message.parts):
        return count
    return count + _framed(message.role, message.name) + sum(map(_count_part, message.parts))


def _framed(role: Role, name: str | None) -> int:
    count = TOKENS_PER_MESSAGE + count_text(role.value)
    return count if name is None else count + TOKENS_PER_NAME + count_text(name)


def _count_part(part: Part) -> int:
    match part:
        case TextPart() | ReasoningPart() | RefusalPart():
            return count_text(part.text)
        case ToolCallPart():
            return count_text(part.name) + count_text(part.arguments)
        case ToolResultPart():
            return sum(map(_count_part, part.media))  # its text is counted with its own message
        case ImagePart():
            return IMAGE_TOKENS_LOW_DETAIL if part.detail == "low" else IMAGE_TOKENS
        case VideoPart():
            return VIDEO_TOKENS
        case FilePart():
            return FILE_TOKENS


def _tool_text(tool: Tool) -> str:
    definition = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "definition": tool.definition,
    }
    return json.dumps(
        {name: value for name, value in definition.items() if value is not None},
        ensure_ascii=False,
        separators=(",", ":"),
        default=dict,  # a schema may be any Mapping
    )


@lru_cache(maxsize=CACHED_TEXTS_MAX)
def _count_cached(text: str) -> int:
    return _count(text)


def _count(text: str) -> int:
    try:
        return _vocabulary().count(text)
    except UnicodeEncodeError:
        # A lone surrogate: JSON can carry one, UTF-8 cannot. Pairs are joined, lone ones replaced.
        joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return _vocabulary().count(joined)


@cache
def _vocabulary() -> _Vocabulary:
    package = find_spec("bpe_openai")
    assert package is not None, "bpe-openai is a dependency of this distribution"
    spec = PathFinder.find_spec("bpe_openai._bindings", package.submodule_search_locations)
    assert spec is not None and spec.loader is not None, "its extension is part of each wheel"
    bindings = module_from_spec(spec)
    spec.loader.exec_module(bindings)
    return cast(_Vocabulary, bindings.tokenizer_for_encoding(ENCODING))
