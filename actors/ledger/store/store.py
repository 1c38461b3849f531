"""Opens the store and hands out its connections: one that writes, a few that read.

It owns the engine's settings: what makes a commit durable, what locks out a second process, and
which schema may be used. It does not know what is written. Every call here blocks; the ledger
service calls from threads of its own.

Rules:

1. There is one writing connection and one thread that uses it. Readers have connections of their
   own and never wait for a commit (SQLite's WAL, PostgreSQL's MVCC); each read is one snapshot.
2. A commit is durable when it returns: SQLite `synchronous = FULL`, PostgreSQL `synchronous_commit = on`.
3. A failed transaction costs the writing connection: it is closed, and the next one starts afresh.
4. Every transaction that writes is of the epoch that this opening began, or it writes nothing: see `fence`.

Source: https://www.sqlite.org/pragma.html#pragma_synchronous (FULL in WAL mode syncs at each
commit; NORMAL does not).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from secrets import token_bytes
from typing import Any, Protocol

from filelock import BaseFileLock
from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from actors.ledger.store import fence
from actors.ledger.store.errors import StoreError, StoreTooNew, StoreUnavailable
from actors.ledger.store.exclusive import LOCK_WAIT_S, lock_file, lock_opening
from actors.ledger.store.migrations import migrate
from actors.ledger.store.tables import SCHEMA_VERSION, metadata, schema_version, secrets

__all__ = ["READERS", "Database", "Store", "configure_sqlite", "prepare_schema"]

READERS = 2
"""Reading connections, and the threads that use them."""

_SEAL = "seal"

_SQLITE_PRAGMAS = (
    "journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000", "foreign_keys = ON",
    "case_sensitive_like = ON",
)  # fmt: skip

_TCP_LIMITS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""What bounds the wait for a PostgreSQL server that vanished without a word."""


class Database(Protocol):
    """What the ledger's service needs of a store; `Store` says more about each."""

    seal_key: bytes

    def begin(self) -> AbstractContextManager[Connection]:
        """Open the writing transaction; it commits when the block ends. One thread only.

        Raises: StoreFenced: a later ledger has the store.
        """
        ...

    def read(self) -> AbstractContextManager[Connection]:
        """Open a snapshot to read from; any thread."""
        ...

    def close(self) -> None: ...


