"""What can be wrong with a store. Each message is one sentence for the operator.

StoreError
|- StoreInUse          another process, or another cluster, has it
|- StoreFenced         a later ledger has taken it over: this one has to end
|- StoreTooNew         a newer version of the program wrote it
`- StoreUnavailable    it cannot be opened or reached
"""

from __future__ import annotations

from typing import Any

__all__ = ["StoreError", "StoreFenced", "StoreInUse", "StoreTooNew", "StoreUnavailable"]


class StoreError(Exception):
    """Base of the store's errors; no message holds a password or a key."""


class StoreInUse(StoreError):
    def __init__(self, place: str, holder: str) -> None:
        super().__init__(f"The store {place} is in use by {holder}.")
        self.place = place
        self.holder = holder

    def __reduce__(self) -> tuple[Any, ...]:
        return (StoreInUse, (self.place, self.holder))


class StoreFenced(StoreError):
    def __init__(self, place: str) -> None:
        super().__init__(f"Another ledger has taken over the store {place}: this one ends.")
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (StoreFenced, (self.place,))


class StoreTooNew(StoreError):
    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"The store has schema {found} and this program knows {known}: use a newer program."
        )
        self.found = found
        self.known = known

    def __reduce__(self) -> tuple[Any, ...]:
        return (StoreTooNew, (self.found, self.known))


class StoreUnavailable(StoreError):
    pass
