"""Keys: the four ways to send one, the three ways to be refused, and the cache before the ledger."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import Overloaded, Unauthenticated
from actors.ports.ledger import KeyRefusal, Principal
from actors.testing import settle_loop
from serve_app.http import authentication as auth
from serve_app.http.authentication import Authenticator, secret_of
from tests.http.rig import ADMIN_KEY, rig
from tests.support.virtual_time import run_virtual


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer K"},
        {"authorization": "bearer   K "},
        {"authorization": "K"},
        {"x-api-key": "K"},
        {"api-key": "K"},
        {"authorization": "", "x-api-key": "K"},
        {"authorization": "Bearer K", "x-api-key": "other"},
    ],
)
def test_where_the_secret_is(headers: dict[str, str]) -> None:
    assert secret_of(headers) == "K"


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer "}, {"x-api-key": " "}])
def test_no_secret(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated) as caught:
        secret_of(headers)
    assert caught.value.reason == "missing"


ROUTES = [
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/chat/completions/x"),
    ("POST", "/v1/chat/completions/x/cancel"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/sim"),
    ("GET", "/v1/balance"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_wants_a_teams_key(tmp_path: Path, method: str, path: str) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            issued = await run.ledger.create_key("acme", "")
            await run.ledger.revoke_key(issued.key_id)
            refused = {
                "missing_api_key": None,
                "invalid_api_key": "al_live_" + "0" * 64,
                "revoked_api_key": issued.secret,
            }
            for code, key in refused.items():
                call = await run.ask(method, path, key=key)
                assert (call.status, call.json["error"]["code"]) == (401, code)
                assert call.json["error"]["type"] == "authentication"
            call = await run.ask(method, path, key=ADMIN_KEY)
            assert (call.status, call.json["error"]["code"]) == (401, "invalid_api_key")

    asyncio.run(body())


class Keys:
    """Knows the keys that begin with "good", keeps what it is asked, and can be held back."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.revoked: set[str] = set()
        self.good = {digest_of(f"good-{index}"): f"good-{index}" for index in range(3_000)}
        self.error: Exception | None = None

    async def authenticate(self, digests: list[str]) -> list[Principal | KeyRefusal]:
        self.asked.append(len(digests))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [self._answer(self.good.get(digest)) for digest in digests]

    def _answer(self, key: str | None) -> Principal | KeyRefusal:
        if key is None:
            return KeyRefusal.INVALID
        return KeyRefusal.REVOKED if key in self.revoked else Principal("team", "org", key)


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def play(story: Callable[[Keys, Callable[[str], Awaitable[Principal]]], Awaitable[None]]) -> None:
    """Tell a story of keys, and of who asks with one, on virtual time."""

    async def main() -> None:
        keys = Keys()
        known = Authenticator(keys, admin_key_digest="")  # type: ignore[arg-type]

        async def ask(key: str) -> Principal:
            return await known.principal({"x-api-key": key})

        await story(keys, ask)

    run_virtual(main())


async def refused(call: Awaitable[object]) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await call
    return caught.value.reason


def test_an_answer_is_kept_for_a_moment_and_no_longer() -> None:
    async def story(keys: Keys, ask: Any) -> None:
        for _ in range(3):
            await ask("good-1")
        assert keys.asked == [1]
        keys.revoked.add("good-1")
        await asyncio.sleep(auth.PRINCIPAL_TTL_S)
        assert await refused(ask("good-1")) == "revoked"
        assert auth.PRINCIPAL_TTL_S <= 2, "a revoked key stops within 2 s"

    play(story)


def test_a_refusal_is_kept_too_and_shorter() -> None:
    """Somebody's program that sends one wrong key for ever."""

    async def story(keys: Keys, ask: Any) -> None:
        for _ in range(50):
            assert await refused(ask("bad")) == "invalid"
        assert keys.asked == [1]
        await asyncio.sleep(auth.REFUSAL_TTL_S)
        assert await refused(ask("bad")) == "invalid"
        assert keys.asked == [1, 1]

    play(story)


