"""The `Midstream-*` request headers, which mean the same in every dialect.

One that is known and not built yet is refused: a deadline that is silently not kept is worse than
an error.
"""

from __future__ import annotations

from collections.abc import Mapping

from actors.core.errors import InvalidRequest
from actors.core.ids import is_client_name
from actors.core.request import DisconnectPolicy

__all__ = ["COMPLETION_ID", "NOT_BUILT", "client_name", "disconnect_policy", "remembers_if_absent"]

COMPLETION_ID = "Midstream-Completion-Id"
_ON_DISCONNECT = "Midstream-On-Disconnect"
_IF_ABSENT = "Midstream-If-Absent"
NOT_BUILT = ("Midstream-Tag", "Midstream-Deadline-Ms", "Midstream-Max-Credits")


def client_name(headers: Mapping[str, str]) -> str | None:
    """Return the id that the client chose for its completion, None where it chose none.

    Raises: InvalidRequest: not 1 to 128 of `[A-Za-z0-9._-]`.
    """
    name = headers.get(COMPLETION_ID.lower())
    if name is not None and not is_client_name(name):
        raise InvalidRequest(
            f"{COMPLETION_ID} must be 1 to 128 of the characters A-Z, a-z, 0-9, '.', '_' and '-'.",
            param=COMPLETION_ID,
        )
    return name


def disconnect_policy(headers: Mapping[str, str]) -> DisconnectPolicy:
    """Return what the client's leaving shall do; `cancel` where it does not say.

    Raises: InvalidRequest: neither `cancel` nor `continue`.
    """
    try:
        return DisconnectPolicy(headers.get(_ON_DISCONNECT.lower(), DisconnectPolicy.CANCEL))
    except ValueError:
        raise InvalidRequest(
            f"{_ON_DISCONNECT} must be cancel or continue.", param=_ON_DISCONNECT
        ) from None


def remembers_if_absent(headers: Mapping[str, str]) -> bool:
    """Return whether a cancel of an unknown id shall be kept for a completion that is yet to start.

    Raises: InvalidRequest: a value other than `remember`.
    """
    value = headers.get(_IF_ABSENT.lower())
    if value not in (None, "remember"):
        raise InvalidRequest(f"{_IF_ABSENT} must be remember.", param=_IF_ABSENT)
    return value is not None
