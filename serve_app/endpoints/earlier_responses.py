"""The conversation before a response: what earlier ones were asked and answered, and single items of them.

A response names the one before it, that one its own, and so on; each keeps what came in with it alone.
The chain is walked from its end, one record at a time; nothing but items is kept of any.

An input may also refer to items by their ids. Those that were made here say in their id whose they are;
any other is looked for in the responses that the request has to do with anyway.

Rules: the instructions of earlier responses are not part of a conversation; a chain has at most
`LINKS_MAX` of them, a request refers to items of at most `RESPONSES_MAX`, and a conversation has at most
so many characters as a body may have bytes; one that still runs, or whose content is not kept, is in no
conversation; neither is a call that was cut.

Source: contract of the Responses dialect, section 2; OpenAI guide "Conversation state", read
2026-11-22.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.core.errors import CompletionNotFound, InvalidRequest
from actors.core.record import CompletionRecord
from actors.core.wire.responses import completion_ulid
from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.base import render
from serve_app.dialects.responses.errors import ItemNotFound, PreviousResponseNotFound
from serve_app.dialects.responses.items import identified
from serve_app.dialects.responses.render import output_items
from serve_app.endpoints.completions import work_on_log

__all__ = ["LINKS_MAX", "RESPONSES_MAX", "Earlier", "earlier_responses", "referenced_items"]

LINKS_MAX = 64
RESPONSES_MAX = 256

_AT_ONCE = 16
"""Records that one request has read at a time."""

_PARAM = "previous_response_id"

_Items = list[dict[str, Any]]

_Find = Callable[[str], Awaitable[CompletionRecord]]


@dataclass(frozen=True, slots=True)
class Earlier:
    """One response's part of a conversation.

    `items` are its input and its output in their order; `by_id` has each of them under its id.
    """

    items: _Items
    by_id: Mapping[str, dict[str, Any]]

    @property
    def characters(self) -> int:
        return len(render(self.items))


async def earlier_responses(
    find: _Find, wire_id: str, *, characters_max: int
) -> tuple[Earlier, ...]:
    """Return the response of that id and those before it, the oldest first.

    Args:
        find: gives the record of a wire id, or raises `CompletionNotFound`.
    Raises:
        PreviousResponseNotFound: one of them is unknown, deleted, expired or another team's.
        InvalidRequest: one of them cannot be followed, or there are too many.
    """
    turns: list[Earlier] = []
    characters = 0
    following: str | None = wire_id
    while following is not None:
        if len(turns) == LINKS_MAX:
            raise _refusal(f"The chain of responses is longer than {LINKS_MAX}.")
        record = await _record(find, following)
        turn = await work_on_log(_earlier, record)
        characters += turn.characters
        if characters > characters_max:
            raise _refusal("The conversation before this response is too long.")
        turns.append(turn)
        following = record.header.echo.get(_PARAM)
    return tuple(reversed(turns))


async def referenced_items(
    find: _Find, references: Sequence[str], known: Sequence[Earlier], *, characters_max: int
) -> dict[str, dict[str, Any]]:
    """Return the items that an input refers to, by their ids.

    Args:
        find: gives the record of a completion's ULID, or raises `CompletionNotFound`.
        known: the responses before this one.
    Raises:
        ItemNotFound: none that is kept here has such an id, or it may not be seen.
        InvalidRequest: they are of too many responses, or too long.
    """
    there = {id: item for earlier in known for id, item in earlier.by_id.items()}
    missing = {ulid for id in references if id not in there and (ulid := completion_ulid(id))}
    if len(missing) > RESPONSES_MAX:
        says = f"It refers to items of more than {RESPONSES_MAX} responses."
        raise InvalidRequest(says, param="input")
    characters = 0
    names = sorted(missing)
    for first in range(0, len(names), _AT_ONCE):
        found = await asyncio.gather(
            *(_kept(find, ulid) for ulid in names[first : first + _AT_ONCE])
        )
        for earlier in found:
            if earlier is not None:
                characters += earlier.characters
                there |= earlier.by_id
        if characters > characters_max:
            raise InvalidRequest("The items that it refers to are too long.", param="input")
    for id in references:
        if id not in there:
            raise ItemNotFound(id)
    return there


async def _kept(find: _Find, ulid: str) -> Earlier | None:
    """Return what is kept of a completion that has ended, None where that is nothing."""
    try:
        record = await find(ulid)
    except CompletionNotFound:
        return None
    return None if record.finished is None else await work_on_log(_earlier, record)


async def _record(find: _Find, wire_id: str) -> CompletionRecord:
    try:
        record = await find(wire_id)
    except CompletionNotFound:
        raise PreviousResponseNotFound(wire_id) from None
    if record.finished is None:
        raise _refusal(f"The response {wire_id!r} has not ended yet.")
    if "input" not in record.header.echo:
        raise _refusal(f"The content of the response {wire_id!r} was not stored.")
    return record


def _earlier(record: CompletionRecord) -> Earlier:
    header = record.header
    asked: _Items = [dict(item) for item in header.echo.get("input", ())]
    answered = [
        item
        for item in output_items(header, FoldedAnswer.of(record.events))
        if not (item.get("status") == "incomplete" and str(item.get("type")).endswith("_call"))
    ]
    named = zip(identified(asked, header.wire_id), asked, strict=True)
    by_id = {known["id"]: item for known, item in named}
    by_id |= {item["id"]: item for item in answered if isinstance(item.get("id"), str)}
    return Earlier([*asked, *answered], by_id)


def _refusal(message: str) -> InvalidRequest:
    return InvalidRequest(message, param=_PARAM)
