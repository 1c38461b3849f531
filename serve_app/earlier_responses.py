"""The conversation before a response: what the responses that it follows were asked and answered.

A response names the one before it, that one its own, and so on; each keeps what came in with it alone.
The chain is walked from its end, one record at a time; nothing but messages is kept of any.

Rules: the instructions of earlier responses are not part of it; a chain has at most `LINKS_MAX` of
them, and a conversation at most so many characters as a body may have bytes; one that still runs, or
whose content is not kept, is in no conversation.

Source: contract of the Responses dialect, section 2; OpenAI guide "Conversation state", read
2026-11-22.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from actors.core.errors import CompletionNotFound, InvalidRequest
from actors.core.request import (
    Message,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from actors.record import CompletionRecord
from serve_app.dialect_endpoints import work_on_log
from serve_app.dialects.answer import Answer
from serve_app.dialects.responses.errors import PreviousResponseNotFound
from serve_app.dialects.responses.items import answer_message, messages_of

__all__ = ["LINKS_MAX", "earlier_messages"]

LINKS_MAX = 64

_PARAM = "previous_response_id"


async def earlier_messages(
    find: Callable[[str], Awaitable[CompletionRecord]], wire_id: str, *, characters_max: int
) -> tuple[Message, ...]:
    """Return the messages of the response and of those before it, the oldest first.

    Args:
        find: gives the record of a wire id, or raises `CompletionNotFound`.
    Raises:
        PreviousResponseNotFound: one of them is unknown, deleted, expired or another team's.
        InvalidRequest: one of them cannot be followed, or there are too many.
    """
    turns: list[tuple[Message, ...]] = []
    characters = 0
    following: str | None = wire_id
    while following is not None:
        if len(turns) == LINKS_MAX:
            raise _refusal(f"The chain of responses is longer than {LINKS_MAX}.")
        record = await _record(find, following)
        turn = await work_on_log(_turn, record)
        characters += sum(_length(message) for message in turn)
        if characters > characters_max:
            raise _refusal("The conversation before this response is too long.")
        turns.append(turn)
        following = record.header.echo.get(_PARAM)
    return tuple(message for turn in reversed(turns) for message in turn)


async def _record(
    find: Callable[[str], Awaitable[CompletionRecord]], wire_id: str
) -> CompletionRecord:
    try:
        record = await find(wire_id)
    except CompletionNotFound:
        raise PreviousResponseNotFound(wire_id) from None
    if record.finished is None:
        raise _refusal(f"The response {wire_id!r} has not ended yet.")
    if "input" not in record.header.echo:
        raise _refusal(f"The content of the response {wire_id!r} was not stored.")
    return record


def _turn(record: CompletionRecord) -> tuple[Message, ...]:
    asked = messages_of(record.header.echo["input"])
    answered = answer_message(Answer.of(record.events))
    return asked if answered is None else (*asked, answered)


def _length(message: Message) -> int:
    length = 0
    for part in message.parts:
        match part:
            case TextPart(text) | RefusalPart(text) | ReasoningPart(text):
                length += len(text)
            case ToolCallPart():
                length += len(part.arguments)
            case ToolResultPart():
                length += len(part.text)
            case _:
                length += len(part.url)
    return length


def _refusal(message: str) -> InvalidRequest:
    return InvalidRequest(message, param=_PARAM)
