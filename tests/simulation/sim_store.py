"""The store of the simulated ledger: in memory, outliving its ledgers, with faults drawn and commits told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from tests.support.faulty_store import Fault
from tests.support.memory_store import MemoryStore, OpenedStore

__all__ = ["SimStore"]


class SimStore(MemoryStore):
    """Args:
    draw_fault: asked once per transaction that writes.
    on_commit: called with whether the transaction is kept, whatever its caller is told.
    broken: told of a ledger that writes although there is a later one.
    """

    def __init__(
        self,
        draw_fault: Callable[[], Fault | None],
        on_commit: Callable[[bool], None],
        broken: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._broken = broken
        self._draw_fault = draw_fault
        self._on_commit = on_commit
        pooled: Any = self._engine.raw_connection()
        self._raw = pooled.dbapi_connection  # Reads beside SQLAlchemy's transactions.
        pooled.close()
        self._is_ready = True

    _is_ready = False

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        if not self._is_ready:
            with super().begin() as connection:
                yield connection
            return
        fault = self._draw_fault()
        if fault is not None:
            self.faults.append(fault)
        is_whole = False
        is_kept = False
        try:
            with super().begin() as connection:
                yield connection
                is_whole = True  # Nothing that was to be written raised: its commit is next.
            is_kept = True
        except BaseException:
            is_kept = is_whole and fault is Fault.AFTER_COMMIT
            raise
        finally:
            self._on_commit(is_kept)

    def open(self) -> OpenedStore:
        opened = super().open()
        return _Watched(self, opened.epoch, self._broken)

    def balance_row(self, team: str) -> tuple[int, int]:
        """Return (credits, held) of a team as it is written down."""
        row = self._raw.execute(
            "SELECT credits_microcredits, held_microcredits FROM teams WHERE team = ?", (team,)
        ).fetchone()
        return int(row[0]), int(row[1])


class _Watched(OpenedStore):
    def __init__(self, store: MemoryStore, epoch: int, broken: Callable[[str], None]) -> None:
        super().__init__(store, epoch)
        self._broken = broken

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with super().begin() as connection:
            latest = connection.exec_driver_sql("SELECT epoch FROM fence").scalar_one()
            if latest != self.epoch:
                self._broken(f"a ledger of epoch {self.epoch} writes in epoch {latest}")
            yield connection
