"""A copy of a SQLite store while it is used, a copy put in its place, and what is left to do after that.

Nobody knows what became of a completion that ran when the copy was made: it went on, was charged, and that is
in the store that is replaced. So its hold stays as it is, its status is `unresolved`, and no ledger gives it
back by itself: `give_back` does, when the operator says so. What began later is not in the copy at all; where
the store that is replaced can still be read, it is told by name. The epoch goes past any that was ever given
out, so no ledger of the time before writes again.

PostgreSQL is copied by `pg_dump` and put back by `pg_restore`; `settle_restored` is what is left to do then.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text

from actors.ledger.store.errors import StoreError, StoreUnavailable
from actors.ledger.store.exclusive import lock_file
from actors.ledger.store.soundness import check_sound
from actors.ledger.store.store import Store
from actors.ledger.store.tables import RUNNING, UNRESOLVED

__all__ = ["Unresolved", "back_up", "give_back", "restore", "settle_restored"]

_NEVER_S = 1e15
"""When the hold of a completion expires that is unresolved."""

_OPEN = text(
    "SELECT completion_id, completions.team, status, "
    "amount_microcredits + extended_microcredits AS microcredits "
    "FROM completions JOIN holds ON hold_id = completion_id WHERE status = :status ORDER BY 1"
)

_LATER = """
SELECT completion_id, completions.team, status,
       CASE WHEN state = 'pending' THEN amount_microcredits + extended_microcredits
            ELSE charge_microcredits END
FROM replaced.completions JOIN replaced.holds ON hold_id = completion_id
WHERE completion_id NOT IN (SELECT completion_id FROM main.completions)
ORDER BY created_at_s
"""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A completion of which the restored store does not know what became.

    `microcredits` are held where it is in that store, and were held or charged where it began later.
    """

    completion_id: str
    team: str
    status: str
    microcredits: int


def back_up(source: Path, target: Path) -> None:
    """Copy a SQLite store as it is at one moment; whoever uses it goes on.

    Raises: StoreUnavailable: there is none, the copy exists already or cannot be written, or is damaged.
    """
    if target.exists():
        raise StoreUnavailable(f"{target} exists already.")
    partial = target.with_name(f".{target.name}.partial")
    try:
        _new_file(partial)
        with closing(_read_only(source)) as connection:
            connection.execute("VACUUM INTO ?", (str(partial),))
        with closing(_read_only(partial)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise StoreUnavailable(f"The store {source} is damaged ({said}): nothing was copied.")
        _sync(partial)
        partial.rename(target)
        _sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"{source} cannot be copied to {target} ({error}).") from error
    finally:
        partial.unlink(missing_ok=True)


def restore(copy: Path, place: Path) -> tuple[list[Unresolved], Path | None]:
    """Put a copy in the place of a SQLite store that nobody uses, which is kept beside it.

    Returns: what is unresolved now, and where the store that was there is kept, if there was one.
    Raises: StoreError: the copy is no sound store, or the store is in use; all is as it was.
    """
    partial = place.with_name(f".{place.name}.restoring")
    lock = lock_file(place.with_name(place.name + ".lock"), place=str(place), wait_s=0)
    try:
        _new_file(partial)
        with closing(_read_only(copy)) as connection:
            connection.execute("VACUUM INTO ?", (str(partial),))
        with closing(Store(f"sqlite:///{partial}", is_known=True)) as store:
            check_sound(store)
            with store.begin() as connection:
                found = settle_restored(connection)
        found += _later(partial, place)
        kept = _put(partial, place)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"{copy} cannot be restored ({error}).") from error
    except StoreError as error:
        said = str(error).replace(f"sqlite:///{partial}", str(copy))
        raise StoreUnavailable(f"{copy} is not restored: {said}") from error
    finally:
        lock.release()
        for suffix in ("", "-wal", "-shm", ".lock"):
            Path(f"{partial}{suffix}").unlink(missing_ok=True)
    return found, kept


def settle_restored(connection: Connection) -> list[Unresolved]:
    """Do what is left to do with a store that was just put back; return what is unresolved in it."""
    connection.execute(
        text("UPDATE fence SET epoch = CASE WHEN epoch < :now THEN :now ELSE epoch + 1 END"),
        {"now": int(time.time())},
    )
    values = {"unresolved": UNRESOLVED, "running": RUNNING, "never": _NEVER_S}
    connection.execute(
        text(
            "UPDATE holds SET expires_at_s = :never WHERE hold_id IN "
            "(SELECT completion_id FROM completions WHERE status = :running)"
        ),
        values,
    )
    connection.execute(
        text("UPDATE completions SET status = :unresolved WHERE status = :running"), values
    )
    return [Unresolved(*row) for row in connection.execute(_OPEN, {"status": UNRESOLVED})]


def give_back(connection: Connection) -> list[Unresolved]:
    """Let the next ledger give back what is held for completions that are unresolved; return those."""
    found = [Unresolved(*row) for row in connection.execute(_OPEN, {"status": UNRESOLVED})]
    values = {"unresolved": UNRESOLVED, "running": RUNNING}
    connection.execute(
        text(
            "UPDATE holds SET expires_at_s = 0 WHERE hold_id IN "
            "(SELECT completion_id FROM completions WHERE status = :unresolved)"
        ),
        values,
    )
    connection.execute(
        text("UPDATE completions SET status = :running WHERE status = :unresolved"), values
    )
    return found


def _later(restored: Path, before: Path) -> list[Unresolved]:
    """Return what began after the copy was made, as far as the store of before can be read."""
    try:
        with closing(_read_only(restored)) as connection:
            connection.execute("ATTACH ? AS replaced", (f"{before.absolute().as_uri()}?mode=ro",))
            return [Unresolved(*row) for row in connection.execute(_LATER)]
    except sqlite3.Error:
        return []  # There is none, or it is why a copy is restored.


def _put(restored: Path, place: Path) -> Path | None:
    _sync(restored)
    kept: Path | None = None
    if place.exists():
        kept = place.with_name(f"{place.name}.replaced-{time.strftime('%Y%m%d-%H%M%S')}")
        for suffix in ("-wal", "-shm", ""):
            old = Path(f"{place}{suffix}")
            if old.exists():
                old.rename(f"{kept}{suffix}")
    restored.rename(place)
    _sync(place.parent)
    return kept


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)


def _new_file(path: Path) -> None:
    """Make it for this user alone: what is copied holds what people wrote."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
