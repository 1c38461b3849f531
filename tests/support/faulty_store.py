"""A store whose commits a test can hold up or spoil. Everything else of it is the real one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from actors.ledger.store import Store

__all__ = ["Fault", "FaultyStore", "broken"]


class Fault(Enum):
    """Where the next transaction breaks."""

    AT_BEGIN = "the database is away"
    BEFORE_COMMIT = "nothing of it is kept"
    AFTER_COMMIT = "all of it is kept, and nobody was told"


class FaultyStore(Store):
    """`faults` are used up, one per transaction; `gate` keeps commits waiting while it is clear."""

    def __init__(self, url: str) -> None:
        self.faults: list[Fault] = []
        self.gate = threading.Event()
        self.gate.set()
        self.committing = threading.Event()
        super().__init__(url)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        fault = self.faults.pop(0) if self.faults else None
        if fault is Fault.AT_BEGIN:
            raise broken()
        with super().begin() as connection:
            yield connection
            self.committing.set()
            assert self.gate.wait(30), "the test forgot to open the gate"
            if fault is Fault.BEFORE_COMMIT:
                raise broken()
        if fault is Fault.AFTER_COMMIT:
            raise broken()


def broken() -> OperationalError:
    """Return what a driver raises whose database went away."""
    return OperationalError("COMMIT", None, Exception("the connection was cut"))
