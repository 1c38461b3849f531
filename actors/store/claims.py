"""Statements about what waits for a completion by name: remembered cancellations, idempotency keys.

Both are small rows with an expiry. No rule is decided here, and no time is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, tuple_, update

from actors.core.request import Dialect, IdempotencyKey
from actors.ledger import CompletionKey
from actors.store.records import StoredRecord
from actors.store.tables import completions, idempotency, records, tombstones

__all__ = [
    "IdempotentCall",
    "find_idempotent",
    "load_tombstones",
    "put_idempotent",
    "put_tombstone",
    "remove_past_expiry",
]


@dataclass(frozen=True, slots=True)
class IdempotentCall:
    fingerprint: str
    completion_id: str
    expires_at_s: float
    record: StoredRecord | None


def load_tombstones(connection: Connection) -> Iterator[tuple[CompletionKey, float]]:
    for row in connection.execute(select(tombstones)):
        key = CompletionKey(row.team, Dialect(row.dialect), row.wire_id)
        yield key, row.expires_at_s


def put_tombstone(connection: Connection, key: CompletionKey, *, expires_at_s: float) -> None:
    """Write a remembered cancellation, or a later expiry of one that is there."""
    identity = {"team": key.team, "dialect": key.dialect.value, "wire_id": key.wire_id}
    _put(connection, tombstones, identity, {"expires_at_s": expires_at_s})


def find_idempotent(connection: Connection, team: str, key: str) -> IdempotentCall | None:
    query = (
        select(idempotency, completions.c.status, completions.c.deleted_at_s, records.c.body)
        .join_from(
            idempotency,
            completions,
            completions.c.completion_id == idempotency.c.completion_id,
            isouter=True,
        )
        .join(records, records.c.completion_id == completions.c.completion_id, isouter=True)
        .where(idempotency.c.team == team, idempotency.c.key == key)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    # What its owner deleted is answered no more, although a record without content may be there.
    body = row.body if row.deleted_at_s is None else None
    record = StoredRecord(row.status, body) if row.status is not None else None
    return IdempotentCall(row.fingerprint, row.completion_id, row.expires_at_s, record)


def put_idempotent(
    connection: Connection,
    team: str,
    call: IdempotencyKey,
    completion_id: str,
    *,
    expires_at_s: float,
) -> None:
    """Write which completion a key stands for, over whatever it stood for before."""
    _put(
        connection,
        idempotency,
        {"team": team, "key": call.key},
        {
            "fingerprint": call.fingerprint,
            "completion_id": completion_id,
            "expires_at_s": expires_at_s,
        },
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
