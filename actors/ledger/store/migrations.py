"""How a store of an older schema becomes one of this program's.

One table of steps: each leads from its version to the next. A step only adds; what it adds has a default,
so that rows that are there mean what they meant. The statements are understood by SQLite and PostgreSQL
alike, and run in the transaction that opens the store: it is the new one, or still the old.
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
}


def migrate(connection: Connection, version: int) -> None:
    """Take the steps from this version, which is not newer than ours, to ours."""
    for step in range(version, SCHEMA_VERSION):
        for statement in _STEPS[step]:
            connection.execute(text(statement))
    connection.execute(update(schema_version).values(version=SCHEMA_VERSION))
