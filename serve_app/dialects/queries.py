"""The members of a query string that mean the same in every dialect: booleans, and a reader's cursor.

A cursor is the number of the last frame that a client has: frames are sent from the one after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from actors.core.errors import InvalidRequest
from serve_app.dialects.base import HttpCall, StreamCall

__all__ = ["boolean", "cursor", "stream_call"]

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)


def boolean(query: Mapping[str, str], name: str) -> bool:
    """Return the member, False where it is not there.

    Raises: InvalidRequest: neither true nor false.
    """
    value = query.get(name, "false").lower()
    if value not in _BOOLEANS:
        raise InvalidRequest(f"{name} must be true or false.", param=name)
    return _BOOLEANS[value]


def cursor(text: str | None, name: str, *, is_called: str = "the number of a frame") -> int:
    """Return the cursor that a member or header has, -1 where it is not there.

    Args:
        is_called: what it has to be, in the words of the dialect.
    Raises: InvalidRequest: it is no number.
    """
    if text is None:
        return -1
    if not _NUMBER.fullmatch(text):
        raise InvalidRequest(f"{name} must be {is_called}.", param=name)
    return int(text)


def stream_call(call: HttpCall, *, is_called: str = "the number of a frame") -> StreamCall | None:
    """Return where a stream should begin, None where `stream` asks for none.

    `starting_after` counts before `Last-Event-ID`, and has to be right although no stream is asked for.

    Raises: InvalidRequest.
    """
    is_stream = boolean(call.query, "stream")
    text = call.query.get("starting_after")
    if text is None and is_stream:
        text = call.headers.get("last-event-id")
    after = cursor(text, "starting_after", is_called=is_called)
    return StreamCall(after) if is_stream else None
