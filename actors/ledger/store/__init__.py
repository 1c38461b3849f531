"""The durable store of the ledger: SQLite or PostgreSQL behind SQLAlchemy Core.

`store` opens it, `exclusive` locks it, `migrations` brings it up to date, `fence` keeps an older ledger
from writing, `soundness` looks for damage, and `backup` copies it and puts a copy back; `tables` says what is
in it, `transaction` writes what a placement and a settlement write, `accounts`, `records` and `claims` hold
the other statements, and `audit` checks the whole by a path of its own. Rules of credit are
`actors.core.money.rules`'s; nothing here decides.
"""

from actors.ledger.store.errors import (
    StoreError,
    StoreFenced,
    StoreInUse,
    StoreTooNew,
    StoreUnavailable,
)
from actors.ledger.store.soundness import check_sound
from actors.ledger.store.store import Store

__all__ = [
    "Store",
    "StoreError",
    "StoreFenced",
    "StoreInUse",
    "StoreTooNew",
    "StoreUnavailable",
    "check_sound",
]
