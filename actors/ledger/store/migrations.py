"""How a store of an older schema becomes one of this program's.

One table of steps: each leads from its version to the next. A step only adds; what it adds has a default,
so that rows that are there mean what they meant. Its statements are text, and never made of `tables`, which
go on changing. SQLite and PostgreSQL understand them alike but for the words in braces, and they run in the
transaction that opens the store: it is the new one, or still the old. A test holds each older schema, brought
up to date so, against a store that is made now.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, text, update

from actors.ledger.store.tables import SCHEMA_VERSION, schema_version

__all__ = ["migrate"]

_STEPS: Mapping[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE teams ADD COLUMN stores_content BOOLEAN NOT NULL DEFAULT true",
        "ALTER TABLE teams ADD COLUMN native_passthrough BOOLEAN NOT NULL DEFAULT false",
        "ALTER TABLE completions ADD COLUMN deleted_at_s DOUBLE PRECISION",
    ),
    2: (
        "ALTER TABLE holds ADD COLUMN extended_microcredits BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE completions ADD COLUMN absorbed_microcredits BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE completions ADD COLUMN failure TEXT",
        "CREATE TABLE secrets (name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name))",
    ),
    3: (
        "CREATE TABLE fence (epoch BIGINT NOT NULL, cluster TEXT NOT NULL, "
        "seen_at_s {double} NOT NULL)",
    ),
    4: (
        "CREATE TABLE checkpoints (completion_id TEXT NOT NULL, first INTEGER NOT NULL,"
        " events_count INTEGER NOT NULL, events TEXT NOT NULL, PRIMARY KEY (completion_id, first),"
        " FOREIGN KEY (completion_id) REFERENCES completions (completion_id))",
    ),
}

_WORDS: Mapping[str, Mapping[str, str]] = {
    "sqlite": {"bytes": "BLOB", "double": "DOUBLE"},
    "postgresql": {"bytes": "BYTEA", "double": "DOUBLE PRECISION"},
}


def migrate(connection: Connection, version: int) -> None:
    """Take the steps from this version, which is not newer than ours, to ours."""
    for step in range(version, SCHEMA_VERSION):
        for statement in _STEPS[step]:
            connection.execute(text(statement.format_map(_WORDS[connection.dialect.name])))
    connection.execute(update(schema_version).values(version=SCHEMA_VERSION))
