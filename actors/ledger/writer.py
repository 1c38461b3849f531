"""Applies changes to memory and store, many in one transaction, and finds the one that spoils it.

The thread that calls `apply` is the only one that changes either.

Rules:

1. All of a batch is one transaction. Where it fails, for whatever reason, its changes are made again one by
   one: what one team's change did to the transaction is not another's fault.
2. A transaction that failed leaves nothing behind: memory is read anew from the store before the next one,
   and request buckets are given back what was drawn.
3. A store that is away is not asked for each change of a batch: after `_AWAY_MAX` of them in a row, the rest
   is refused unseen.
4. A writer whose store was taken over by a later ledger is at its end: `fenced` says so, and every change
   that it is asked for is refused.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from actors.core.errors import CompletionRuntimeError, IllegalTransition, Overloaded
from actors.ledger.memory import Memory
from actors.ledger.store import StoreError, StoreFenced
from actors.ledger.store.store import Database
from actors.ledger.store.transaction import Transaction

__all__ = ["Change", "LedgerWriter"]

_log = logging.getLogger(__name__)

Change = Callable[[Memory, Transaction], Any]
"""Takes effect, or raises an error of `actors.core.errors` before it changed anything. Made again after a
commit that was done and not confirmed, it does nothing twice."""

_AWAY_MAX = 3

_AWAY = frozenset({"OperationalError", "InterfaceError"})
"""What every database driver, and SQLAlchemy over it, calls what is the database's and not the row's. A bare
`DatabaseError`, of no kind, is SQLite's word for a file that is damaged."""


class LedgerWriter:
    """What the ledger keeps in memory of a store, and the one way to change both.

    Args: now_s: wall clock; it is read once per transaction, so all of it happens at one time.
    """

    def __init__(self, store: Database, *, now_s: Callable[[], float]) -> None:
        self.memory = Memory()
        self.fenced: StoreFenced | None = None
        self._store = store
        self._now_s = now_s
        self._is_stale = True
        self._told: type | None = None

    def load(self) -> None:
        """Read memory from the store; request buckets, and what was given up, go on as they are.

        Raises: what the store raises; memory is stale then, and `apply` loads it.
        """
        with self._store.begin() as connection:
            memory = Memory.load(connection)
        memory.buckets, memory.given_up = self.memory.buckets, self.memory.given_up
        # One assignment: other threads read keys and teams from the old one or from the new.
        self.memory = memory
        self._is_stale = False

    def apply(self, changes: Sequence[Change]) -> list[Any]:
        """Make the changes in order.

        Returns: for each its answer, durable, or the error that says why it did not take effect:
            `Overloaded` where it may have, and can be made again.
        """
        try:
            return self._commit(changes)
        except Exception as error:
            self._tell(error, len(changes))
            if len(changes) == 1:
                return [_refusal(error)]
        outcomes: list[Any] = []
        away = 0
        for change in changes:
            if away < _AWAY_MAX:
                try:
                    outcomes += self._commit([change])
                    away = 0
                    continue
                except Exception as error:
                    self._tell(error, 1)
                    refusal = _refusal(error)
                    away = away + 1 if isinstance(refusal, Overloaded) else 0
            outcomes.append(refusal)
        return outcomes

    def _commit(self, changes: Sequence[Change]) -> list[Any]:
        if self._is_stale:
            self.load()
        transaction: Transaction | None = None
        try:
            with self._store.begin() as connection:
                transaction = Transaction(connection, self._now_s())
                outcomes = [self._make(change, transaction) for change in changes]
                transaction.flush()
        except BaseException:
            self._is_stale = True
            for bucket in transaction.drawn if transaction is not None else ():
                bucket.give_back()
            raise
        self._told = None
        return outcomes

    def _make(self, change: Change, transaction: Transaction) -> Any:
        try:
            return change(self.memory, transaction)
        except CompletionRuntimeError as error:
            return error

    def _tell(self, error: Exception, changes: int) -> None:
        if isinstance(error, StoreFenced):
            self.fenced = error
            return
        if type(error) is self._told:
            return  # Said already: a disk that is full fails every change until somebody looks.
        self._told = type(error)
        # The kind of error and where it came from: a database's message may quote what it was given.
        where = "".join(traceback.format_tb(error.__traceback__))
        _log.error("%d changes were not committed: %s\n%s", changes, type(error).__name__, where)


def _refusal(error: Exception) -> CompletionRuntimeError:
    """Return what the caller is told: whether the same call may succeed when it is made again."""
    kind = type(error)
    is_away = not _AWAY.isdisjoint(base.__name__ for base in kind.__mro__)
    if is_away or isinstance(error, StoreError | OSError) or kind.__name__ == "DatabaseError":
        return Overloaded(f"The ledger could not commit ({kind.__name__}).")
    return IllegalTransition(f"The ledger failed ({kind.__name__}).")
