"""Statements about completions: where they are, and their records.

No rule is decided here, and no time is read. "Running" is the status of a completion whose hold
is open; everything else is settled. A completion whose record was evicted, by age or by size, keeps its
row and its entries. One that its owner deleted keeps a record without content beside, until that is
evicted, and is not found by its wire id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from actors.core.record import CompletionHeader
from actors.core.request import Dialect, Retention
from actors.ledger.store.prepared import Prepared
from actors.ledger.store.tables import RUNNING, completions, holds, records
from actors.ports.ledger import CompletionFilter, CompletionKey, CompletionRow, Located

__all__ = [
    "OpenCompletion",
    "StoredRecord",
    "evict",
    "find",
    "find_by_id",
    "find_record",
    "give_up_name",
    "headers",
    "is_taken",
    "list_page",
    "load_open",
    "oldest_records",
    "put_remains",
    "records_bytes",
    "records_past_expiry",
    "size_of",
]


@dataclass(frozen=True, slots=True)
class OpenCompletion:
    """What the ledger keeps in memory of a completion that runs.

    `keeps_text` says whether its log may be written down before its end.
    """

    located: Located
    key: CompletionKey
    is_cancelled_at_birth: bool
    keeps_text: bool

    @classmethod
    def of(
        cls, header: CompletionHeader, key: CompletionKey, *, is_cancelled_at_birth: bool
    ) -> OpenCompletion:
        located = Located(header.completion_id, header.actor, header.node_id, is_settled=False)
        return cls(located, key, is_cancelled_at_birth, header.retention is Retention.FULL)


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """`body` is None while the completion runs, and once its content was dropped."""

    status: str
    body: bytes | None


# Where completions are.

_IS_OPEN = holds.c.state == literal_column("'pending'")

_LOCATED = select(
    completions.c.completion_id, completions.c.actor, completions.c.node_id, completions.c.status
).where(completions.c.content_deleted_at_s.is_(None))

_IS_ITS_OWNERS = completions.c.deleted_at_s.is_(None)


_TAKEN = Prepared(
    select(completions.c.completion_id).where(
        or_(
            completions.c.completion_id == bindparam("completion_id"),
            and_(
                completions.c.team == bindparam("team"),
                completions.c.dialect == bindparam("dialect"),
                completions.c.wire_id == bindparam("wire_id"),
            ),
        )
    )
)


def find(connection: Connection, key: CompletionKey) -> Located | None:
    """Return where the completion of this wire id is; None also when it was deleted or evicted."""
    is_named = and_(
        completions.c.team == key.team,
        completions.c.dialect == key.dialect.value,
        completions.c.wire_id == key.wire_id,
    )
    return _located(connection, _LOCATED.where(is_named, _IS_ITS_OWNERS))


def give_up_name(connection: Connection, completion_id: str) -> None:
    """Take a completion's own id for the one that its client chose, which is free then."""
    connection.execute(
        update(completions)
        .where(completions.c.completion_id == completion_id)
        .values(wire_id=completion_id)
    )


def find_by_id(connection: Connection, completion_id: str) -> Located | None:
    """Return where a completion is, deleted ones too; None also when its record was evicted."""
    return _located(connection, _LOCATED.where(completions.c.completion_id == completion_id))


def is_taken(connection: Connection, completion_id: str, key: CompletionKey) -> bool:
    """Return whether either id was ever given to a completion, whatever became of it."""
    names = {
        "completion_id": completion_id,
        "team": key.team,
        "dialect": key.dialect.value,
        "wire_id": key.wire_id,
    }
    return _TAKEN.first(connection, names) is not None


def load_open(connection: Connection) -> Iterator[OpenCompletion]:
    """Yield the completions that run."""
    query = select(completions).join(holds).where(_IS_OPEN, completions.c.status == RUNNING)
    for row in connection.execute(query):
        header = CompletionHeader.from_json(row.header)
        key = CompletionKey(row.team, Dialect(row.dialect), row.wire_id)
        yield OpenCompletion.of(header, key, is_cancelled_at_birth=row.is_cancelled_at_birth)


def headers(connection: Connection, completion_ids: Sequence[str]) -> Iterator[CompletionHeader]:
    """Yield the headers of those of these completions that run."""
    query = select(completions.c.header).where(
        completions.c.completion_id.in_(completion_ids), completions.c.header.is_not(None)
    )
    for text in connection.execute(query).scalars():
        yield CompletionHeader.from_json(text)


