"""Who may write: one row, with an epoch that only grows.

A ledger that opens the store advances the epoch, and each of its transactions reads it first: where it is a
later one's by now, nothing is written. So a ledger that was stopped, or cut off with its node, and wakes up
beside its successor changes nothing, whatever it still has in mind. PostgreSQL reads the row `FOR SHARE`: who
advances the epoch waits for the transaction that has read it, which is at most `IDLE_MAX_S` where its client
was stopped in the middle of it. SQLite has one writing transaction at a time anyhow.

The row says too which cluster's ledger it is. Within a cluster Ray says who has the ledger's name, so whoever
comes later is right. The ledger of another cluster on the same PostgreSQL database is refused while this one
gives signs of life; two would take the store from each other for ever. A SQLite file has its lock file.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, insert, text, update

from actors.ledger.store.errors import StoreFenced, StoreInUse
from actors.ledger.store.tables import fence

__all__ = ["IDLE_MAX_S", "SILENT_MAX_S", "check", "give_sign", "take"]

IDLE_MAX_S = 5.0
"""How long PostgreSQL lets a transaction that writes wait for its client, who may be gone."""

SILENT_MAX_S = 15.0
"""A ledger that gave no sign for so long is no hindrance to another cluster's. It gives one every 2 s."""

_NOW_S = text("SELECT extract(epoch FROM clock_timestamp())::float8")
"""PostgreSQL's own clock: clusters may have others."""

_EPOCH: Mapping[str, str] = {
    "sqlite": "SELECT epoch FROM fence",
    "postgresql": "SELECT epoch FROM fence FOR SHARE",
}


def take(connection: Connection, cluster: str, *, place: str) -> int:
    """Advance the epoch; return it. Whoever wrote under the one before writes nothing more.

    Raises: StoreInUse: it is another cluster's, whose ledger lives.
    """
    is_shared = connection.dialect.name == "postgresql"
    now_s = connection.execute(_NOW_S).scalar_one() if is_shared else 0.0
    row = connection.execute(fence.select().with_for_update()).one_or_none()
    values = {"cluster": cluster, "seen_at_s": now_s}
    if row is None:
        connection.execute(insert(fence).values(epoch=1, **values))
        return 1
    if is_shared and row.cluster != cluster and now_s - row.seen_at_s < SILENT_MAX_S:
        raise StoreInUse(place, "another cluster: give each one a database of its own")
    connection.execute(update(fence).values(epoch=row.epoch + 1, **values))
    return int(row.epoch) + 1


def check(connection: Connection, epoch: int, *, place: str) -> None:
    """Hold the epoch until the transaction ends. Raises: StoreFenced: it is a later one's."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(_EPOCH[connection.dialect.name])
        row = cursor.fetchone()
    finally:
        cursor.close()
    if row is None or row[0] != epoch:
        raise StoreFenced(place)


def give_sign(connection: Connection) -> None:
    """Say that this ledger lives, where another cluster may ask."""
    if connection.dialect.name == "postgresql":
        now_s = connection.execute(_NOW_S).scalar_one()
        connection.execute(update(fence).values(seen_at_s=now_s))
