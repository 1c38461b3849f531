"""Statements of the hot path: written in Core like all others, compiled once, run on the driver.

SQLAlchemy spends some 50 µs on each execution of a statement that it has compiled already, several
times what SQLite needs to carry it out. A placement has five. So the few statements that every
completion needs are compiled once per database and given to the driver's own cursor.

What is lost with that, and replaced: errors are the driver's own (a failed transaction costs the
writing connection whatever the error is), and values pass unconverted (they are str, int, float,
bool, bytes and None, which both drivers take as they are).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ClauseElement, Connection

__all__ = ["Prepared"]

Row = Mapping[str, Any]


class Prepared:
    """A statement with named parameters; all of its rows have the same names.

    Of an INSERT and an UPDATE the names in a row are the columns that are written, but those that the
    statement has a `bindparam` for: one of that kind must not be called like a column.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Sequence[str] | None]] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Run the statement once for each row, of which there is one at least."""
        text, order = self._text(connection, rows[0])
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(text, [_parameters(row, order) for row in rows])
        finally:
            cursor.close()

    def first(self, connection: Connection, row: Row) -> Sequence[Any] | None:
        """Return the first row that the statement finds."""
        text, order = self._text(connection, row)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(text, _parameters(row, order))
            found: Sequence[Any] | None = cursor.fetchone()
        finally:
            cursor.close()
        return found

    def _text(self, connection: Connection, row: Row) -> tuple[str, Sequence[str] | None]:
        known = self._compiled.get(connection.dialect.name)
        if known is None:
            compiled: Any = self._statement.compile(
                dialect=connection.dialect, column_keys=list(row)
            )
            known = compiled.string, compiled.positiontup if compiled.positional else None
            self._compiled[connection.dialect.name] = known
        return known


def _parameters(row: Row, order: Sequence[str] | None) -> Any:
    return row if order is None else tuple([row[name] for name in order])
