"""A store copied while it is used, and put back: what is known is as it was, what is not is told and held."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import CompletionNotFound, Overloaded
from actors.ledger.store import Store, StoreError, StoreUnavailable
from actors.ledger.store.backup import Unresolved, back_up, give_back, restore, settle_restored
from actors.settings import Settings
from serve_app.instance.backups import back_up_store, give_back_unresolved, restore_store
from serve_app.instance.data_directory import DataDirectory, InstanceError
from tests.ledger.test_service import refused
from tests.support.ledger import HOLD, completed, header, open_ledger, store_url
from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server", "store_url"]

_CHARGE = 12 * 75 + 10 * 450


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "midstream.db"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copies" / "monday.db"


async def _history(place: Path, copy: Path) -> list[str]:
    """Let one completion end, copy while another runs, let that end and two more begin; return their ids."""
    copy.parent.mkdir()
    async with open_ledger(f"sqlite:///{place}") as ledger:
        await ledger.make_team()
        ended, ran = await ledger.place(), await ledger.place()
        await ledger.settle(completed(ended))
        back_up(place, copy)
        await ledger.settle(completed(ran))
        later, last = await ledger.place(), await ledger.place()
        await ledger.settle(completed(later))
        return [head.completion_id for head in (ended, ran, later, last)]


def test_what_ran_stays_held_and_what_began_later_is_told(place: Path, copy: Path) -> None:
    async def story() -> None:
        ended, ran, later, last = await _history(place, copy)
        found, kept = restore(copy, place)
        assert found == [
            Unresolved(ran, "acme", "unresolved", HOLD),
            Unresolved(later, "acme", "completed", _CHARGE),
            Unresolved(last, "acme", "running", HOLD),
        ]
        assert kept is not None
        with closing(sqlite3.connect(kept)) as before:
            assert before.execute("SELECT count(*) FROM completions").fetchone() == (4,)
        balance = (10 * HOLD - _CHARGE, HOLD)
        async with open_ledger(f"sqlite:///{place}", clock=lambda: 4e9) as ledger:
            await ledger.check()
            assert await ledger.balance() == balance
            assert (await ledger.service.record(ended)).finished is not None
            await refused(CompletionNotFound, ledger.service.record(ran))
            # Neither that nobody carries it, nor that its time is over, gives it back.
            assert await ledger.service.open_completions() == []
            assert await ledger.service.lose_completions([ran]) == []
            assert (await ledger.service.housekeeping())["expired"] == 0
            assert await ledger.balance() == balance
            await ledger.check()
        with closing(Store(f"sqlite:///{place}")) as store, store.begin() as connection:
            assert [one.completion_id for one in give_back(connection)] == [ran]
        async with open_ledger(f"sqlite:///{place}") as ledger:
            assert (await ledger.service.housekeeping())["expired"] == 1
            assert await ledger.balance() == (10 * HOLD - _CHARGE, 0)
            await ledger.check()

    asyncio.run(story())
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path for path in place.parent.iterdir() if "restoring" in path.name] == []


def test_no_ledger_of_the_time_before_writes_into_what_was_restored(store_url: str) -> None:
    async def story() -> None:
        async with open_ledger(store_url) as old:
            await old.make_team()
            head = await old.place()
            with old.service._store.begin() as connection:
                (epoch,) = connection.exec_driver_sql("SELECT epoch FROM fence").one()
                found = settle_restored(connection)
                (after,) = connection.exec_driver_sql("SELECT epoch FROM fence").one()
            assert [one.completion_id for one in found] == [head.completion_id]
            assert after > epoch + 1_000_000
            await refused(Overloaded, old.place())
            assert old.service.fenced is not None

    asyncio.run(story())


def test_a_store_that_is_gone_or_torn_is_replaced_all_the_same(place: Path, copy: Path) -> None:
    asyncio.run(_history(place, copy))
    place.write_bytes(b"these are no pages")
    found, kept = restore(copy, place)
    assert [one.status for one in found] == ["unresolved"]
    assert kept is not None and kept.read_bytes() == b"these are no pages"
    place.unlink()
    found, kept = restore(copy, place)
    assert (len(found), kept) == (1, None)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda copy: copy.unlink(), "unable to open database file"),
        (lambda copy: copy.write_bytes(b"x" * 5_000), "file is not a database"),
        (lambda copy: copy.write_bytes(b""), "is empty"),
        (lambda copy: _sql(copy, "UPDATE schema_version SET version = 99"), "schema 99"),
        (lambda copy: _sql(copy, "UPDATE teams SET credits_microcredits = 0"), "do not agree"),
    ],
)
def test_a_copy_that_is_no_store_is_refused_and_all_is_as_it_was(
    place: Path, copy: Path, spoil: Any, says: str
) -> None:
    asyncio.run(_history(place, copy))
    before = place.read_bytes()
    spoil(copy)
    with pytest.raises(StoreUnavailable, match=says) as caught:
        restore(copy, place)
    assert str(copy) in str(caught.value) and "restoring" not in str(caught.value)
    assert place.read_bytes() == before
    assert sorted(path.name for path in place.parent.iterdir()) == [
        *("copies", "midstream.db", "midstream.db.lock")
    ]


def _sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_copy_is_never_written_over_another_nor_half(place: Path, copy: Path) -> None:
    asyncio.run(_history(place, copy))
    with pytest.raises(StoreUnavailable, match=r"monday\.db exists already\.$"):
        back_up(place, copy)
    with pytest.raises(StoreUnavailable, match="cannot be copied"):
        back_up(place, place.parent / "nowhere" / "copy.db")
    with pytest.raises(StoreUnavailable, match="cannot be copied"):
        back_up(place.with_name("none.db"), copy.with_name("tuesday.db"))
    with place.open("r+b") as file:
        file.seek(4_096 * 3)
        file.write(b"\xff" * 4_096)
    with pytest.raises(StoreUnavailable):
        back_up(place, copy.with_name("tuesday.db"))
    assert [path.name for path in copy.parent.iterdir()] == ["monday.db"]


# The commands.


def _settings(place: Path, **changes: object) -> Settings:
    return Settings().with_changes(data_dir=str(place.parent), **changes)


def test_the_commands_say_what_they_did(place: Path, copy: Path) -> None:
    _ended, ran, later, last = asyncio.run(_history(place, copy))
    settings, directory = _settings(place), DataDirectory(place.parent)
    other = copy.with_name("tuesday.db")
    assert back_up_store(settings, other) == f"Copied {place} to {other}."
    assert restore_store(settings, directory, copy)[1:] == [
        f"unresolved: {ran} of acme: 0.05 credits stay held",
        f"unresolved: {later} of acme: began after the backup, was completed, 0.0054 credits",
        f"unresolved: {last} of acme: began after the backup, was running, 0.05 credits",
    ]
    assert give_back_unresolved(settings, directory) == [
        "The next start gives back what is held for these:",
        f"unresolved: {ran} of acme: 0.05 credits stay held",
    ]
    assert give_back_unresolved(settings, directory) == ["Nothing is unresolved."]


def test_a_store_in_use_is_not_replaced(place: Path, copy: Path) -> None:
    asyncio.run(_history(place, copy))
    settings, directory = _settings(place), DataDirectory(place.parent)
    directory.acquire()
    for command in (
        lambda: restore_store(settings, DataDirectory(place.parent), copy),
        lambda: give_back_unresolved(settings, DataDirectory(place.parent)),
    ):
        with pytest.raises(InstanceError, match="is in use"):
            command()
    directory.release()
    with closing(Store(f"sqlite:///{place}")):
        for command in (
            lambda: restore_store(settings, directory, copy),
            lambda: give_back_unresolved(settings, directory),
        ):
            with pytest.raises(InstanceError, match="is in use by process"):
                command()
    with pytest.raises(InstanceError, match="Name the file"):
        restore_store(settings, directory, None)
    with pytest.raises(InstanceError, match="exists already"):
        back_up_store(settings, copy)
    assert issubclass(StoreUnavailable, StoreError)


@pytest.mark.postgres
def test_postgres_is_copied_by_its_own_tools_and_then_settled(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url = postgres_server.create_database()

    directory = DataDirectory(tmp_path)
    settings = _settings(tmp_path / "midstream.db", database=url)

    async def fill() -> str:
        store = Store(url, cluster=directory.cluster().name)
        async with open_ledger(url, store=store) as ledger:
            await ledger.make_team()
            return str((await ledger.place(header())).completion_id)

    ran = asyncio.run(fill())
    with pytest.raises(InstanceError, match="pg_dump"):
        back_up_store(settings, tmp_path / "copy")
    with pytest.raises(InstanceError, match="pg_restore"):
        restore_store(settings, directory, tmp_path / "copy")
    assert restore_store(settings, directory, None) == [
        "The restored database may be used.",
        f"unresolved: {ran} of acme: 0.05 credits stay held",
    ]
