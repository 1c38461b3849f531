"""The members of a query string that mean the same in every dialect: booleans, and a reader's cursor.

A cursor is the number of the last frame that a client has: frames are sent from the one after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from actors.core.errors import InvalidRequest

__all__ = ["boolean", "cursor"]

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
