"""The store by itself: opening, locking, refusing, reading while it writes, and what it enforces."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from actors.core.money.journal import Entry, EntryKind
from actors.core.money.rules import Account, BillingMode, Hold, HoldState
from actors.ledger.store import (
    Store,
    StoreFenced,
    StoreInUse,
    StoreTooNew,
    StoreUnavailable,
    accounts,
    records,
    tables,
)
from actors.ledger.store.accounts import KeyOwner, TeamRow
from actors.ledger.store.transaction import Transaction
from actors.ports.ledger import CompletionKey, Settlement, TeamLimits
from tests.support.instance import killed_after
from tests.support.ledger import completed, header, key_of, store_url
from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server", "store_url"]

_NOW_S = 1_800_000_000.0
_TEAM = TeamRow("acme", "org_acme", TeamLimits())


def _put_team(store: Store) -> None:
    with store.begin() as connection:
        accounts.insert_team(connection, _TEAM, BillingMode.METERED, now_s=_NOW_S)


def _count(store: Store, table: str) -> int:
    with store.read() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


# Opening.


def test_a_new_store_is_made_and_an_old_one_is_kept(store_url: str) -> None:
    store = Store(store_url)
    _put_team(store)
    store.close()
    store.close()
    store = Store(store_url)
    try:
        with store.read() as connection:
            assert list(accounts.load_teams(connection)) == [_TEAM]
    finally:
        store.close()


def test_sqlite_commits_are_durable_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "midstream.db"
    store = Store(f"sqlite:///{path}")
    try:
        for open_ in (store.begin, store.read):
            with open_() as connection:
                pragmas = {
                    name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
                }
            full = 2
            assert pragmas == {
                "journal_mode": "wal",
                "synchronous": full,
                "foreign_keys": 1,
                "busy_timeout": 5000,
            }
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert repr(store) == f"<Store sqlite:///{path}>"
    finally:
        store.close()


@pytest.mark.postgres
def test_postgres_commits_are_durable(postgres_server: PostgresServer) -> None:
    store = Store(postgres_server.create_database())
    try:
        with store.begin() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    finally:
        store.close()


def test_a_newer_schema_is_refused_in_one_sentence(store_url: str) -> None:
    store = Store(store_url)
    with store.begin() as connection:
        connection.execute(tables.schema_version.update().values(version=99))
    store.close()
    with pytest.raises(
        StoreTooNew, match=f"schema 99 and this program knows {tables.SCHEMA_VERSION}: "
    ):
        Store(store_url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no url", "cannot be read"),
        ("sqlite://", "must name a file"),
        ("mysql://host/db", "must begin with sqlite:/// or postgresql://, not mysql"),
        ("postgresql://user:pass@127.0.0.1:1/db", r"cannot be used \(.*Connection refused\)\.$"),
        ("sqlite:////proc/nowhere/midstream.db", "cannot be made"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_sentence(url: str, message: str) -> None:
    with pytest.raises(StoreUnavailable, match=message) as caught:
        Store(url)
    assert "pass" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "midstream.db"
    path.write_bytes(b"these are not the pages you are looking for" * 100)
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        Store(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"these are not")
    path.unlink()
    Store(f"sqlite:///{path}", lock_wait_s=0).close()


# One process per store.


def test_a_second_opener_of_a_file_is_told_who_has_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'midstream.db'}"
    store = Store(url)
    try:
        with pytest.raises(StoreInUse, match=f"in use by process {os.getpid()}\\.$"):
            Store(url, lock_wait_s=0)
        (tmp_path / "midstream.db.lock").write_bytes(b"?")
        with pytest.raises(StoreInUse, match=r"in use by another process\.$"):
            Store(url, lock_wait_s=0)
    finally:
        store.close()
    Store(url, lock_wait_s=0).close()


_HOLDER = """
import sys
from actors.ledger.store import Store
store = Store(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_the_lock_of_a_file_ends_with_its_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'midstream.db'}"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        with killed_after(holder, 60):
            assert holder.stdout.readline() == "open\n", "it has not opened the store within 60 s"
        with pytest.raises(StoreInUse, match=f"process {holder.pid}"):
            Store(url, lock_wait_s=0)
    finally:
        holder.kill()
        holder.communicate(timeout=30)
    Store(url).close()


