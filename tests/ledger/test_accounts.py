"""Teams, keys, credits and the list of completions, on real stores."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Any

import pytest

from actors.core.errors import (
    CompletionNotFound,
    IdempotencyConflict,
    InvalidRequest,
    Unauthenticated,
)
from actors.core.request import Dialect
from actors.ports.ledger import (
    LIMITS_UNCHANGED,
    Balance,
    LimitsChange,
    PolicyChange,
    Principal,
    TeamLimits,
    TeamPolicy,
)
from actors.ports.runtime import CompletionFilter, CompletionRow
from tests.ledger.test_service import refused, tell
from tests.support.ledger import (
    HOLD,
    TEAM,
    Ledger,
    cancelled,
    completed,
    header,
    open_ledger,
    store_url,
)
from tests.support.postgres import postgres_server
from tests.support.principals import principal_of

__all__ = ["postgres_server", "store_url"]


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def test_a_key_says_whose_it_is_until_it_is_revoked(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        service = ledger.service
        key = await service.create_key(TEAM, "laptop")
        assert re.fullmatch(r"al_live_[0-9a-f]{64}", key.secret)
        assert key.key_id.startswith("key_")
        principal = Principal(TEAM, "org_acme", key.key_id, TeamLimits())
        assert await principal_of(service, key.secret) == principal
        await ledger.make_team(requests_per_minute=5)
        limited = Principal(TEAM, "org_acme", key.key_id, TeamLimits(requests_per_minute=5))
        assert await principal_of(service, key.secret) == limited

        for unknown in ("al_live_0", digest(key.secret), "", "\0"):
            error = await refused(Unauthenticated, principal_of(service, unknown))
            assert error.reason == "invalid"
        ledger.clock.now_s += 5
        await service.revoke_key(key.key_id)
        ledger.clock.now_s += 5
        await service.revoke_key(key.key_id)
        error = await refused(Unauthenticated, principal_of(service, key.secret))
        assert error.reason == "revoked"
        (row,) = [row for row in await service.list_keys(None) if row.name == "laptop"]
        assert row.revoked_at_s == ledger.clock.now_s - 5
        assert (row.key_id, row.team) == (key.key_id, TEAM)
        assert len(await service.list_keys(TEAM)) == 3
        assert await service.list_keys("beta") == await service.list_keys("\0") == []
        await refused(CompletionNotFound, service.revoke_key("key_unknown"))
        await refused(CompletionNotFound, service.create_key("nobody", "k"))
        await refused(InvalidRequest, service.create_key(TEAM, "\0"))

    tell(store_url, story)


def test_no_secret_reaches_the_store(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        key = await ledger.service.create_key(TEAM, "laptop")
        with ledger.service._store.read() as connection:
            rows = connection.exec_driver_sql("SELECT * FROM keys").all()
        assert digest(key.secret) in str(rows)
        assert key.secret not in str(rows)

    tell(store_url, story)


def test_a_team_is_made_once_and_its_limits_may_change(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        service = ledger.service
        await ledger.make_team("beta", 7)
        await ledger.make_team("beta", 99, completions_concurrent=1)
        assert await service.balance("beta") == Balance(7, 0)
        error = await refused(
            InvalidRequest,
            service.create_team("beta", "org_other", credits_microcredits=0),
        )
        assert error.param == "organization"
        bad: list[dict[str, Any]] = [
            {"team": ""},
            {"team": "x" * 257},
            {"team": "."},
            {"team": "..", "organization": "org"},
            {"organization": "\ud800"},
            {"credits_microcredits": -1},
            {"credits_microcredits": 2**60},
            {"limits": LimitsChange(requests_per_minute=0)},
            {"limits": LimitsChange(completions_concurrent=-1)},
            {"billing_mode": "free"},
        ]
        for changes in bad:
            options = {
                "team": "gamma",
                "organization": "org",
                "credits_microcredits": 1,
                "limits": LimitsChange(),
            } | changes
            await refused(InvalidRequest, service.create_team(**options))
        await refused(CompletionNotFound, service.balance("gamma"))

    tell(store_url, story)


def test_a_teams_policy_changes_where_something_is_said_of_it(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        async def say(team: str, **members: bool) -> TeamPolicy:
            state = await ledger.service.create_team(
                team,
                f"org_{team}",
                credits_microcredits=0,
                policy=PolicyChange(**members),
            )
            if team == TEAM:
                principal = await principal_of(ledger.service, ledger.secret)
                assert principal.policy == state.policy
            return state.policy

        assert await say(TEAM) == TeamPolicy()
        assert await say(TEAM, stores_content=False) == TeamPolicy(stores_content=False)
        assert await say(TEAM, native_passthrough=True) == TeamPolicy(False, True)
        assert await say(TEAM) == TeamPolicy(False, True)
        assert await say("beta", stores_content=False) == TeamPolicy(stores_content=False)
        assert await say(TEAM, stores_content=True) == TeamPolicy(True, True)

    tell(store_url, story)


def test_a_policy_outlives_a_restart(store_url: str) -> None:
    async def whole() -> None:
        async with open_ledger(store_url) as ledger:
            await ledger.make_team()
            await ledger.service.create_team(
                TEAM,
                f"org_{TEAM}",
                credits_microcredits=0,
                policy=PolicyChange(stores_content=False),
            )
            secret = ledger.secret
        async with open_ledger(store_url) as ledger:
            principal = await principal_of(ledger.service, secret)
            assert principal.policy == TeamPolicy(stores_content=False)

    asyncio.run(whole())


def test_what_is_not_said_of_a_team_stays(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        async def again(limits: LimitsChange, **members: Any) -> TeamLimits:
            state = await ledger.service.create_team(
                "beta", "org_beta", credits_microcredits=0, limits=limits, **members
            )
            key = await ledger.service.create_key("beta", "k")
            principal = await principal_of(ledger.service, key.secret)
            assert principal.limits == state.limits
            return state.limits

        both = TeamLimits(requests_per_minute=60, completions_concurrent=4)
        assert await again(LimitsChange(60, 4), billing_mode="exempt") == both
        assert await again(LIMITS_UNCHANGED) == both
        changed = await again(LimitsChange(requests_per_minute=None))
        assert changed == TeamLimits(completions_concurrent=4)
        assert await again(LimitsChange(requests_per_minute=9)) == TeamLimits(9, 4)
        assert (await ledger.service.balance("beta")).billing_mode == "exempt"
        assert await again(LimitsChange(None, None)) == TeamLimits()

    tell(store_url, story)


def test_credits_are_granted_once_per_grant(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        service = ledger.service
        await ledger.make_team("beta", 0)
        assert await service.grant_credits("beta", 5) == Balance(5, 0)
        assert await service.grant_credits("beta", 5) == Balance(10, 0)
        for _ in range(2):
            assert await service.grant_credits("beta", 7, "g1") == Balance(17, 0)
        for team, amount in ((TEAM, 7), ("beta", 8)):
            await refused(IdempotencyConflict, service.grant_credits(team, amount, "g1"))
        for amount in (-1, 2**60, 2**53 - 1):
            error = await refused(InvalidRequest, service.grant_credits("beta", amount))
            assert error.param == "amount"
        await refused(InvalidRequest, service.grant_credits("beta", 1, "\0"))
        await refused(CompletionNotFound, service.grant_credits("nobody", 1))
        assert await service.balance("beta") == Balance(17, 0)

    tell(store_url, story)


def test_the_demo_team_gets_its_credits_once(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        service = ledger.service
        for secret in ("al_live_a", "al_live_a", "al_live_b"):
            await service.ensure_demo("demo", "org_demo", 1_000_000_000, digest(secret))
        assert await service.balance("demo") == Balance(1_000_000_000, 0)
        assert (await principal_of(service, "al_live_b")).organization == "org_demo"
        keys = await service.list_keys("demo")
        assert sorted(key.name for key in keys) == ["demo", "demo (replaced)"]
        await service.revoke_key(next(key.key_id for key in keys if key.name == "demo"))
        await service.ensure_demo("demo", "org_demo", 1, digest("al_live_b"))
        await refused(Unauthenticated, principal_of(service, "al_live_b"))

    tell(store_url, story)


def test_a_changed_demo_key_ends_the_one_before_and_no_other(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        service = ledger.service

        async def preset(secret: str) -> None:
            await service.ensure_demo("demo", "org_demo", 1_000, digest(secret))

        await preset("al_live_a")
        other = await service.create_key("demo", "demo")
        await preset("al_live_b")
        await refused(Unauthenticated, principal_of(service, "al_live_a"))
        for secret in ("al_live_b", other.secret):
            await principal_of(service, secret)
        await preset("al_live_a")
        await principal_of(service, "al_live_a")
        await refused(Unauthenticated, principal_of(service, "al_live_b"))
        await principal_of(service, other.secret)

    tell(store_url, story)


# The list.


async def _listed(ledger: Ledger, limit: int = 1_000, **where: Any) -> list[str]:
    rows, cursor = await ledger.service.list_completions(
        CompletionFilter(**where), limit=limit, cursor=None
    )
    assert cursor is None
    return [row.id for row in rows]


def test_a_row_says_what_became_of_a_completion(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        running = await ledger.place(header(tags=(("a", "b"), ("c", "d")), wire_id="mine"))
        ended = await ledger.place(header(created_at_s=1_800_000_001.25))
        await ledger.settle(cancelled(ended, tokens=4))
        rows, _ = await ledger.service.list_completions(CompletionFilter(), limit=2, cursor=None)
        assert rows == [
            CompletionRow(
                id=ended.completion_id,
                wire_id=ended.completion_id,
                team=TEAM,
                dialect="chat",
                model="sim",
                status="cancelled",
                source="client_request",
                node_id="node-1",
                actor="completion-1",
                pid=4242,
                created_at=1_800_000_001.25,
                tokens_output=4,
                charge_microcredits=900 + 4 * 450,
                readers=0,
            ),
            CompletionRow(
                id=running.completion_id,
                wire_id="mine",
                team=TEAM,
                dialect="chat",
                model="sim",
                status="running",
                source=None,
                node_id="node-1",
                actor="completion-1",
                pid=4242,
                created_at=1_800_000_000.0,
                tokens_output=0,
                charge_microcredits=0,
                readers=0,
                tags=(("a", "b"), ("c", "d")),
            ),
        ]

    tell(store_url, story)


def test_each_filter_finds_its_own(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        beta = await ledger.make_team("beta")
        plain = await ledger.place()
        of_team = await ledger.place(header(team="beta"), key_id=beta)
        of_model = await ledger.place(header(model="sim-slow"))
        of_dialect = await ledger.place(header(dialect=Dialect.RESPONSES))
        of_node = await ledger.place(header(node_id="node-2"))
        tagged = await ledger.place(header(tags=(("x", '%_"]'), ("job", "7"))))
        other_case = await ledger.place(header(tags=(("Job", "7"), ("note", '["job","7"]'))))
        await ledger.settle(completed(plain))
        expected: list[tuple[dict[str, Any], Any]] = [
            ({"team": "beta"}, of_team),
            ({"model": "sim-slow"}, of_model),
            ({"dialect": "responses"}, of_dialect),
            ({"node_id": "node-2"}, of_node),
            ({"status": "completed"}, plain),
            ({"tag": ("job", "7")}, tagged),
            ({"tag": ("x", '%_"]')}, tagged),
            ({"tag": ("Job", "7"), "model": "sim"}, other_case),
        ]
        for where, head in expected:
            assert await _listed(ledger, **where) == [head.completion_id], where
        for where in (
            {"tag": ("job", "8")},
            {"tag": ("%", "%")},
            {"team": "\0"},
            {"team": "beta", "model": "sim-slow"},
        ):
            assert await _listed(ledger, **where) == [], where
        assert len(await _listed(ledger)) == 7

    tell(store_url, story)


def test_pages_hold_every_row_once_newest_first(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        for n in range(25):
            # Several of one instant, and instants that no short decimal can say.
            created_at_s = 1_800_000_000 + (n // 3) / 7
            await ledger.place(header(created_at_s=created_at_s, hold_microcredits=1))
        seen: list[CompletionRow] = []
        cursor, pages = None, 0
        while True:
            rows, cursor = await ledger.service.list_completions(
                CompletionFilter(), limit=10, cursor=cursor
            )
            seen += rows
            pages += 1
            if cursor is None:
                break
            # A row that comes meanwhile is newer than all that are still to come.
            newer = header(created_at_s=1_900_000_000.0, hold_microcredits=1)
            await ledger.place(newer)
        assert pages == 3
        assert len(seen) == 25
        order = [(row.created_at, row.id) for row in seen]
        assert order == sorted(order, reverse=True)
        assert await ledger.balance() == (10 * HOLD, 27)

    tell(store_url, story)


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", "\0", "====", base64.urlsafe_b64encode(b"12").decode()]
    + [base64.urlsafe_b64encode(text).decode() for text in (b"a:b", b"1.0:\0", b"\xff:b")],
)
def test_a_cursor_that_is_not_ours_is_refused(tmp_path: Any, cursor: str) -> None:
    async def story(ledger: Ledger) -> None:
        call = ledger.service.list_completions(CompletionFilter(), limit=1, cursor=cursor)
        if cursor == base64.urlsafe_b64encode(b"12").decode():
            assert await call == ([], None)
            return
        assert (await refused(InvalidRequest, call)).param == "cursor"

    tell(f"sqlite:///{tmp_path / 'midstream.db'}", story)


@pytest.mark.parametrize("limit", [0, -1, 1_001])
def test_a_page_has_1_to_1000_rows(tmp_path: Any, limit: int) -> None:
    async def story(ledger: Ledger) -> None:
        call = ledger.service.list_completions(CompletionFilter(), limit=limit, cursor=None)
        assert (await refused(InvalidRequest, call)).param == "limit"

    tell(f"sqlite:///{tmp_path / 'midstream.db'}", story)
