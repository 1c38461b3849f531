"""The turns of a conversation, put as a wire format other than the client's can say them.

Owns where a system message in mid-conversation stands.

Source: Claude Code's own reminders in a user's message, and Anthropic's "Mid-conversation system
messages"; read 2026-11-25.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

from actors.core.request import Message, Role, TextPart

__all__ = ["reminder", "with_reminders", "without_system_in_conversation"]

_SEPARATOR = "\n\n"
_OPENING, _CLOSING = "<system-reminder>", "</system-reminder>"


def reminder(text: str) -> str:
    """Return what the system says, as a user's message says it."""
    return text if text.startswith(_OPENING) else f"{_OPENING}\n{text}\n{_CLOSING}"


def with_reminders(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the messages with each of the system's that follows another role's as a user's."""
    first = len(list(takewhile(_is_system, messages)))
    if not any(map(_is_system, messages[first:])):
        return messages
    others = (
        _as_users(message) if _is_system(message) else message for message in messages[first:]
    )
    return (*messages[:first], *others)


def without_system_in_conversation(
    messages: tuple[Message, ...],
) -> tuple[str, tuple[Message, ...]]:
    """Return the text of the system's first messages, and the others without any of the system's.

    It is one text, since some servers put several together without a space. A conversation needs
    somebody who asks: where only the system says something, that is the user's.
    """
    reminded = with_reminders(messages)
    first = list(takewhile(_is_system, reminded))
    others = reminded[len(first) :]
    if not others:
        return "", tuple(replace(message, role=Role.USER) for message in first)
    texts = (
        part.text
        for message in first
        for part in message.parts
        if isinstance(part, TextPart) and part.text
    )
    return _SEPARATOR.join(texts), others


def _as_users(message: Message) -> Message:
    parts = tuple(
        TextPart(reminder(part.text)) if isinstance(part, TextPart) and part.text else part
        for part in message.parts
    )
    return replace(message, role=Role.USER, parts=parts)


def _is_system(message: Message) -> bool:
    return message.role is Role.SYSTEM