@pytest.mark.parametrize(
    "error",
    [StoreInUse("here", "them"), StoreFenced("here"), StoreTooNew(2, 1), StoreUnavailable("gone")],
)
def test_errors_survive_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.postgres
def test_a_broken_session_is_replaced(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    store = Store(url)
    try:
        _put_team(store)
        postgres_server.end_sessions()
        with pytest.raises(OperationalError), store.begin() as connection:
            connection.execute(select(tables.teams)).all()
        with store.begin() as connection:
            assert len(connection.execute(select(tables.teams)).all()) == 1
        with store.read() as connection:
            assert len(connection.execute(select(tables.teams)).all()) == 1
    finally:
        store.close()


# Transactions.


def test_a_failed_transaction_leaves_nothing(store_url: str) -> None:
    store = Store(store_url)
    try:
        with pytest.raises(ZeroDivisionError), store.begin() as connection:
            accounts.insert_team(connection, _TEAM, BillingMode.METERED, now_s=_NOW_S)
            raise ZeroDivisionError
        assert _count(store, "teams") == 0
        _put_team(store)
        assert _count(store, "teams") == 1
    finally:
        store.close()


def test_readers_do_not_wait_for_the_writer_and_see_only_commits(store_url: str) -> None:
    store = Store(store_url)
    try:
        with store.begin() as connection:
            accounts.insert_team(connection, _TEAM, BillingMode.METERED, now_s=_NOW_S)
            assert _count(store, "teams") == 0
        with store.read() as reader:
            before = list(accounts.load_teams(reader))
            with store.begin() as connection:
                other = TeamRow("beta", "org_beta", TeamLimits(1, 2))
                accounts.insert_team(connection, other, BillingMode.EXEMPT, now_s=_NOW_S)
            assert list(accounts.load_teams(reader)) == before
        assert _count(store, "teams") == 2
    finally:
        store.close()


def test_readers_cannot_write_to_sqlite(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'midstream.db'}")
    try:
        with pytest.raises(OperationalError), store.read() as connection:
            accounts.insert_team(connection, _TEAM, BillingMode.METERED, now_s=_NOW_S)
    finally:
        store.close()


# What a transaction writes, and what the database refuses.


def _placed(store: Store, wire_id: str = "w1") -> Hold:
    head = header(wire_id=wire_id)
    hold = Hold(head.completion_id, "acme", 500, _NOW_S + 60)
    account = Account("acme", credits_microcredits=1000)
    with store.begin() as connection:
        transaction = Transaction(connection, _NOW_S)
        transaction.touch(account)
        account.held_microcredits += 500
        transaction.add_placement(hold, head, key_of(head), is_cancelled_at_birth=True)
        transaction.add_entries([Entry(EntryKind.PLACE, "acme", 500, _NOW_S, hold.hold_id)])
        transaction.flush()
    return hold


def test_a_batch_writes_what_the_ledger_loads(store_url: str) -> None:
    store = Store(store_url)
    try:
        _put_team(store)
        hold = _placed(store)
        with store.read() as connection:
            assert list(accounts.load_holds(connection)) == [hold]
            (open_,) = records.load_open(connection)
            assert open_.is_cancelled_at_birth
            assert open_.key.wire_id == "w1"
            (head,) = records.headers(connection, [hold.hold_id])
            assert head.completion_id == hold.hold_id
            balance = accounts.find_balance(connection, "acme")
            assert balance is not None
            assert balance.held_microcredits == 500
            assert records.is_taken(connection, hold.hold_id, CompletionKey("x", head.dialect, "y"))
            assert records.is_taken(connection, "other", open_.key)
            assert not records.is_taken(
                connection, "other", CompletionKey("acme", head.dialect, "w2")
            )
        record = completed(head)
        with store.begin() as connection:
            transaction = Transaction(connection, _NOW_S + 1)
            hold.state, hold.posted_microcredits = HoldState.POSTED, 5
            transaction.add_resolution(hold)
            transaction.add_record(Settlement.of(record), hold, kept_for_s=60)
            transaction.flush()
        with store.read() as connection:
            assert list(accounts.load_holds(connection)) == []
            assert list(records.headers(connection, [hold.hold_id])) == []
            stored = records.find_record(connection, hold.hold_id)
            assert stored is not None
            assert (stored.status, stored.body) == ("completed", record.to_bytes())
            assert records.records_bytes(connection) == len(record.to_bytes())
    finally:
        store.close()


def test_the_database_itself_refuses_what_must_not_be(store_url: str) -> None:
    store = Store(store_url)
    try:
        _put_team(store)
        hold = _placed(store)
        with store.begin() as connection:
            transaction = Transaction(connection, _NOW_S)
            transaction.add_entries(
                [
                    Entry(EntryKind.VOID, "acme", 500, _NOW_S, hold.hold_id),
                    Entry(EntryKind.GRANT, "acme", 1, _NOW_S, grant_id="g1"),
                ]
            )
            transaction.flush()
        refused = [
            "UPDATE teams SET credits_microcredits = -1",
            "UPDATE teams SET held_microcredits = -1",
            f"""INSERT INTO entries (kind, team, amount_microcredits, at_s, hold_id)
                VALUES ('post', 'acme', 1, 0, '{hold.hold_id}')""",
            f"""INSERT INTO entries (kind, team, amount_microcredits, at_s, hold_id)
                VALUES ('place', 'acme', 1, 0, '{hold.hold_id}')""",
            """INSERT INTO entries (kind, team, amount_microcredits, at_s, grant_id)
               VALUES ('grant', 'acme', 1, 0, 'g1')""",
            """INSERT INTO entries (kind, team, amount_microcredits, at_s, grant_id)
               VALUES ('grant', 'nobody', 1, 0, 'g2')""",
            """INSERT INTO entries (kind, team, amount_microcredits, at_s, hold_id)
               VALUES ('place', 'acme', 1, 0, 'nothing')""",
            """INSERT INTO entries (kind, team, amount_microcredits, at_s, grant_id)
               VALUES ('grant', 'acme', -1, 0, 'g2')""",
        ]
        for statement in refused:
            with pytest.raises(IntegrityError), store.begin() as connection:
                connection.execute(text(statement))
        # Raised by the driver itself: the hot path goes past SQLAlchemy.
        with pytest.raises(Exception, match=r"(?i)unique"):
            _placed(store)
    finally:
        store.close()


def test_keys_are_kept_as_digests_and_revoked_once(store_url: str) -> None:
    store = Store(store_url)
    try:
        _put_team(store)
        owner = KeyOwner("key_1", "d" * 64, "acme", is_revoked=False)
        with store.begin() as connection:
            accounts.insert_key(connection, owner, "first", now_s=_NOW_S)
        with store.begin() as connection:
            accounts.revoke_key(connection, "key_1", now_s=_NOW_S + 1)
            accounts.revoke_key(connection, "key_1", now_s=_NOW_S + 2)
        with store.read() as connection:
            (row,) = accounts.list_keys(connection, "acme")
            assert row.revoked_at_s == _NOW_S + 1
            assert accounts.list_keys(connection, "beta") == []
            assert accounts.list_keys(connection, None) == [row]
            (loaded,) = accounts.load_keys(connection)
            assert loaded.is_revoked
    finally:
        store.close()


def test_lookups_of_the_hot_path_use_their_indexes(tmp_path: Path) -> None:
    """A scan is right and slow, so only the plan shows it."""
    store = Store(f"sqlite:///{tmp_path / 'midstream.db'}")
    seen: list[str] = []
    event.listen(
        store._reads,
        "before_cursor_execute",
        lambda _c, _cur, statement, *_: seen.append(statement),
    )
    try:
        with store.read() as connection:
            list(accounts.load_holds(connection))
            list(records.load_open(connection))
            records.records_past_expiry(connection, _NOW_S, limit=9)
            records.oldest_records(connection, limit=9)
            records.find(connection, key_of(header()))
            accounts.find_grant(connection, "g1")
            queries = [*seen, records._TAKEN._text(connection, {})[0]]
            for query in queries:
                values = (0,) * query.count("?")
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all()
                scans = [row[3] for row in plan if row[3].startswith("SCAN")]
                assert all("USING" in scan and "INDEX" in scan for scan in scans), (query, plan)
    finally:
        store.close()
