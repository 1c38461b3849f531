"""Who may write: the later ledger of a cluster, never the one before it, and one cluster per database."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from actors.core.errors import Overloaded
from actors.ledger.store import Store, StoreFenced, StoreInUse, fence
from tests.ledger.test_service import refused
from tests.support.ledger import open_ledger
from tests.support.memory_store import MemoryStore
from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]


@pytest.fixture
def database(postgres_server: PostgresServer) -> str:
    return postgres_server.create_database()


pytestmark = pytest.mark.postgres


def _write(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(text("UPDATE fence SET seen_at_s = seen_at_s"))


def test_an_older_ledger_writes_nothing_once_a_later_one_has_opened(database: str) -> None:
    old = Store(database)
    new = Store(database)
    try:
        with pytest.raises(
            StoreFenced, match=r"^Another ledger has taken over the store .*ends\.$"
        ):
            _write(old)
        _write(new)
        with pytest.raises(StoreFenced):
            _write(old)
        assert new.epoch == (old.epoch or 0) + 1
    finally:
        old.close()
        new.close()


def test_a_later_ledger_waits_for_the_transaction_that_runs(database: str) -> None:
    old = Store(database)
    opened: list[Store] = []
    opening = threading.Thread(target=lambda: opened.append(Store(database)))
    try:
        with old.begin() as connection:
            opening.start()
            _wait_for_lock(database)
            connection.execute(text("UPDATE fence SET seen_at_s = 7"))
        opening.join(30)
        with opened[0].read() as connection:
            seen = connection.execute(text("SELECT epoch, seen_at_s FROM fence")).one()
        assert (seen.epoch, seen.seen_at_s > 7) == (2, True)
        with pytest.raises(StoreFenced):
            _write(old)
    finally:
        old.close()
        for store in opened:
            store.close()


def _wait_for_lock(database: str) -> None:
    """Wait until a session of the database waits for a lock."""
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    waiting = 0
    while not waiting:
        with engine.connect() as connection:
            waiting = connection.execute(query).scalar_one()
    engine.dispose()


def test_a_transaction_whose_client_is_gone_keeps_nobody_waiting(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is cut off keeps its connections, and what they lock, as far as the server knows."""
    monkeypatch.setattr(fence, "IDLE_MAX_S", 0.5)
    old = Store(database)
    try:
        with pytest.raises(DBAPIError), old.begin() as connection:
            Store(database).close()
            _touch(connection)
        with pytest.raises(StoreFenced):
            _write(old)
    finally:
        old.close()


def _touch(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))


def test_another_cluster_is_refused_while_the_first_ones_ledger_lives(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Store(database, cluster="one")
    try:
        sentence = r"is in use by another cluster: give each one a database of its own\.$"
        with pytest.raises(StoreInUse, match=sentence) as caught:
            Store(database, cluster="two")
        assert "postgresql" in str(caught.value)
        _write(first)
        with first.begin() as connection:
            connection.execute(text("UPDATE fence SET seen_at_s = 0"))
            fence.give_sign(connection)
        with pytest.raises(StoreInUse):
            Store(database, cluster="two")
        monkeypatch.setattr(fence, "SILENT_MAX_S", 0.0)
        Store(database, cluster="two").close()
        with pytest.raises(StoreFenced):
            _write(first)
    finally:
        first.close()


def test_a_ledger_of_an_older_release_is_not_written_beside(database: str) -> None:
    """It locked the database for as long as its session lived."""
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({0x4D49_4453})"))
        with pytest.raises(StoreInUse, match="one of an older release"):
            Store(database, lock_wait_s=0)
    engine.dispose()
    Store(database, lock_wait_s=0).close()


def test_a_ledger_that_was_taken_over_refuses_everything(database: str) -> None:
    async def story() -> None:
        async with open_ledger(database) as old:
            await old.make_team()
            assert old.service.fenced is None
            async with open_ledger(database) as new:
                new.key_id = old.key_id
                head = await new.place()
                refusals: list[Any] = [
                    await refused(Overloaded, old.service.lose_completions([head.completion_id])),
                    await refused(Overloaded, old.place()),
                    await refused(Overloaded, old.service.housekeeping()),
                ]
                assert all("StoreFenced" in str(refusal) for refusal in refusals)
                assert isinstance(old.service.fenced, StoreFenced)
                await new.service.housekeeping()
                assert new.service.fenced is None
                await new.check()

    asyncio.run(story())


def test_a_file_has_its_epochs_too() -> None:
    store = MemoryStore()
    old, new = store.open(), store.open()
    with pytest.raises(StoreFenced), old.begin():
        pass
    with new.begin() as connection:
        assert connection.execute(text("SELECT epoch FROM fence")).scalar_one() == 2
    store.discard()
