"""The audit finds what somebody changed behind the ledger's back.

Method: keep some accounts, change one thing with a connection of our own, and expect exactly the
problem that says so. SQLite alone where the change needs its pragmas.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from actors.ledger.store import Store
from actors.ports.ledger import HoldExtension
from tests.support.ledger import HOLD, TEAM, completed, failed, header, open_ledger, store_url
from tests.support.postgres import postgres_server

__all__ = ["postgres_server", "store_url"]

RUNNING, DONE, FAILED = (f"cmp_{n}" for n in ("running", "done", "failed"))


def audited(url: str, *statements: str) -> dict[str, Any]:
    """Keep accounts of three completions, execute the statements from outside, and audit."""

    async def main() -> dict[str, Any]:
        async with open_ledger(url) as ledger:
            await ledger.make_team()
            await ledger.place(header(completion_id=RUNNING))
            await ledger.service.extend(HoldExtension(RUNNING, 2 * HOLD))
            await ledger.settle(completed(await ledger.place(header(completion_id=DONE))))
            await ledger.settle(failed(await ledger.place(header(completion_id=FAILED))))
            await ledger.check()
            engine = create_engine(ledger.service._store.url)
            with engine.begin() as connection:
                if engine.dialect.name == "sqlite":
                    connection.execute(text("PRAGMA foreign_keys = OFF"))
                for statement in statements:
                    connection.execute(text(statement))
            engine.dispose()
            found: dict[str, Any] = await ledger.service.audit()
            return found

    return asyncio.run(main())


def test_right_books_are_counted(store_url: str) -> None:
    assert audited(store_url) == {
        "ok": True,
        "teams": 1,
        "entries": 7,
        "holds_open": 1,
        "problems": [],
        "absorbed": [],
    }


def test_an_edited_balance_is_shown_with_what_it_should_be(store_url: str) -> None:
    found = audited(store_url, "UPDATE teams SET credits_microcredits = credits_microcredits + 1")
    credits = 10 * HOLD - 900 - 4500
    assert not found["ok"]
    assert found["problems"] == [
        {
            "kind": "balance",
            "team": TEAM,
            "credits_microcredits": credits + 1,
            "credits_of_entries": credits,
            "held_microcredits": 2 * HOLD,
            "held_of_entries": 2 * HOLD,
        }
    ]


@pytest.mark.parametrize(
    ("kinds", "statement"),
    [
        ("balance", "UPDATE teams SET held_microcredits = 0"),
        ("balance", "UPDATE entries SET amount_microcredits = 1 WHERE kind = 'grant'"),
        ("balance", "DELETE FROM entries WHERE kind = 'grant'"),
        ("balance hold", "DELETE FROM entries WHERE kind = 'extend'"),
        ("balance hold", "UPDATE entries SET amount_microcredits = 9 WHERE kind = 'extend'"),
        ("hold", f"UPDATE holds SET extended_microcredits = 1 WHERE hold_id = '{RUNNING}'"),
        ("hold", f"UPDATE holds SET amount_microcredits = 1 WHERE hold_id = '{RUNNING}'"),
        ("hold completion", f"UPDATE holds SET state = 'voided' WHERE hold_id = '{RUNNING}'"),
        ("hold completion", f"UPDATE holds SET charged_microcredits = 9 WHERE hold_id = '{DONE}'"),
        ("hold", f"UPDATE holds SET billing_mode = 'exempt' WHERE hold_id = '{RUNNING}'"),
        ("balance hold", "UPDATE entries SET amount_microcredits = 9 WHERE kind = 'post'"),
        ("hold", "UPDATE entries SET amount_microcredits = 9 WHERE kind = 'void'"),
        ("balance hold", "DELETE FROM entries WHERE kind = 'post'"),
        ("completion", "UPDATE completions SET charge_microcredits = 9 WHERE status = 'completed'"),
        ("completion record", "UPDATE completions SET status = 'failed' WHERE status = 'running'"),
        ("record", f"DELETE FROM records WHERE completion_id = '{DONE}'"),
        ("record", f"UPDATE completions SET record_bytes = 9 WHERE completion_id = '{DONE}'"),
    ],
)
def test_each_change_is_found(store_url: str, kinds: str, statement: str) -> None:
    found = audited(store_url, statement)
    assert " ".join(problem["kind"] for problem in found["problems"]) == kinds


def test_a_change_is_still_there_after_the_ledger_went_on(store_url: str) -> None:
    """The ledger moves balances by differences, so it does not write an edit over."""

    async def main() -> None:
        async with open_ledger(store_url) as ledger:
            await ledger.make_team()
            head = await ledger.place()
            engine = create_engine(ledger.service._store.url)
            with engine.begin() as connection:
                connection.execute(text("UPDATE teams SET credits_microcredits = 1000000000"))
            engine.dispose()
            await ledger.settle(completed(head))
            await ledger.place()
            (problem,) = (await ledger.service.audit())["problems"]
            assert problem["credits_microcredits"] == 1_000_000_000 - 900 - 4500
            assert problem["credits_of_entries"] == 10 * HOLD - 900 - 4500

    asyncio.run(main())


def test_a_team_whose_credits_were_taken_away_fails_nobody_elses_batch(store_url: str) -> None:
    async def main() -> None:
        async with open_ledger(store_url) as ledger:
            await ledger.make_team()
            head = await ledger.place()
        store = Store(store_url)
        with store.begin() as connection:
            connection.execute(text("UPDATE teams SET credits_microcredits = 0"))
        async with open_ledger("", store=store) as after:
            key = await after.make_team("beta")
            good = after.placement(header(team="beta"), key_id=key)
            outcomes = await asyncio.gather(
                after.settle(completed(head)), after.service.place(good), return_exceptions=True
            )
            assert [type(outcome).__name__ for outcome in outcomes] == [
                "IllegalTransition",
                "Placed",
            ]
            await after.settle(failed(head))
            assert await after.balance() == (0, 0)

    asyncio.run(main())
