"""A start that is made again: which completion it is taken for.

It is the same start where team, route and body are, and either the idempotency key or the id that the
client chose. Then:

    what the first start came to            by its key               by its id
    it runs, or ended of itself             its completion           its completion
    it failed, or its client left it        none: it starts anew     its completion
    it was never dispatched                 none: it starts anew     none: it starts anew, under the id
    its record is gone                      none: it starts anew     the id is in use
    it was deleted, or had another body     refused                  the id is in use

"Never dispatched" is what its client left, or we lost, before a provider was asked. What somebody stopped
before that stays stopped. Under strict contracts keys alone count: one is refused while its first start
runs, and stands for nothing once that was deleted.
"""

from __future__ import annotations

import hmac
from dataclasses import replace

from sqlalchemy import Connection

from actors.core.errors import (
    CompletionIdInUse,
    FailureCode,
    IdempotencyConflict,
    IdempotencyKeyReused,
)
from actors.core.events import CancelSource, Started, Status
from actors.core.record import CompletionRecord
from actors.core.request import IdempotencyKey, Retention
from actors.ledger.store import claims
from actors.ledger.store.claims import IdempotentCall
from actors.ledger.store.tables import RUNNING
from actors.ports.ledger import CompletionKey

__all__ = ["claims_of", "first_start", "sealed", "was_never_dispatched"]

_LEFT = frozenset({CancelSource.CLIENT_DISCONNECT, CancelSource.SHUTDOWN, CancelSource.UNKNOWN})
"""Who ends a completion without having wanted it stopped."""


def sealed(again: IdempotencyKey, seal_key: bytes) -> IdempotencyKey:
    """Return the start with its fingerprint as it is kept and compared."""
    seal = hmac.digest(seal_key, again.fingerprint.encode("utf-8", "replace"), "sha256")
    return replace(again, fingerprint=seal.hex())


def claims_of(key: CompletionKey, again: IdempotencyKey) -> list[str]:
    """Return the names under which the start is claimed."""
    names = [again.key] if again.key is not None else []
    return [*names, claims.id_claim(key)] if again.names_id else names


def first_start(
    connection: Connection, key: CompletionKey, again: IdempotencyKey, now_s: float
) -> str | None:
    """Return the id of the completion that this start is taken for, None where it starts anew.

    Raises:
        IdempotencyConflict: the key is another start's, or its first still runs.
        CompletionIdInUse: the id is another start's, or its completion is gone.
    """
    if again.key is not None:
        call = claims.find_idempotent(connection, key.team, again.key)
        if call is not None and call.status is not None and call.expires_at_s > now_s:
            found = _strictly(call, again) if again.is_strict else _by_key(call, again)
            if found is not None:
                return found
    if again.names_id:
        call = claims.find_idempotent(connection, key.team, claims.id_claim(key))
        if call is not None and call.status is not None and call.expires_at_s > now_s:
            return _by_id(call, again, key)
    return None


def was_never_dispatched(call: IdempotentCall) -> bool:
    """Return whether no provider was asked, and nobody wanted it stopped."""
    if call.tokens_output or call.body is None or call.is_deleted:
        return False
    if call.status == Status.CANCELLED and call.source not in _LEFT:
        return False
    if call.status not in (Status.CANCELLED, Status.FAILED):
        return False
    record = CompletionRecord.from_bytes(call.body)
    finished = record.finished
    if record.header.retention is Retention.RECEIPT or finished is None:
        return False  # What it was asked for is not told.
    if finished.error is not None and finished.error.code is FailureCode.COMPLETION_LOST:
        return False  # Its owner may have asked before it died.
    return not any(isinstance(event, Started) for event in record.events)


def _by_key(call: IdempotentCall, again: IdempotencyKey) -> str | None:
    if call.status == Status.FAILED:
        return None
    if call.status == Status.CANCELLED and call.source == CancelSource.CLIENT_DISCONNECT:
        return None
    if call.status != RUNNING and call.body is None and not call.is_deleted:
        return None
    if call.fingerprint != again.fingerprint:
        raise IdempotencyKeyReused("The idempotency key was used with another request.")
    if call.is_deleted:
        raise IdempotencyKeyReused("The completion of this idempotency key was deleted.")
    return call.completion_id


def _strictly(call: IdempotentCall, again: IdempotencyKey) -> str | None:
    is_running = call.status == RUNNING
    is_gone = call.is_deleted or call.body is None
    if call.status == Status.FAILED or (is_gone and not is_running):
        return None
    if call.fingerprint != again.fingerprint:
        raise IdempotencyConflict("The idempotency key was used with another request.")
    if is_running:
        raise IdempotencyConflict("The first request with this idempotency key is still running.")
    return call.completion_id


def _by_id(call: IdempotentCall, again: IdempotencyKey, key: CompletionKey) -> str | None:
    is_gone = call.is_deleted or (call.status != RUNNING and call.body is None)
    if is_gone or call.fingerprint != again.fingerprint:
        raise CompletionIdInUse(key.wire_id)
    return None if was_never_dispatched(call) else call.completion_id
