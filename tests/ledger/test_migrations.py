"""A store of the first release, with what that wrote, opened by this program: on both databases.

`schemas/` has the statements that made its tables, and the rows that its own ledger left: a team with a key,
a completion that ended by itself, one that was cancelled, one that failed and one that still ran.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, inspect, text

from actors.core.errors import IdempotencyKeyReused
from actors.core.events import Status
from actors.core.request import Dialect, IdempotencyKey
from actors.ledger.store import Store, tables
from actors.ports.ledger import CompletionKey, KeyRefusal, Principal
from tests.ledger.test_service import refused
from tests.support.ledger import TEAM, Ledger, completed, open_ledger, store_url
from tests.support.postgres import postgres_server

__all__ = ["postgres_server", "store_url"]

_SCHEMAS = Path(__file__).parent / "schemas"
_BYTES = re.compile(r"X'([0-9A-F]+)'")
_KEY_DIGEST = "f1efe6eed6f88e4fbbd296a20337481e537d8a942c85a730446ff061f02675ad"


def _id(number: int) -> str:
    return f"cmp_{number:026d}"


def _engine(url: str) -> Any:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


def _make_first_release(url: str) -> None:
    """Make the store as the first release left it."""
    engine = _engine(url)
    name = engine.dialect.name
    script = (_SCHEMAS / f"0.1.0-{name}.sql").read_text()
    rows = (_SCHEMAS / "0.1.0-rows.sql").read_text()
    if name == "postgresql":
        rows = _BYTES.sub(r"'\\x\1'", rows)
    with engine.begin() as connection:
        for statement in (script + rows).split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    engine.dispose()


def _structure(url: str) -> dict[str, Any]:
    """Return what a store's tables are made of, by the name of the table."""
    engine = _engine(url)
    found = inspect(engine)
    structure = {
        table: {
            "columns": {
                # SQLite has one type of that size, and keeps the name that it was given.
                column["name"]: (
                    re.sub("DOUBLE.*", "REAL", str(column["type"])),
                    column["nullable"],
                )
                for column in found.get_columns(table)
            },
            "key": found.get_pk_constraint(table)["constrained_columns"],
            "indexes": {
                str(index["name"]): (index["column_names"], bool(index["unique"]))
                for index in found.get_indexes(table)
            },
            "foreign": sorted(
                (key["constrained_columns"], key["referred_table"])
                for key in found.get_foreign_keys(table)
            ),
            "checks": sorted(str(check["name"]) for check in found.get_check_constraints(table)),
        }
        for table in found.get_table_names()
    }
    engine.dispose()
    return structure


def test_a_store_of_the_first_release_becomes_one_of_this(store_url: str, tmp_path: Path) -> None:
    _make_first_release(store_url)
    Store(store_url).close()
    structure = _structure(store_url)
    engine = _engine(store_url)
    with engine.begin() as connection:
        version = connection.execute(text("SELECT version FROM schema_version")).scalar_one()
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(text(f"DROP TABLE {table.name}"))
    engine.dispose()
    assert version == tables.SCHEMA_VERSION
    Store(store_url).close()
    assert structure == _structure(store_url)


def test_what_the_first_release_wrote_is_read_and_goes_on(store_url: str) -> None:
    _make_first_release(store_url)

    async def story() -> None:
        async with open_ledger(store_url) as ledger:
            await _look(ledger)

    asyncio.run(story())


async def _look(ledger: Ledger) -> None:
    await ledger.check()
    assert await ledger.balance() == (491_900, 50_000)
    service = ledger.service
    owner, stranger = await service.authenticate([_KEY_DIGEST, "00"])
    assert isinstance(owner, Principal)
    assert (owner.team, stranger) == (TEAM, KeyRefusal.INVALID)
    ends = [(await service.record(_id(number))).finished for number in range(3)]
    assert [end.status for end in ends if end] == [
        Status.COMPLETED,
        Status.CANCELLED,
        Status.FAILED,
    ]
    first = await service.record(_id(0))
    assert first.header.echo == {"instructions": "be brief"}
    assert "".join(getattr(event, "text", "") for event in first.events).startswith("word0 word1 ")
    assert completed(first.header).finished == first.finished
    # Its digest was made otherwise then: nobody can say that it is the same start.
    again = IdempotencyKey("again", "print")
    await refused(IdempotencyKeyReused, ledger.find_started(again))
    await service.delete(CompletionKey(TEAM, Dialect.CHAT, _id(1)))
    assert await service.lose_completions([_id(3)]) == [_id(3)]
    assert await ledger.balance() == (491_900, 0)
    await ledger.check()
