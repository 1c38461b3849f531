"""How a start says that it may be the same as an earlier one: its key, its own id, and its body.

The fingerprint is a digest of the route and the canonical body, members sorted: what a retry of the same
call has again, whoever sends it. The ledger seals it. By default every dialect takes a key, streams
too; under strict contracts the chat dialect alone does, and not for streams.

Source: contract of the chat dialect, section 7; draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from actors.core.errors import InvalidRequest
from actors.core.request import IdempotencyKey
from serve_app.dialects.base import CreateCall, Dialect
from serve_app.dialects.json_body import parse_object

__all__ = ["fingerprint", "has_idempotency_key", "idempotency_key", "name_of_start"]

_IDEMPOTENCY_HEADERS = ("idempotency-key", "aurous-idempotency-key", "aurous-idempotent-key")
"""The header has three names in the chat contract (A6)."""

_IDEMPOTENCY_KEY_LENGTH_MAX = 256
_KEY_PARAM = "Idempotency-Key"


def has_idempotency_key(headers: Mapping[str, str]) -> bool:
    return any(name in headers for name in _IDEMPOTENCY_HEADERS)


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """Return the key under which this start may be made again, None where it has none.

    Raises: InvalidRequest: not 1 to 256 characters, or two keys that differ.
    """
    keys = {headers[name] for name in _IDEMPOTENCY_HEADERS if name in headers}
    if not keys:
        return None
    if len(keys) > 1:
        raise InvalidRequest("Two idempotency keys were sent, and they differ.", param=_KEY_PARAM)
    key = keys.pop()
    if not 1 <= len(key) <= _IDEMPOTENCY_KEY_LENGTH_MAX:
        raise InvalidRequest(
            f"An idempotency key has 1 to {_IDEMPOTENCY_KEY_LENGTH_MAX} characters.",
            param=_KEY_PARAM,
        )
    return key


def name_of_start(
    parsed: CreateCall, headers: Mapping[str, str], *, dialect: Dialect, is_strict: bool
) -> IdempotencyKey | None:
    """Return how the start is known if it is made again, None where nothing names it.

    Its fingerprint is yet to be put in.

    Raises: InvalidRequest: the key is malformed.
    """
    if is_strict and (dialect is not Dialect.CHAT or parsed.request.stream):
        return None
    key = idempotency_key(headers)
    names_id = parsed.wire_id is not None and not is_strict
    if key is None and not names_id:
        return None
    return IdempotencyKey(key, "", names_id=names_id, is_strict=is_strict)


def fingerprint(route: str, body: bytes) -> str:
    """Return the digest by which a start is the same as another.

    Args:
        route: method and path.
    """
    canonical = json.dumps(parse_object(body), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{route}\n{canonical}".encode()).hexdigest()
