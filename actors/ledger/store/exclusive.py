"""One process per store: the locks that say so.

SQLite: a lock file beside the database, held by `flock` for as long as the file is open, so the
kernel gives it back however the process ends. PostgreSQL: an advisory lock of the session that
writes, so that nobody can write without it; a broken session has lost it and takes it anew.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from actors.ledger.store.errors import StoreInUse, StoreUnavailable

__all__ = ["APPLICATION_NAME", "LOCK_WAIT_S", "lock_file", "lock_session"]

APPLICATION_NAME = "midstream-ledger-"
"""With the process id behind it: how a second opener learns who holds the session lock."""

_ADVISORY_KEY = 0x4D49_4453
"""Any constant will do; advisory locks are per database, and nothing else there should use this."""

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
        raise StoreInUse(place, _parse_pid(path.read_bytes()[:32])) from None
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error.strerror}.") from None
    path.write_bytes(b"%d\n" % os.getpid())
    return lock


def lock_session(cursor: Any, *, place: str, wait_s: float = LOCK_WAIT_S) -> None:
    """Take the advisory lock for the session of this PostgreSQL cursor. Blocks for at most `wait_s`.

    Raises: StoreInUse: another session kept it.
    """
    give_up_at_s = time.monotonic() + wait_s
    while True:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (_ADVISORY_KEY,))
        if cursor.fetchone()[0]:
            return
        if time.monotonic() >= give_up_at_s:
            raise StoreInUse(place, _session_pid(cursor))
        time.sleep(_POLL_S)


def _session_pid(cursor: Any) -> int | None:
    cursor.execute(
        "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) "
        "WHERE locktype = 'advisory' AND objid = %s AND granted",
        (_ADVISORY_KEY,),
    )
    row = cursor.fetchone()
    return _parse_pid(row[0].removeprefix(APPLICATION_NAME).encode()) if row else None


def _parse_pid(text: bytes) -> int | None:
    digits = text.strip()
    return int(digits) if digits.isdigit() else None
