"""Keys: the four ways to send one, the three ways to be refused, and the cache before the ledger."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.core.errors import Unauthenticated
from actors.ports.ledger import Principal
from serve_app.http import authentication as auth
from serve_app.http.authentication import Authenticator, secret_of
from tests.http.rig import ADMIN_KEY, rig


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


class _Keys:
    """Knows one key, counts how often it is asked, and can be held back."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def authenticate(self, secret: str) -> Principal:
        self.asked += 1
        await self.gate.wait()
        if not secret.startswith("good"):
            raise Unauthenticated("No.", reason="invalid")
        return Principal("team", "org", secret)


def authenticator(keys: _Keys, now: list[float]) -> Authenticator:
    return Authenticator(keys, admin_key_digest="", clock_s=lambda: now[0])  # type: ignore[arg-type]


def test_an_answer_is_kept_for_a_moment_and_no_longer() -> None:
    async def body() -> None:
        keys, now = _Keys(), [0.0]
        known = authenticator(keys, now)
        for _ in range(3):
            await known.principal({"x-api-key": "good"})
        assert keys.asked == 1
        now[0] = auth.PRINCIPAL_TTL_S + 0.001
        await known.principal({"x-api-key": "good"})
        assert keys.asked == 2

    asyncio.run(body())


def test_a_refusal_is_not_kept() -> None:
    async def body() -> None:
        keys = _Keys()
        known = authenticator(keys, [0.0])
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                await known.principal({"x-api-key": "bad"})
        assert keys.asked == 2

    asyncio.run(body())


def test_a_burst_asks_once_and_one_who_leaves_disturbs_nobody() -> None:
    async def body() -> None:
        keys = _Keys()
        keys.gate.clear()
        known = authenticator(keys, [0.0])
        burst = [asyncio.ensure_future(known.principal({"x-api-key": "good"})) for _ in range(9)]
        await asyncio.sleep(0)
        burst[0].cancel()
        await asyncio.sleep(0)
        keys.gate.set()
        answers = await asyncio.gather(*burst[1:])
        assert keys.asked == 1
        assert len({id(answer) for answer in answers}) == 1

    asyncio.run(body())


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "PRINCIPALS_MAX", 3)

    async def body() -> None:
        keys = _Keys()
        known = authenticator(keys, [0.0])
        for index in range(5):
            await known.principal({"x-api-key": f"good-{index}"})
        assert repr(known) == "<Authenticator 3 principals>"

    asyncio.run(body())


def test_without_an_admin_key_nobody_is_admin() -> None:
    async def body() -> None:
        known = authenticator(_Keys(), [0.0])
        with pytest.raises(Unauthenticated):
            known.require_admin({"x-api-key": ""})
        with pytest.raises(Unauthenticated):
            known.require_admin({"x-api-key": "anything"})

    asyncio.run(body())
