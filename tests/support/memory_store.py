"""A store for simulations: SQLite in memory, one connection, one thread, and commits that fail when told to.

It outlives the ledgers that use it, as a disk does: each opens it for itself, and finds what was committed
and nothing else. `close` keeps that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from actors.ledger.store import fence
from actors.ledger.store.store import configure_sqlite, prepare_schema
from tests.support.faulty_store import Fault, broken

__all__ = ["MemoryStore", "OpenedStore"]


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

    def open(self) -> OpenedStore:
        """Open it for a ledger; whoever opened it before writes nothing more."""
        with self.begin() as connection:
            return OpenedStore(self, fence.take(connection, "", place="memory"))

    def discard(self) -> None:
        """Forget everything."""
        self._engine.dispose()


class OpenedStore:
    """The store as one ledger has it; see `actors.ledger.store.store.Database`."""

    def __init__(self, store: MemoryStore, epoch: int) -> None:
        self.seal_key = store.seal_key
        self.read = store.read
        self._store = store
        self.epoch = epoch

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with self._store.begin() as connection:
            fence.check(connection, self.epoch, place="memory")
            yield connection

    def close(self) -> None:
        """Keep everything, for the next ledger."""