def test_keys_that_nobody_has_cost_the_ledger_a_few_calls_and_new_ones_work_at_once() -> None:
    async def story(keys: Keys, ask: Any) -> None:
        loop = asyncio.get_running_loop()

        async def attack() -> None:
            for index in range(1_000):
                made_up = [ask(f"made-up-{index}-{n}") for n in range(4)]
                await asyncio.gather(*made_up, return_exceptions=True)

        began_s = loop.time()
        attacking = loop.create_task(attack())
        await asyncio.sleep(0.5)
        asked_s = loop.time()
        assert (await ask("good-1")).key_id == "good-1"
        assert loop.time() - asked_s < 0.05
        await attacking
        calls, took_s = len(keys.asked), loop.time() - began_s
        assert calls <= took_s / 0.01 + 2, f"{calls} calls in {took_s} s"
        # Who is known is not asked about for longer because of them.
        assert (await ask("good-1")).key_id == "good-1"

    play(story)


def test_keys_that_come_while_the_ledger_is_asked_are_one_call() -> None:
    async def story(keys: Keys, ask: Any) -> None:
        keys.gate.clear()
        first = asyncio.ensure_future(ask("good-0"))
        await settle_loop()
        later = [asyncio.ensure_future(ask(f"good-{1 + n}")) for n in range(300)]
        await settle_loop()
        assert keys.asked == [1]
        keys.gate.set()
        answers = await asyncio.gather(first, *later)
        assert [answer.key_id for answer in answers] == [f"good-{n}" for n in range(301)]
        assert keys.asked == [1, 256, 44]

    play(story)


def test_a_burst_asks_once_and_one_who_leaves_disturbs_nobody() -> None:
    async def story(keys: Keys, ask: Any) -> None:
        keys.gate.clear()
        burst = [asyncio.ensure_future(ask("good-1")) for _ in range(9)]
        await settle_loop()
        burst[0].cancel()
        await settle_loop()
        keys.gate.set()
        answers = await asyncio.gather(*burst[1:])
        assert keys.asked == [1]
        assert len({id(answer) for answer in answers}) == 1

    play(story)


def test_those_who_wait_are_bounded_and_the_next_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_WAITING_MAX", 3)

    async def story(keys: Keys, ask: Any) -> None:
        await ask("good-9")
        keys.gate.clear()
        waiting = [asyncio.ensure_future(ask("good-1")) for _ in range(3)]
        await settle_loop()
        with pytest.raises(Overloaded):
            await ask("good-1")
        assert (await ask("good-9")).key_id == "good-9", "who is known does not wait"
        keys.gate.set()
        await asyncio.gather(*waiting)
        await ask("good-2")

    play(story)


def test_what_goes_wrong_is_told_to_all_who_wait_and_kept_for_nobody() -> None:
    async def story(keys: Keys, ask: Any) -> None:
        for error in (Overloaded("The ledger is away."), ZeroDivisionError()):
            keys.error = error
            calls = [ask("good-1"), ask("good-1"), ask("bad")]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(answer) for answer in answers] == [Overloaded] * 3
        keys.error = None
        assert (await ask("good-1")).key_id == "good-1"

    play(story)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "PRINCIPALS_MAX", 3)

    async def main() -> None:
        known = Authenticator(Keys(), admin_key_digest="")  # type: ignore[arg-type]
        for index in range(5):
            await known.principal({"x-api-key": f"good-{index}"})
        assert repr(known) == "<Authenticator 3 principals, 0 waiting>"

    run_virtual(main())


def test_without_an_admin_key_nobody_is_admin() -> None:
    async def body() -> None:
        known = Authenticator(Keys(), admin_key_digest="")  # type: ignore[arg-type]
        with pytest.raises(Unauthenticated):
            known.require_admin({"x-api-key": ""})
        with pytest.raises(Unauthenticated):
            known.require_admin({"x-api-key": "anything"})

    asyncio.run(body())
