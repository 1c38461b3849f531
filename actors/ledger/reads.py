"""What the ledger answers from the store alone, in threads that never wait for a commit.

Each function runs in one snapshot of the store: it sees every commit that was answered before the
question was asked, and nothing of one that runs.
"""

from __future__ import annotations

import asyncio
import base64
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from actors.core.errors import (
    CompletionNotFound,
    InvalidRequest,
    NotCancellable,
    Overloaded,
)
from actors.core.record import CompletionRecord
from actors.core.request import IdempotencyKey
from actors.ledger.checks import is_storable
from actors.ledger.deleting import Remains
from actors.ledger.made_again import first_start
from actors.ledger.store import accounts, records
from actors.ledger.store.audit import audit
from actors.ledger.store.store import READERS, Database
from actors.ports.ledger import (
    Balance,
    CompletionFilter,
    CompletionKey,
    CompletionRow,
    KeyRow,
    Located,
)
from actors.ports.threads import Threads

__all__ = [
    "READS_MAX",
    "ReadingThreads",
    "audit",
    "balance",
    "find",
    "find_by_id",
    "find_started",
    "list_completions",
    "list_keys",
    "open_completions",
    "record",
    "remains",
]

READS_MAX = 2_048
"""Questions that wait for a reading thread; one more is refused with `Overloaded`."""

_PAGE_MAX = 1_000

P = ParamSpec("P")
R = TypeVar("R")


class ReadingThreads:
    """Runs questions against a store, `READERS` at a time."""

    def __init__(self, store: Database, threads: Threads, *, reads_max: int = READS_MAX) -> None:
        self._store = store
        self._threads = threads(READERS, "ledger-reader")
        self._reads_max = reads_max
        self._running: set[asyncio.Future[Any]] = set()
        self._is_closed = False

    async def run(
        self, question: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Answer a question from one snapshot.

        Raises:
            Overloaded: too many wait, or the store could not be read.
            Whatever the question raises.
        Cancel: nothing is changed by a question.
        """
        return await self.compute(lambda: self._ask(question, *args, **kwargs))

    async def compute(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do in a reading thread what would hold up the loop. Raises: as `run`."""
        if self._is_closed:
            raise Overloaded("The ledger is closed.")
        if len(self._running) >= self._reads_max:
            raise Overloaded("Too many questions wait for the ledger.")
        running = asyncio.get_running_loop().run_in_executor(
            self._threads, partial(work, *args, **kwargs)
        )
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        try:
            return await running
        except (SQLAlchemyError, sqlite3.Error) as error:  # The latter where SQLite begins.
            raise Overloaded(f"The ledger could not be read ({type(error).__name__}).") from None

    async def aclose(self) -> None:
        """Refuse new questions and wait for those that run. Idempotent."""
        self._is_closed = True
        if self._running:
            await asyncio.wait(self._running)
        self._threads.shutdown(wait=False)

    def _ask(
        self, question: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        with self._store.read() as connection:
            return question(connection, *args, **kwargs)


def find(connection: Connection, key: CompletionKey) -> Located | None:
    # A name that no row can have is a name like any other that is unknown.
    return records.find(connection, key) if is_storable(key.team, key.wire_id) else None


def find_by_id(connection: Connection, completion_id: str) -> Located | None:
    return records.find_by_id(connection, completion_id) if is_storable(completion_id) else None


def record(connection: Connection, completion_id: str) -> CompletionRecord:
    """Raises: CompletionNotFound: unknown, still running, or its record was evicted."""
    stored = records.find_record(connection, completion_id) if is_storable(completion_id) else None
    if stored is None or stored.body is None:
        raise CompletionNotFound
    return CompletionRecord.from_bytes(stored.body)


def remains(connection: Connection, key: CompletionKey) -> Remains:
    """Return what stays of a completion once its content is dropped.

    Raises:
        CompletionNotFound: unknown, or its content was dropped already.
        NotCancellable: it runs.
    """
    located = find(connection, key)
    if located is None:
        raise CompletionNotFound
    if not located.is_settled:
        raise NotCancellable("The completion is not settled yet.")
    kept = record(connection, located.completion_id).without_content()
    return Remains(located.completion_id, kept.to_bytes())


def open_completions(connection: Connection) -> list[Located]:
    return [completion.located for completion in records.load_open(connection)]


def find_started(
    connection: Connection, key: CompletionKey, again: IdempotencyKey, now_s: float
) -> Located | None:
    """Return the completion that a start is taken for, None where it starts anew.

    Raises: IdempotencyConflict, CompletionIdInUse: as `made_again` has it.
    """
    if not is_storable(key.team, key.wire_id, again.key or ""):
        return None
    found = first_start(connection, key, again, now_s)
    return None if found is None else records.find_by_id(connection, found)


def list_completions(
    connection: Connection, where: CompletionFilter, limit: int, cursor: str | None
) -> tuple[list[CompletionRow], str | None]:
    """Raises: InvalidRequest: the limit is not 1 to 1,000, or the cursor is not one of ours."""
    if not 1 <= limit <= _PAGE_MAX:
        raise InvalidRequest(f"limit must be 1 to {_PAGE_MAX}.", param="limit")
    before = _from_cursor(cursor) if cursor is not None else None
    texts = (where.team, where.model, where.dialect, where.status, where.node_id)
    if not is_storable(*texts):
        return [], None
    rows = records.list_page(connection, where, limit=limit + 1, before=before)
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], _to_cursor(rows[limit - 1])


def list_keys(connection: Connection, team: str | None) -> list[KeyRow]:
    return accounts.list_keys(connection, team) if is_storable(team) else []


def balance(connection: Connection, team: str) -> Balance:
    """Raises: CompletionNotFound: no such team."""
    found = accounts.find_balance(connection, team) if is_storable(team) else None
    if found is None:
        raise CompletionNotFound
    return found


def _to_cursor(row: CompletionRow) -> str:
    # `repr` of a float reads back as the very same float.
    return base64.urlsafe_b64encode(f"{row.created_at!r}:{row.id}".encode()).decode().rstrip("=")


def _from_cursor(cursor: str) -> tuple[float, str]:
    try:
        padded: Any = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        created_at, _, completion_id = base64.b64decode(padded, b"-_", True).decode().partition(":")
        before = float(created_at), completion_id
    except ValueError:
        raise InvalidRequest("The cursor is not one of ours.", param="cursor") from None
    if not is_storable(completion_id):
        raise InvalidRequest("The cursor is not one of ours.", param="cursor")
    return before
