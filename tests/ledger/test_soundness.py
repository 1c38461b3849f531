"""Stores that lie or fail: one sentence at the start, `Overloaded` while it lasts, well again by itself."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import Overloaded
from actors.ledger.store import Store, StoreUnavailable, check_sound, soundness
from actors.ledger.store import store as store_module
from tests.ledger.test_service import refused
from tests.support.ledger import HOLD, completed, header, open_ledger
from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]

_PAGE = 4_096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with completions in it, on many pages."""
    path = tmp_path / "midstream.db"

    async def fill() -> None:
        async with open_ledger(f"sqlite:///{path}") as ledger:
            await ledger.make_team(credits=1_000 * HOLD)
            for _ in range(60):
                head = await ledger.place(header(echo={"instructions": "brief " * 200}))
                await ledger.settle(completed(head))

    asyncio.run(fill())
    return path


def _url(path: Path) -> str:
    return f"sqlite:///{path}"


def _look(path: Path) -> bool:
    with closing(Store(_url(path), lock_wait_s=0)) as store:
        return check_sound(store)


def _sql(path: Path, statement: str) -> Any:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchone()


def test_a_store_that_is_whole_is_found_so(path: Path) -> None:
    assert _look(path)


def test_a_store_that_takes_too_long_to_read_is_said_to_be_read_in_part(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundness, "_INSTRUCTIONS", 1)
    with closing(Store(_url(path))) as store:
        assert not check_sound(store, limit_s=0.0)
        assert check_sound(store), "the limit was of one look"


def test_a_damaged_page_is_found_and_named(path: Path) -> None:
    (root,) = _sql(path, "SELECT rootpage FROM sqlite_master WHERE name = 'entries_placed_once'")
    with path.open("r+b") as file:
        file.seek((root - 1) * _PAGE)
        file.write(b"\xff" * _PAGE)
    sentence = (
        rf"^The store {_url(path)} is damaged \(.*{root}.*\): `midstream restore FILE` puts a "
    )
    with pytest.raises(StoreUnavailable, match=sentence):
        _look(path)


def test_a_digit_that_changed_is_found_by_the_sums(path: Path) -> None:
    _sql(path, "UPDATE teams SET credits_microcredits = credits_microcredits + 1")
    sentence = r"^The sums of the store .* do not agree \(kind balance, team acme, .*restore FILE"
    with pytest.raises(StoreUnavailable, match=sentence):
        _look(path)
    _sql(
        path, "UPDATE entries SET amount_microcredits = amount_microcredits + 1 WHERE kind = 'post'"
    )
    with pytest.raises(StoreUnavailable, match=r"and 60 more"):
        _look(path)


def test_a_torn_file_is_refused(path: Path) -> None:
    path.with_name("midstream.db-wal").unlink(missing_ok=True)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // _PAGE // 2 * _PAGE)
    with pytest.raises(StoreUnavailable, match=r"malformed|is damaged"):
        _look(path)


def test_another_programs_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "midstream.db"
    _sql(path, "CREATE TABLE songs (title TEXT)")
    with pytest.raises(StoreUnavailable, match=r"is another program's: it has songs\.$"):
        _look(path)
    assert _sql(path, "SELECT count(*) FROM sqlite_master") == (1,)


def test_an_empty_file_in_the_place_of_a_store_is_no_new_one(tmp_path: Path) -> None:
    path = tmp_path / "midstream.db"
    path.touch()
    with pytest.raises(StoreUnavailable, match=r"is empty, and this instance had one before"):
        Store(_url(path), is_known=True)
    assert path.stat().st_size == 0 or _sql(path, "SELECT count(*) FROM sqlite_master") == (0,)
    Store(_url(path)).close()
    Store(_url(path), is_known=True).close()


@pytest.mark.postgres
def test_an_empty_database_in_the_place_of_a_store_is_no_new_one(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create_database()
    with pytest.raises(StoreUnavailable, match=r"is empty, and this instance had one before"):
        Store(url, is_known=True)
    store = Store(url)
    with closing(store), store.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE songs (title TEXT)")
    Store(url, is_known=True).close()


_FAULTS = {
    "full": ("max_page_count = 1", "database or disk is full"),
    "read-only": ("query_only = ON", "attempt to write a readonly database"),
}


def _spoil(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Let new connections be to a disk that has no room or may not be written; SQLite says so itself."""
    pragma, _ = _FAULTS[fault]
    pragmas = (*store_module._SQLITE_PRAGMAS, pragma)
    monkeypatch.setattr(store_module, "_SQLITE_PRAGMAS", pragmas)


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_disk_that_takes_nothing_is_said_at_the_start(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as spoilt:
        _spoil(spoilt, fault)
        with pytest.raises(StoreUnavailable, match=rf"cannot be used \({_FAULTS[fault][1]}\)\.$"):
            Store(_url(tmp_path / "midstream.db"))
    Store(_url(tmp_path / "midstream.db")).close()


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_disk_that_takes_nothing_refuses_changes_until_it_does(
    fault: str, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is started again in between, and it is said once."""

    async def story() -> None:
        async with open_ledger(_url(path)) as ledger:
            team = await ledger.make_team("beta")
            ledger.key_id = team
            head = await ledger.place(header(team="beta"))
            store = ledger.service._store
            with monkeypatch.context() as spoilt:
                _spoil(spoilt, fault)
                store._discard_writing()
                store._writes.dispose()
                for _ in range(3):
                    await refused(
                        Overloaded, ledger.place(header(team="beta", echo={"t": "x" * 99_999}))
                    )
                assert await ledger.balance("beta") == (10 * HOLD, HOLD), "it can be read"
            other = await ledger.place(header(team="beta"))
            assert await ledger.settle(completed(head))
            assert await ledger.settle(completed(other))
            await ledger.check()

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    assert len([r for r in caplog.records if "were not committed" in r.getMessage()]) == 1


def test_a_file_that_is_damaged_while_it_is_used_refuses_changes(path: Path) -> None:
    async def story() -> None:
        async with open_ledger(_url(path)) as ledger:
            ledger.key_id = await ledger.make_team("beta")

            def spoilt(_memory: Any, _transaction: Any) -> None:
                raise sqlite3.DatabaseError("database disk image is malformed")

            await refused(Overloaded, ledger.service._commit(spoilt))
            await ledger.place(header(team="beta"))

    asyncio.run(story())
