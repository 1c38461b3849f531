"""Blocks that came in this format and are of no other, put together from their frames.

A frame is a `content_block_start` or a `content_block_delta` as the provider sent it. What a delta means
is this format's: pieces of JSON become the block's `input`, citations a list, text is joined. A delta of
a kind that nobody here knows is left out of the body; the stream has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actors.core.wire.anthropic import tool_input

__all__ = ["folded"]

_TEXTS = {"text_delta": "text", "thinking_delta": "thinking", "compaction_delta": "content"}


def folded(block: dict[str, Any], frames: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the block with what its frames say; an empty one begins with the frame that opens it."""
    pieces: list[str] = []
    for frame in frames:
        start, delta = frame.get("content_block"), frame.get("delta")
        if isinstance(start, Mapping):
            block |= start
        if isinstance(delta, Mapping):
            _apply(block, delta, pieces)
    if pieces:
        block["input"] = tool_input("".join(pieces))
    return block


def _apply(block: dict[str, Any], delta: Mapping[str, Any], pieces: list[str]) -> None:
    kind = delta.get("type")
    if kind == "input_json_delta" and isinstance(delta.get("partial_json"), str):
        pieces.append(delta["partial_json"])
    elif kind == "citations_delta" and "citation" in delta:
        block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
    elif kind == "signature_delta":
        block["signature"] = delta.get("signature")
    elif kind in _TEXTS:
        name = _TEXTS[kind]
        text = delta.get(name)
        if isinstance(text, str):
            block[name] = (block.get(name) or "") + text
