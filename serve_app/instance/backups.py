"""`midstream backup` and `midstream restore`: on the machine that has the data directory.

A backup is made while the instance runs, a restore while it does not. PostgreSQL's own tools make its copies
and put them back; `restore` without a file then does the rest.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from actors.ledger.store import Store, StoreError
from actors.ledger.store.backup import (
    Unresolved,
    back_up,
    give_back,
    restore,
    settle_restored,
)
from actors.settings import Settings
from serve_app.instance.data_directory import DataDirectory, InstanceError

__all__ = ["back_up_store", "give_back_unresolved", "restore_store"]

_MICROCREDITS = 1_000_000


def back_up_store(settings: Settings, file: Path) -> str:
    """Copy the store of a data directory; return what there is to say. Raises: InstanceError."""
    source = _sqlite_path(settings)
    if source is None:
        raise InstanceError(
            "PostgreSQL makes its own backups while it is used: pg_dump -Fc --file FILE URL."
        )
    try:
        back_up(source, file)
    except StoreError as error:
        raise InstanceError(str(error)) from error
    return f"Copied {source} to {file}."


def restore_store(settings: Settings, directory: DataDirectory, file: Path | None) -> list[str]:
    """Put a backup in the place of the store; return what there is to say, a line each.

    Raises: InstanceError: an instance runs here, or the backup cannot be used; all is as it was.
    """
    place = _sqlite_path(settings)
    if place is not None and file is None:
        raise InstanceError("Name the file to restore: midstream restore FILE.")
    if place is None and file is not None:
        raise InstanceError(
            "Put the file back with pg_restore, then say `midstream restore` without a file."
        )
    directory.acquire()
    try:
        if place is not None and file is not None:
            unresolved, kept = restore(file, place)
            first = f"Restored {file} to {place}"
            lines = [f"{first}; what was there is {kept}." if kept else f"{first}."]
        else:
            with closing(_open(settings, directory)) as store, store.begin() as connection:
                unresolved = settle_restored(connection)
            lines = ["The restored database may be used."]
    except StoreError as error:
        raise InstanceError(str(error)) from error
    finally:
        directory.release()
    return lines + [_line(one) for one in unresolved]


def give_back_unresolved(settings: Settings, directory: DataDirectory) -> list[str]:
    """Let the next start give back what is held for unresolved completions; return a line for each.

    Raises: InstanceError: an instance runs here, or the store cannot be opened.
    """
    directory.acquire()
    try:
        with closing(_open(settings, directory)) as store, store.begin() as connection:
            found = give_back(connection)
    except StoreError as error:
        raise InstanceError(str(error)) from error
    finally:
        directory.release()
    if not found:
        return ["Nothing is unresolved."]
    return ["The next start gives back what is held for these:", *map(_line, found)]


def _open(settings: Settings, directory: DataDirectory) -> Store:
    return Store(settings.database_url, cluster=directory.cluster().name, is_known=True)


def _sqlite_path(settings: Settings) -> Path | None:
    url = settings.database_url
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:") else None


def _line(one: Unresolved) -> str:
    credits_ = f"{one.microcredits / _MICROCREDITS:.6f}".rstrip("0").rstrip(".")
    if one.status == "unresolved":
        return f"unresolved: {one.completion_id} of {one.team}: {credits_} credits stay held"
    was = f"was {one.status}, {credits_} credits"
    return f"unresolved: {one.completion_id} of {one.team}: began after the backup, {was}"
