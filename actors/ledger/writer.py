"""Applies a batch of operations in one transaction, and starts afresh after one that failed.

The thread that calls `apply` is the only one that changes the books or the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from actors.core.errors import CompletionRuntimeError
from actors.ledger.books import Books
from actors.ledger.store import Store
from actors.ledger.store.batch import Batch

__all__ = ["LedgerWriter", "Operation"]

Operation = Callable[[Books, Batch], Any]
"""Takes effect, or raises an error of `actors.core.errors` before it changed anything."""


class LedgerWriter:
    """The books of a store, and the one way to change them.

    Args:
        now_s: wall clock; it is read once per batch, so all of a batch happens at one time.
    """

    def __init__(self, store: Store, *, now_s: Callable[[], float]) -> None:
        self.books = Books()
        self._store = store
        self._now_s = now_s
        self._is_stale = True

    def load(self) -> None:
        """Read the books from the store; request buckets go on as they are.

        Raises: what the store raises; the books are stale then, and `apply` loads them.
        """
        with self._store.begin() as connection:
            books = Books.load(connection)
        books.buckets = self.books.buckets
        # One assignment: other threads read keys and teams from the old books or from the new.
        self.books = books
        self._is_stale = False

    def apply(self, operations: Sequence[Operation]) -> list[Any]:
        """Run the operations in order and commit them together.

        Returns: for each its answer, or the error that says why it did not take effect. Durable.
        Raises: what the store raises: then none of them took effect, as far as anybody can tell,
            and the books are read anew before the next batch.
        """
        if self._is_stale:
            self.load()
        try:
            with self._store.begin() as connection:
                batch = Batch(connection, self._now_s())
                outcomes = [self._run(operation, batch) for operation in operations]
                batch.flush()
        except BaseException:
            self._is_stale = True
            raise
        return outcomes

    def _run(self, operation: Operation, batch: Batch) -> Any:
        try:
            return operation(self.books, batch)
        except CompletionRuntimeError as error:
            return error
