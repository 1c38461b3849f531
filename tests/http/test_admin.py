"""The operator's routes, account routes, health, and everything about a path that is not a handler's."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from actors.core.events import TextDelta
from actors.ports.ledger import RateState
from serve_app.dialects.chat import CHAT
from serve_app.dialects.messages import MESSAGES
from serve_app.dialects.model_response import MODEL_RESPONSE
from serve_app.dialects.responses import RESPONSES
from tests.http.rig import ADMIN_KEY, Asgi, Rig, finish, rig, say, text, until

ADMIN = "/admin/v1"


async def admin(run: Rig, method: str, path: str, body: Any = None) -> Asgi:
    return await run.ask(method, ADMIN + path, body, key=ADMIN_KEY)


def test_a_grant_is_made_once_per_key(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            for name in ("blue", "red"):
                team = {"team": name, "organization": "org"}
                assert (await admin(run, "POST", "/teams", team)).status == 200

            async def grant(team: str, amount: float, key: str) -> Asgi:
                return await run.ask(
                    "POST",
                    f"{ADMIN}/teams/{team}/credits",
                    {"amount": amount},
                    key=ADMIN_KEY,
                    headers={"idempotency-key": key},
                )

            for _ in range(2):
                assert (await grant("blue", 1, "k")).json["credits"] == 1
            refused = await grant("blue", 2, "k")
            assert (refused.status, refused.json["error"]["code"]) == (
                409,
                "idempotency_key_in_use",
            )
            assert (await grant("red", 2, "k")).json["credits"] == 2, "keys are a team's own"
            assert (await grant("blue", 1, "k2")).json["credits"] == 2

    asyncio.run(body())


async def completed(run: Rig) -> str:
    count = len(run.provider.upstreams) + 1
    call = run.create()
    upstream = await run.upstream(count=count)
    upstream.open()
    say(upstream, TextDelta(0, "Lake", 1))
    finish(upstream, 1)
    await call.done()
    return upstream.command.completion_id


def test_a_team_from_nothing_to_its_first_completion(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            team = {
                "team": "blue",
                "organization": "org-b",
                "credits": 1.5,
                "limits": {"requests_per_minute": 60},
            }
            made = await admin(run, "POST", "/teams", team)
            assert made.status == 200
            assert made.json["credits"] == 1.5
            key = (await admin(run, "POST", "/teams/blue/keys", {"name": "ci"})).json
            assert set(key) == {"key_id", "key", "team"}
            assert re.fullmatch(r"al_live_[0-9a-f]{64}", key["key"])
            balance = await run.ask("GET", "/v1/balance", key=key["key"])
            assert balance.json == {
                "credits": 1.5,
                "held_credits": 0.0,
                "available_credits": 1.5,
                "currency": "credit",
                "billing_mode": "metered",
            }
            granted = await admin(run, "POST", "/teams/blue/credits", {"amount": 0.000001})
            assert granted.json["credits"] == 1.500001
            assert (await admin(run, "GET", "/teams/blue/credits")).json == granted.json
            rows = (await admin(run, "GET", "/keys?team=blue")).json["data"]
            assert [(row["key_id"], row["name"]) for row in rows] == [(key["key_id"], "ci")]
            assert key["key"] not in json.dumps(rows)
            again = {"team": "blue", "organization": "org-b"}
            assert (await admin(run, "POST", "/teams", again)).json["limits"] == {
                "requests_per_minute": 60,
                "completions_concurrent": None,
            }
            cleared = again | {"limits": {"requests_per_minute": None}}
            limits = (await admin(run, "POST", "/teams", cleared)).json["limits"]
            assert set(limits.values()) == {None}
            gone = await admin(run, "DELETE", f"/keys/{key['key_id']}")
            assert gone.json == {"key_id": key["key_id"], "revoked": True}
            assert (await admin(run, "GET", "/keys")).json["data"][-1]["revoked_at"] is not None
            audit = (await admin(run, "GET", "/ledger/audit")).json
            assert audit["ok"] is True

    asyncio.run(body())


def test_a_teams_policy_is_said_and_kept(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            said: list[dict[str, Any]] = [
                {},
                {"store_content": "none"},
                {"native_passthrough": True},
                {},
                {"store_content": "full"},
            ]
            stand = []
            for members in said:
                made = await admin(run, "POST", "/teams", {**_BLUE, **members})
                assert made.status == 200
                stand.append((made.json["store_content"], made.json["native_passthrough"]))
            assert stand == [
                ("full", False),
                ("none", False),
                ("none", True),
                ("none", True),
                ("full", True),
            ]

    asyncio.run(body())


_BLUE = {"team": "blue", "organization": "org-b"}


def test_a_key_may_be_made_without_a_body(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            assert (await admin(run, "POST", "/teams/acme/keys")).status == 200

    asyncio.run(body())


BAD: list[tuple[str, str, Any, int, str, str | None]] = [
    ("POST", "/teams", {"team": "x"}, 400, "missing_field", "organization"),
    ("POST", "/teams", {"team": "a b", "organization": "o"}, 400, "invalid_format", "team"),
    *[
        ("POST", "/teams", {"team": name, "organization": "o"}, 400, "invalid_format", "team")
        for name in (".", "..", "-", "._-")
    ],
    (
        "POST",
        "/teams",
        {"team": "x", "organization": "o", "credits": -1},
        400,
        "value_out_of_range",
        "credits",
    ),
    (
        "POST",
        "/teams",
        {"team": "x", "organization": "o", "limits": {"requests_per_minute": 0}},
        400,
        "value_out_of_range",
        "limits.requests_per_minute",
    ),
    (
        "POST",
        "/teams",
        {"team": "x", "organization": "o", "admin": 1},
        400,
        "invalid_format",
        "admin",
    ),
    (
        "POST",
        "/teams",
        {"team": "x", "organization": "o", "store_content": "some"},
        400,
        "invalid_format",
        "store_content",
    ),
    (
        "POST",
        "/teams",
        {"team": "x", "organization": "o", "native_passthrough": "yes"},
        400,
        "invalid_format",
        "native_passthrough",
    ),
    ("POST", "/teams", {"team": "acme", "organization": "other"}, 400, "invalid_format", None),
    ("POST", "/teams/acme/credits", {"amount": 0}, 400, "value_out_of_range", "amount"),
    ("POST", "/teams/acme/credits", {"amount": 0.0000001}, 400, "invalid_format", "amount"),
    ("POST", "/teams/acme/credits", {"amount": "1"}, 400, "invalid_format", "amount"),
    ("POST", "/teams/acme/credits", {}, 400, "missing_field", "amount"),
    ("POST", "/teams/nobody/credits", {"amount": 1}, 404, "resource_not_found", None),
    ("GET", "/teams/nobody/credits", None, 404, "resource_not_found", None),
    ("POST", "/teams/nobody/keys", {}, 404, "resource_not_found", None),
    ("DELETE", "/keys/nothing", None, 404, "resource_not_found", None),
    ("GET", "/completions?limit=0", None, 400, "value_out_of_range", "limit"),
    ("GET", "/completions?limit=1001", None, 400, "value_out_of_range", "limit"),
    ("GET", "/completions?limit=x", None, 400, "value_out_of_range", "limit"),
    ("GET", "/completions?tag=x", None, 400, "invalid_format", "tag"),
    ("GET", "/completions/nothing", None, 404, "resource_not_found", None),
    ("GET", "/completions/nothing/events", None, 404, "resource_not_found", None),
    ("POST", "/completions/nothing/cancel", None, 404, "chat_cancel_target_not_found", None),
]


@pytest.mark.parametrize(("method", "path", "value", "status", "code", "param"), BAD)
def test_bad_calls(
    tmp_path: Path, method: str, path: str, value: Any, status: int, code: str, param: str | None
) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = await admin(run, method, path, value)
            error = call.json["error"]
            assert (call.status, error["code"]) == (status, code)
            if param is not None:
                assert error["param"] == param

    asyncio.run(body())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/completions"),
        ("GET", "/completions/x"),
        ("GET", "/completions/x/events"),
        ("POST", "/completions/x/cancel"),
        ("POST", "/teams"),
        ("POST", "/teams/acme/keys"),
        ("POST", "/teams/acme/credits"),
        ("GET", "/teams/acme/credits"),
        ("GET", "/keys"),
        ("DELETE", "/keys/x"),
        ("GET", "/ledger/audit"),
    ],
)
def test_every_admin_route_wants_the_admin_key(tmp_path: Path, method: str, path: str) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            for key, code in ((None, "missing_api_key"), (run.key, "invalid_api_key")):
                call = await run.ask(method, ADMIN + path, {}, key=key)
                assert (call.status, call.json["error"]["code"]) == (401, code)

    asyncio.run(body())


def test_completions_are_listed_newest_first_page_by_page(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            ids = [await completed(run) for _ in range(3)]
            page = (await admin(run, "GET", "/completions?limit=2&team=acme")).json
            assert [row["id"] for row in page["data"]] == [ids[2], ids[1]]
            rest = (
                await admin(run, "GET", f"/completions?limit=2&cursor={page['next_cursor']}")
            ).json
            assert [row["id"] for row in rest["data"]] == [ids[0]]
            assert rest["next_cursor"] is None
            assert set(page["data"][0]) == {
                "id", "wire_id", "team", "dialect", "model", "status", "source", "node_id", "actor",
                "pid", "created_at", "tokens_output", "credits", "readers", "shared_with",
                "tags",
            }  # fmt: skip
            for nothing in ("team=other", "model=sim", "status=failed", "dialect=messages"):
                assert (await admin(run, "GET", f"/completions?{nothing}")).json["data"] == []

    asyncio.run(body())


def test_one_completion_in_full(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            completion_id = await completed(run)
            value = (await admin(run, "GET", f"/completions/{completion_id}")).json
            assert value["status"] == "completed"
            assert value["owner"]["actor"] == "in-memory"
            assert value["timeline"]["finished_at"] >= value["timeline"]["dispatched_at"]
            assert value["record"]["choices"][0]["message"]["content"] == "Lake"
            assert value["receipt"] is None

    asyncio.run(body())


def test_an_operators_cancel(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = run.create(stream=True)
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake", 1))
            await until(lambda: text(call) == "Lake", "the first token")
            path = f"/completions/{upstream.command.completion_id}/cancel"
            value = (await admin(run, "POST", path)).json
            assert (value["status"], value["source"]) == ("cancelled", "admin")
            assert value["receipt"]["source"] == "admin"
            assert value["record"]["error"]["code"] == "cancelled_by_request"
            await call.done()
            again = await admin(run, "POST", path)
            assert again.status == 409

    asyncio.run(body())


@pytest.mark.parametrize("after", [-1, 1, 3])
def test_the_log_as_events(tmp_path: Path, after: int) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            completion_id = await completed(run)
            query = f"?after={after}" if after >= 0 else ""
            call = await admin(run, "GET", f"/completions/{completion_id}/events{query}")
            assert call.headers["content-type"].startswith("text/event-stream")
            found = re.findall(rb"id: (\d+)\nevent: (\w+)\ndata: (.*)\n\n", call.body)
            tags = [b"start", b"text", b"block", b"usage", b"end"]
            assert [(int(n), tag) for n, tag, _ in found] == list(enumerate(tags))[after + 1 :]
            for number, tag, data in found:
                value = json.loads(data)
                assert (value["sequence"], value["type"]) == (int(number), tag.decode())

    asyncio.run(body())


# Accounts, health, and paths where nothing is.


def test_models(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            value = (await run.ask("GET", "/v1/models")).json
            assert value["object"] == "list"
            rows = {row["id"]: row for row in value["data"]}
            row = rows["aurous-grow-2.0-pro"]
            assert row["object"] == "model"
            assert row["kind"] == row["aurous_metadata"]["kind"] == "chat"
            assert row["chat_pricing"] == {
                "input": {"credits_per_M": 75},
                "output": {"credits_per_M": 450},
            }
            assert row["embedding_pricing"] is None
            assert row["aurous_metadata"]["max_output_tokens_hard_cap"] > 0
            assert (await run.ask("GET", "/v1/models/sim")).json == rows["sim"]
            unknown = await run.ask("GET", "/v1/models/no/such")
            assert (unknown.status, unknown.json["error"]["param"]) == (404, "model")

    asyncio.run(body())


def test_health(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, simulator=True) as run:
            assert (await run.ask("GET", "/healthz", key=None)).json == {"status": "ok"}
            ready = (await run.ask("GET", "/readyz", key=None)).json
            assert ready["status"] == "ready"
            assert ready["simulator"] == run.simulator_url

    asyncio.run(body())


def test_the_simulators_address_is_not_for_everybody(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, simulator=True, host="0.0.0.0") as run:
            for key in (None, run.key):
                value = (await run.ask("GET", "/readyz", key=key)).json
                assert value == {"status": "ready", "simulator": None}
            told = (await run.ask("GET", "/readyz", key=ADMIN_KEY)).json
            assert told["simulator"] == run.simulator_url

    asyncio.run(body())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "resource_not_found"),
        ("POST", "/v1/completions", 404, "resource_not_found"),
        ("GET", "/v1/models/", 404, "resource_not_found"),
        ("GET", "/v1/chat/completions/", 404, "resource_not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/chat/completions/x", 405, "method_not_allowed"),
        ("PUT", "/v1/balance", 405, "method_not_allowed"),
    ],
)
def test_paths_and_methods_that_are_not(
    tmp_path: Path, method: str, path: str, status: int, code: str
) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = await run.ask(method, path)
            assert (call.status, call.json["error"]["code"]) == (status, code)
            assert call.json["error"]["request_id"] == call.headers["aurous-request-id"]
            assert ("allow" in call.headers) == (status == 405)

    asyncio.run(body())


def test_cors_is_one_setting_and_off_by_default(tmp_path: Path) -> None:
    preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}

    async def body() -> None:
        async with rig(tmp_path / "off") as run:
            call = await run.ask("OPTIONS", "/v1/chat/completions", headers=preflight)
            assert call.status == 405
            assert "access-control-allow-origin" not in call.headers
        async with rig(tmp_path / "on", cors_allow_origin="https://a.example") as run:
            call = await run.ask("OPTIONS", "/v1/chat/completions", headers=preflight)
            assert call.status == 200
            assert call.headers["access-control-allow-origin"] == "https://a.example"
            call = await run.ask("GET", "/v1/models", headers={"origin": "https://a.example"})
            exposed = call.headers["access-control-expose-headers"]
            assert "Midstream-Completion-Id" in exposed
            for dialect in (CHAT, MESSAGES, MODEL_RESPONSE, RESPONSES):
                headers = (
                    *dialect.reply_headers("req_1"),
                    *dialect.rate_headers(RateState(1, 0, 0)),
                )
                assert {name.decode() for name, _ in headers} <= set(exposed.lower().split(", "))

    asyncio.run(body())
