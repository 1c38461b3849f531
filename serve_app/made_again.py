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

from actors.core.request import IdempotencyKey
from serve_app.dialects.base import CreateCall, DialectName
from serve_app.dialects.json_body import parse_object
from serve_app.dialects.midstream_headers import idempotency_key

__all__ = ["start_made_again"]


def start_made_again(
    parsed: CreateCall,
    headers: Mapping[str, str],
    body: bytes,
    *,
    dialect: DialectName,
    route: str,
    is_strict: bool,
) -> IdempotencyKey | None:
    """Return how the start is known if it is made again, None where nothing names it.

    Args:
        route: method and path.
    Raises: InvalidRequest: the key is malformed.
    """
    if is_strict and (dialect is not DialectName.CHAT or parsed.request.stream):
        return None
    key = idempotency_key(headers)
    names_id = parsed.wire_id is not None and not is_strict
    if key is None and not names_id:
        return None
    canonical = json.dumps(parse_object(body), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"{route}\n{canonical}".encode()).hexdigest()
    return IdempotencyKey(key, digest, names_id=names_id, is_strict=is_strict)