class Store:
    """A SQLite file, locked for this process until `close`, or a PostgreSQL database.

    `seal_key` is this store's own, made with it: what digests of requests are sealed with, so that who
    has only those cannot try which request one is of.
    """

    def __init__(
        self,
        url: str,
        *,
        cluster: str = "",
        is_known: bool = False,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        """Open the store; make its tables where there are none, and bring older ones up to date.

        Whoever opened it before, in this cluster, writes nothing more.

        Args:
            url: `sqlite:///PATH` or `postgresql://...`.
            cluster: whose ledger it is for.
            is_known: it was made before; an empty one in its place is no store to begin with.
            lock_wait_s: how long another process may take to give it back.
        Raises:
            StoreInUse: another process, or another cluster, has it.
            StoreTooNew: its schema is of a newer program.
            StoreUnavailable: it cannot be opened or reached, is damaged, empty or something else's.
        """
        self.url = _normal_url(url)
        self.place = self.url.render_as_string(hide_password=True)
        self.epoch: int | None = None
        self._lock = _prepare_file(self.url, self.place, lock_wait_s) if self.is_sqlite else None
        self._writes = self._engine(pool_size=1)
        self._reads = self._engine(pool_size=READERS, is_reader=True)
        self._writing: Connection | None = None
        try:
            with self.begin() as connection:
                if not self.is_sqlite:
                    lock_opening(connection, place=self.place, wait_s=lock_wait_s)
                self._check_ours(connection, is_known=is_known)
                prepare_schema(connection)
                epoch = fence.take(connection, cluster, place=self.place)
                self.seal_key = _seal_key(connection)
            self.epoch = epoch
        except StoreError:
            self.close()
            raise
        except Exception as error:  # SQLAlchemy's, or the driver's own.
            self.close()
            raise StoreUnavailable(
                f"The store {self.place} cannot be used ({_reason(error)})."
            ) from error
        except BaseException:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def __repr__(self) -> str:
        return f"<Store {self.place}>"

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """See `Database`."""
        try:
            if self._writing is None:
                self._writing = self._writes.connect()
            with self._writing.begin():
                if self.epoch is not None:
                    fence.check(self._writing, self.epoch, place=self.place)
                yield self._writing
        except BaseException:
            self._discard_writing()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a snapshot to read from; any thread, and at most `READERS` at once without waiting."""
        with self._reads.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Close every connection and give back the lock. Idempotent."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None
        self._reads.dispose()
        self._writes.dispose()
        if self._lock is not None:
            self._lock.release()

    def _check_ours(self, connection: Connection, *, is_known: bool) -> None:
        """Raises: StoreUnavailable: it has another program's tables, or none where there were some."""
        names = inspect(connection).get_table_names()
        if schema_version.name in names:
            return
        if is_known:
            raise StoreUnavailable(
                f"The store {self.place} is empty, and this instance had one before: put it back, or a "
                "backup by `midstream restore FILE`; a new data directory begins with a new store."
            )
        if names and self.is_sqlite:
            raise StoreUnavailable(
                f"The store {self.place} is another program's: it has {names[0]}."
            )

    def _discard_writing(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.invalidate()
            writing.close()

    def _engine(self, *, pool_size: int, is_reader: bool = False) -> Engine:
        options: dict[str, Any] = {} if self.is_sqlite else _postgres_options(self.url, is_reader)
        # Statements' parameters are hidden: an error of the database is logged, and they are not.
        engine = create_engine(
            self.url, pool_size=pool_size, max_overflow=0, hide_parameters=True, **options
        )
        if self.is_sqlite:
            configure_sqlite(engine, is_reader=is_reader)
        elif not is_reader:
            _configure_postgres_writer(engine)
        return engine


def _reason(error: Exception) -> str:
    """Return what the driver says, which has no parameters in it and no password."""
    said = str(getattr(error, "orig", error)).splitlines()
    return said[0].rstrip(".: ") if said else type(error).__name__


def _normal_url(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError:
        raise StoreUnavailable("The database URL cannot be read.") from None
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite":
        if not url.database or url.database == ":memory:":
            raise StoreUnavailable("The database URL of SQLite must name a file.")
        return url.set(database=str(Path(url.database).expanduser().resolve()))
    if url.drivername != "postgresql+psycopg":
        raise StoreUnavailable(
            f"The database URL must begin with sqlite:/// or postgresql://, not {url.drivername}."
        )
    return url


def _prepare_file(url: URL, place: str, wait_s: float) -> BaseFileLock:
    path = Path(url.database or "")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{path.parent} cannot be made: {error.strerror}.") from None
    lock = lock_file(path.with_name(path.name + ".lock"), place=place, wait_s=wait_s)
    try:
        # Made here and not by SQLite: records hold what people wrote, so nobody else may read them.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        lock.release()
        raise StoreUnavailable(f"{path} cannot be opened: {error.strerror}.") from None
    return lock


def configure_sqlite(engine: Engine, *, is_reader: bool) -> None:
    """Set what makes a commit durable, and let each transaction begin as what it is."""
    begin = "BEGIN" if is_reader else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # The driver begins no transaction of its own.
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
        if is_reader:
            connection.execute("PRAGMA query_only = ON").close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.connection.cursor().execute(begin)


def _postgres_options(url: URL, is_reader: bool) -> dict[str, Any]:
    arguments = {name: value for name, value in _TCP_LIMITS.items() if name not in url.query}
    arguments["application_name"] = f"midstream-ledger-{os.getpid()}"
    options: dict[str, Any] = {"connect_args": arguments}
    if is_reader:
        options |= {"isolation_level": "REPEATABLE READ", "pool_pre_ping": True}
    return options


def _configure_postgres_writer(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = on")
            # Longer than a transaction may be idle: its client may be stopped, and holds the epoch.
            cursor.execute(f"SET lock_timeout = '{2 * fence.IDLE_MAX_S:g}s'")
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{fence.IDLE_MAX_S:g}s'")
            cursor.execute("SET statement_timeout = '60s'")
        connection.commit()


def prepare_schema(connection: Connection) -> None:
    """Make the tables where there are none, or bring them up to date. Raises: StoreTooNew."""
    if inspect(connection).has_table(schema_version.name):
        found = connection.execute(select(schema_version.c.version)).scalar_one()
        if found > SCHEMA_VERSION:
            raise StoreTooNew(found, SCHEMA_VERSION)
        if found < SCHEMA_VERSION:
            migrate(connection, found)
        return
    metadata.create_all(connection)
    connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))


def _seal_key(connection: Connection) -> bytes:
    query = select(secrets.c.value).where(secrets.c.name == _SEAL)
    found = connection.execute(query).scalar_one_or_none()
    if found is None:
        found = token_bytes(32).hex()
        connection.execute(insert(secrets).values(name=_SEAL, value=found))
    return bytes.fromhex(found)
