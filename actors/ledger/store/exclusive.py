"""One process per store: the locks that say so.

SQLite: a lock file beside the database, held by `flock` for as long as the file is open, so the
kernel gives it back however the process ends. PostgreSQL: an advisory lock of the session that
writes, so that nobody can write without it; a broken session has lost it and takes it anew.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.ledger.store.errors import StoreInUse, StoreUnavailable

__all__ = ["APPLICATION_NAME", "LOCK_WAIT_S", "FileLock", "lock_session"]

APPLICATION_NAME = "midstream-ledger-"
"""With the process id behind it: how a second opener learns who holds the session lock."""

_ADVISORY_KEY = 0x4D49_4453
"""Any constant will do; advisory locks are per database, and nothing else there should use this."""

LOCK_WAIT_S = 2.0
"""How long a lock is waited for: a process that was just killed may hold it for another moment."""

_POLL_S = 0.05


class FileLock:
    """An exclusive lock on `path`, which also holds the process id of its owner."""

    def __init__(self, path: Path, *, place: str, wait_s: float = LOCK_WAIT_S) -> None:
        """Take the lock. Blocks for at most `wait_s`.

        Raises:
            StoreInUse: someone kept it, be it this very process.
            StoreUnavailable: the file cannot be made.
        """
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be opened: {error.strerror}.") from None
        if not _wait_for(self._try_lock, wait_s):
            pid = _parse_pid(os.pread(self._descriptor, 32, 0))
            self.release()
            raise StoreInUse(place, pid)
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Give it back. The file stays: removing it would race with the next owner."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lock_session(cursor: Any, *, place: str, wait_s: float = LOCK_WAIT_S) -> None:
    """Take the advisory lock for the session of this PostgreSQL cursor. Blocks for at most `wait_s`.

    Raises:
        StoreInUse: another session kept it.
    """

    def try_lock() -> bool:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (_ADVISORY_KEY,))
        return bool(cursor.fetchone()[0])

    if not _wait_for(try_lock, wait_s):
        raise StoreInUse(place, _session_pid(cursor))


def _wait_for(attempt: Callable[[], bool], wait_s: float) -> bool:
    give_up_at_s = time.monotonic() + wait_s
    while not attempt():
        if time.monotonic() >= give_up_at_s:
            return False
        time.sleep(_POLL_S)
    return True


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
