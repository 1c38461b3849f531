"""Whether a SQLite file is whole and its sums agree: asked when an instance starts, before anything uses it.

`quick_check` reads every page, and finds one that is torn or lies in two trees; what it cannot see, a digit
that changed inside of a row, the ledger's own sums show (`audit`). PostgreSQL looks after its pages itself.
A ledger that is started again in a running instance asks nothing: it is to be back soon.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.exc import DatabaseError

from actors.ledger.store.audit import audit
from actors.ledger.store.errors import StoreUnavailable
from actors.ledger.store.store import Store

__all__ = ["LIMIT_S", "check_sound"]

LIMIT_S = 60.0
"""A larger store than can be read in so long is used as far as it was found whole."""

_INSTRUCTIONS = 10_000
"""Of SQLite's machine, between two looks at the clock."""

_REMEDY = "`midstream restore FILE` puts a backup in its place"


def check_sound(store: Store, *, limit_s: float = LIMIT_S) -> bool:
    """Look through a SQLite store; return whether it was read to the end.

    Raises: StoreUnavailable: it is damaged; says where.
    """
    end_s = time.monotonic() + limit_s
    with store.read() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.set_progress_handler(lambda: time.monotonic() > end_s, _INSTRUCTIONS)
        try:
            said = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            problems = [] if said != "ok" else audit(connection)["problems"]
        except DatabaseError as error:
            if "interrupted" in str(error.orig):
                return False
            said, problems = str(error.orig), []
        finally:
            driver.set_progress_handler(None, 0)
    if said != "ok":
        where = " ".join(str(said).replace("*** in database main ***", "").split())
        raise StoreUnavailable(f"The store {store.place} is damaged ({where}): {_REMEDY}.")
    if problems:
        first = ", ".join(f"{name} {value}" for name, value in problems[0].items())
        more = f", and {len(problems) - 1} more" if problems[1:] else ""
        raise StoreUnavailable(
            f"The sums of the store {store.place} do not agree ({first}{more}): {_REMEDY}."
        )
    return True
