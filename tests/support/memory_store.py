"""A store for simulations: SQLite in memory, one connection, one thread, and commits that fail when told to.

It outlives the ledger that uses it, as a disk does: `close` keeps what was committed, and a ledger that is
begun anew on the same store finds that and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from actors.ledger.store.store import configure_sqlite, prepare_schema
from tests.support.faulty_store import Fault, broken

__all__ = ["MemoryStore"]


class MemoryStore:
    """`faults` are used up, one per transaction that writes."""

    def __init__(self, seal_key: bytes = bytes(32)) -> None:
        self.seal_key = seal_key
        self.faults: list[Fault] = []
        self._engine = create_engine("sqlite://", poolclass=StaticPool)
        configure_sqlite(self._engine, is_reader=False)
        with self.begin() as connection:
            prepare_schema(connection)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        fault = self.faults.pop(0) if self.faults else None
        if fault is Fault.AT_BEGIN:
            raise broken()
        with self.read() as connection:
            yield connection
            if fault is Fault.BEFORE_COMMIT:
                raise broken()
        if fault is Fault.AFTER_COMMIT:
            raise broken()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Keep everything, for the next ledger."""

    def discard(self) -> None:
        """Forget everything."""
        self._engine.dispose()