def _located(connection: Connection, query: Any) -> Located | None:
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return Located(row.completion_id, row.actor, row.node_id, row.status != RUNNING)


# Lists.


_LISTED_COLUMNS = [column for column in completions.c if column.name != "header"]


def list_page(
    connection: Connection,
    where: CompletionFilter,
    *,
    limit: int,
    before: tuple[float, str] | None,
) -> list[CompletionRow]:
    """Return up to `limit` rows, newest first, that come after the row `before` in that order."""
    order = tuple_(completions.c.created_at_s, completions.c.completion_id)
    query = select(*_LISTED_COLUMNS).where(*_matching(where))
    if before is not None:
        query = query.where(order < before)
    query = query.order_by(completions.c.created_at_s.desc(), completions.c.completion_id.desc())
    return [_listed(row) for row in connection.execute(query.limit(limit))]


def _matching(where: CompletionFilter) -> Iterator[ColumnElement[bool]]:
    for name in ("team", "model", "dialect", "status", "node_id"):
        value = getattr(where, name)
        if value is not None:
            yield completions.c[name] == value
    if where.tag is not None:
        # A pair with its brackets and bare quotes: inside a JSON string the quotes are escaped.
        yield completions.c.tags.contains(
            json.dumps(where.tag, separators=(",", ":")), autoescape=True
        )


def _listed(row: Any) -> CompletionRow:
    return CompletionRow(
        id=row.completion_id,
        wire_id=row.wire_id,
        team=row.team,
        dialect=row.dialect,
        model=row.model,
        status=row.status,
        source=row.source,
        node_id=row.node_id,
        actor=row.actor,
        pid=row.pid,
        created_at=row.created_at_s,
        tokens_output=row.tokens_output,
        charge_microcredits=row.charge_microcredits,
        readers=0,
        tags=tuple((name, value) for name, value in json.loads(row.tags)),
    )


# Records.


def find_record(connection: Connection, completion_id: str) -> StoredRecord | None:
    query = (
        select(completions.c.status, records.c.body)
        .join_from(completions, records, isouter=True)
        .where(completions.c.completion_id == completion_id)
    )
    row = connection.execute(query).one_or_none()
    return StoredRecord(row.status, row.body) if row else None


_HAS_RECORD = completions.c.record_bytes > literal_column("0")


def records_bytes(connection: Connection) -> int:
    """Return the size of all records."""
    query = select(func.coalesce(func.sum(completions.c.record_bytes), 0)).where(_HAS_RECORD)
    return int(connection.execute(query).scalar_one())


def records_past_expiry(
    connection: Connection, now_s: float, *, limit: int
) -> list[tuple[str, int]]:
    """Return (id, size) of records whose time is over."""
    query = (
        select(completions.c.completion_id, completions.c.record_bytes)
        .where(_HAS_RECORD, completions.c.record_expires_at_s <= now_s)
        .order_by(completions.c.record_expires_at_s)
    )
    return [(row[0], row[1]) for row in connection.execute(query.limit(limit))]


def oldest_records(connection: Connection, *, limit: int) -> list[tuple[str, int]]:
    """Return (id, size) of the records that were settled first."""
    query = (
        select(completions.c.completion_id, completions.c.record_bytes)
        .where(_HAS_RECORD)
        .order_by(completions.c.settled_at_s)
    )
    return [(row[0], row[1]) for row in connection.execute(query.limit(limit))]


def size_of(connection: Connection, completion_id: str) -> int | None:
    """Return the size of a record that its owner may read, None where there is none."""
    query = select(completions.c.record_bytes).where(
        completions.c.completion_id == completion_id, _HAS_RECORD, _IS_ITS_OWNERS
    )
    return connection.execute(query).scalar_one_or_none()


def put_remains(connection: Connection, completion_id: str, body: bytes, *, now_s: float) -> None:
    """Put a record without content in the place of the one that is there, for a DELETE."""
    connection.execute(
        update(records).where(records.c.completion_id == completion_id).values(body=body)
    )
    connection.execute(
        update(completions)
        .where(completions.c.completion_id == completion_id)
        .values(record_bytes=len(body), deleted_at_s=now_s)
    )


def evict(connection: Connection, completion_ids: Sequence[str], *, now_s: float) -> None:
    """Drop the records of settled completions; their rows stay."""
    connection.execute(delete(records).where(records.c.completion_id.in_(completion_ids)))
    connection.execute(
        update(completions)
        .where(completions.c.completion_id.in_(completion_ids))
        .values(record_bytes=0, content_deleted_at_s=now_s)
    )
