"""One process per SQLite file, and one opener at a time of a PostgreSQL database: the locks that say so.

SQLite: a lock file beside the database, held by `flock` for as long as the file is open, so the
kernel gives it back however the process ends. PostgreSQL: an advisory lock of the transaction that opens the
store; who may write afterwards is `fence`'s. Releases up to schema 3 held the same lock for as long as they
wrote, so none of them is there beside us.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, text

from actors.ledger.store.errors import StoreInUse, StoreUnavailable

__all__ = ["LOCK_WAIT_S", "lock_file", "lock_opening"]

_ADVISORY_KEY = 0x4D49_4453
"""Any constant will do; advisory locks are per database, and nothing else there should use this."""

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)")

LOCK_WAIT_S = 2.0
"""How long a lock is waited for: a process that was just killed may hold it for another moment."""

_POLL_S = 0.05


def lock_file(path: Path, *, place: str, wait_s: float = LOCK_WAIT_S) -> FileLock:
    """Lock a file, which then holds the process id of its owner. Blocks for at most `wait_s`.

    It stays when the lock is released: removing it would race with the next owner.

    Raises:
        StoreInUse: someone kept it, be it this very process.
        StoreUnavailable: the file cannot be made.
    """
    # Not a singleton, nor one lock per thread: it is released by whichever thread closes the store.
    lock = FileLock(path, mode=0o600, thread_local=False)
    try:
        lock.acquire(timeout=wait_s, poll_interval=_POLL_S)
    except Timeout:
        pid = path.read_bytes()[:32].strip().decode("ascii", "replace")
        raise StoreInUse(place, f"process {pid}" if pid.isdigit() else "another process") from None
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error.strerror}.") from None
    path.write_bytes(b"%d\n" % os.getpid())
    return lock


def lock_opening(connection: Connection, *, place: str, wait_s: float = LOCK_WAIT_S) -> None:
    """Take the advisory lock until this PostgreSQL transaction ends. Blocks for at most `wait_s`.

    Raises: StoreInUse: another session kept it.
    """
    give_up_at_s = time.monotonic() + wait_s
    while not connection.execute(_TRY_LOCK, {"key": _ADVISORY_KEY}).scalar_one():
        if time.monotonic() >= give_up_at_s:
            raise StoreInUse(place, "a ledger that opens it, or one of an older release")
        time.sleep(_POLL_S)
