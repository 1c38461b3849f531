"""Statements about what waits for a completion by name: remembered cancellations, and starts.

Both are small rows with an expiry. A start is claimed by an idempotency key, or by the id that its client
chose; the latter's row has a name that no header can carry. No rule is decided here, and no time is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Table,
    delete,
    insert,
    select,
    tuple_,
    update,
)

from actors.core.request import Dialect
from actors.ledger.store.tables import completions, idempotency, records, tombstones
from actors.ports.ledger import CompletionKey

__all__ = [
    "IdempotentCall",
    "find_idempotent",
    "id_claim",
    "load_tombstones",
    "put_idempotent",
    "put_tombstone",
    "remove_past_expiry",
]


@dataclass(frozen=True, slots=True)
class IdempotentCall:
    """The start that a claim stands for.

    `status`, `source` and `tokens_output` are its completion's, `body` its record's; `status` is None where
    the completion was never placed, `body` while it runs and once the record is gone.
    """

    fingerprint: str
    completion_id: str
    expires_at_s: float
    status: str | None
    source: str | None
    tokens_output: int
    is_deleted: bool
    body: bytes | None


def load_tombstones(connection: Connection) -> Iterator[tuple[CompletionKey, float]]:
    for row in connection.execute(select(tombstones)):
        key = CompletionKey(row.team, Dialect(row.dialect), row.wire_id)
        yield key, row.expires_at_s


def put_tombstone(connection: Connection, key: CompletionKey, *, expires_at_s: float) -> None:
    """Write a remembered cancellation, or a later expiry of one that is there."""
    identity = {"team": key.team, "dialect": key.dialect.value, "wire_id": key.wire_id}
    _put(connection, tombstones, identity, {"expires_at_s": expires_at_s})


def find_idempotent(connection: Connection, team: str, claim: str) -> IdempotentCall | None:
    """Return the start that was claimed under this name, `id_claim` makes it of an id."""
    row = connection.execute(
        _STARTS.where(idempotency.c.team == team, idempotency.c.key == claim)
    ).one_or_none()
    if row is None:
        return None
    return IdempotentCall(
        fingerprint=row.fingerprint,
        completion_id=row.completion_id,
        expires_at_s=row.expires_at_s,
        status=row.status,
        source=row.source,
        tokens_output=row.tokens_output or 0,
        is_deleted=row.deleted_at_s is not None,
        body=row.body,
    )


def id_claim(key: CompletionKey) -> str:
    """Return the name under which an id that its client chose claims its start."""
    digest = hashlib.sha256(f"{key.dialect.value}/{key.wire_id}".encode()).hexdigest()
    return f"\x1f{digest}"


def put_idempotent(
    connection: Connection,
    team: str,
    claim: str,
    fingerprint: str,
    completion_id: str,
    *,
    expires_at_s: float,
) -> None:
    """Write which completion a claim stands for, over whatever it stood for before."""
    _put(
        connection,
        idempotency,
        {"team": team, "key": claim},
        {
            "fingerprint": fingerprint,
            "completion_id": completion_id,
            "expires_at_s": expires_at_s,
        },
    )


_STARTS = (
    select(
        idempotency,
        completions.c.status,
        completions.c.source,
        completions.c.tokens_output,
        completions.c.deleted_at_s,
        records.c.body,
    )
    .join_from(
        idempotency,
        completions,
        completions.c.completion_id == idempotency.c.completion_id,
        isouter=True,
    )
    .join(records, records.c.completion_id == completions.c.completion_id, isouter=True)
)


def remove_past_expiry(connection: Connection, now_s: float, *, limit: int) -> int:
    """Remove idempotency keys and remembered cancellations whose time is over; return how many."""
    removed = 0
    for table in (idempotency, tombstones):
        columns = list(table.primary_key.columns)
        past = select(*columns).where(table.c.expires_at_s <= now_s).limit(limit)
        removed += connection.execute(delete(table).where(tuple_(*columns).in_(past))).rowcount
    return removed


def _put(
    connection: Connection, table: Table, identity: dict[str, str], values: dict[str, Any]
) -> None:
    named = [table.c[name] == value for name, value in identity.items()]
    if connection.execute(update(table).where(*named).values(**values)).rowcount == 0:
        connection.execute(insert(table).values(**identity, **values))
