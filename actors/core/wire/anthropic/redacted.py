"""Thinking that the provider keeps to itself: how it travels through events that have no word for it.

Anthropic may encrypt a stretch of thinking into a block `redacted_thinking`, which has to be sent
back as it came. In the log it is a block of reasoning without text, whose signature is that data
with a mark before it. Only this wire format and its dialect know the mark; all others see a block of
reasoning that says nothing.
"""

from __future__ import annotations

__all__ = ["redacted_data", "redacted_signature"]

_MARK = "redacted_thinking:"


def redacted_signature(data: str) -> str:
    return _MARK + data


def redacted_data(signature: str | None) -> str | None:
    """Return the data of a redacted block, None for any other signature."""
    if signature is None or not signature.startswith(_MARK):
        return None
    return signature.removeprefix(_MARK)
