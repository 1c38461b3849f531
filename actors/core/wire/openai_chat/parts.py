"""OpenAI chat completions, what a delta says: texts, in whatever form a provider puts them.

Owns the names and shapes of the members that hold text. OpenAI's own are plain texts; others send lists
of parts (Mistral), objects (gateways), or the pieces of a thought with their kind (OpenRouter).

Rules: of two names for the same thing the first that says something counts; a part of a kind that is
unknown says nothing; nothing is looked into deeper than `_DEPTH_MAX`.

Source: API references of OpenAI, Mistral ("reasoning"), OpenRouter ("reasoning tokens"), read 2026-11-25.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actors.core.events import ReasoningDelta, RefusalDelta, TextDelta
from actors.core.wire.stream_decoder import PlainDelta
from actors.core.wire.untrusted import Broken

__all__ = ["texts_of"]

_DEPTH_MAX = 6

_REASONING = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "reasoning_details")

_PART_KINDS: dict[str, type[PlainDelta]] = {
    "thinking": ReasoningDelta,
    "reasoning": ReasoningDelta,
    "reasoning_text": ReasoningDelta,
    "refusal": RefusalDelta,
}
_TEXT_PARTS = frozenset({"text", "output_text", "input_text"})

_SAID_IN = ("text", "thinking", "content", "reasoning", "reasoning_content", "summary", "refusal")
"""The members of an object that may hold what it says."""


def texts_of(delta: dict[str, Any]) -> Iterator[tuple[type[PlainDelta], str]]:
    """Yield what a delta, or a whole message, says: first its thoughts, then its content.

    Raises: Broken: a member is of a type that holds no text.
    """
    for name in _REASONING:
        if (value := delta.get(name)) is not None and (text := _said(value)):
            yield ReasoningDelta, text
            break
    content = delta.get("content")
    if isinstance(content, str):
        if content:
            yield TextDelta, content
    elif content is not None:
        yield from _parts(content)
    if (value := delta.get("refusal")) is not None and (text := _said(value)):
        yield RefusalDelta, text


def _parts(content: Any) -> Iterator[tuple[type[PlainDelta], str]]:
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield TextDelta, part
            continue
        if not isinstance(part, dict):
            raise Broken
        kind = part.get("type", "text")
        if kind in _TEXT_PARTS:
            yield TextDelta, _said(part)
        elif isinstance(kind, str) and kind in _PART_KINDS:
            yield _PART_KINDS[kind], _said(part)


def _said(value: Any, depth: int = 0) -> str:
    if isinstance(value, str):
        return value
    if depth > _DEPTH_MAX:
        return ""
    if isinstance(value, list):
        return "".join(_said(member, depth + 1) for member in value)
    if isinstance(value, dict):
        members = (value.get(name) for name in _SAID_IN)
        said = (_said(member, depth + 1) for member in members if member is not None)
        return next(filter(None, said), "")
    if depth:
        return ""
    raise Broken
