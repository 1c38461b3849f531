"""What is asked for that is not there: other APIs' endpoints, near misses, wrong methods; and `/`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.http.rig import Asgi, Rig, rig

ANTHROPIC = {"anthropic-version": "2023-06-01"}


def story(folder: Path, tell: Callable[[Rig], Any]) -> None:
    async def body() -> None:
        async with rig(folder) as run:
            await tell(run)

    asyncio.run(body())


def message_of(call: Asgi) -> str:
    text: str = call.json["error"]["message"]
    return text


NOT_OFFERED = [
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/files"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files/file-1/content"),
    ("POST", "/v1/batches"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/moderations"),
    ("POST", "/v1/assistants"),
    ("POST", "/v1/threads/t/runs"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("POST", "/v1/vector_stores"),
    ("POST", "/v1/conversations"),
    ("POST", "/v1/complete"),
    ("POST", "/v1/messages/batches"),
    ("GET", "/v1/messages/batches/b_1/results"),
]


@pytest.mark.parametrize(("method", "path"), NOT_OFFERED)
@pytest.mark.parametrize("key", ["", None], ids=["with a key", "without one"])
def test_what_is_not_offered_says_so_and_what_is(
    tmp_path: Path, method: str, path: str, key: str | None
) -> None:
    async def tell(run: Rig) -> None:
        call = await run.ask(method, path, {}, key=key)
        assert call.status == 404
        assert f"{path} is not offered here" in message_of(call)
        assert "POST /v1/chat/completions" in message_of(call)
        assert "POST /v1/messages" in message_of(call)

    story(tmp_path, tell)


def test_it_is_said_in_the_words_of_the_api_that_was_asked_for(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        chat = await run.ask("POST", "/v1/embeddings", {})
        assert (chat.json["error"]["code"], chat.json["error"]["type"]) == (
            "resource_not_found",
            "not_found",
        )
        for path, headers in (
            ("/v1/messages/batches", {}),
            ("/v1/files", ANTHROPIC),
            ("/api/gpt/v1/messages/nothing/here", {}),
        ):
            call = await run.ask("POST", path, {}, headers=headers)
            assert (call.status, call.json["type"]) == (404, "error")
            assert call.json["error"]["type"] == "not_found_error"
        response = await run.ask("POST", "/v1/responses/r/nothing", {})
        assert response.json["error"].keys() >= {"message", "type", "param", "code"}
        freddy = await run.ask("GET", "/v1/model/nothing")
        assert freddy.json["error"]["code"] == "route_not_found"

    story(tmp_path, tell)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1/responses", "/v1/responses"),
        ("/messages", "/v1/messages"),
        ("/models", "/v1/models"),
    ],
)
def test_a_near_miss_is_told_what_was_meant(tmp_path: Path, path: str, meant: str) -> None:
    async def tell(run: Rig) -> None:
        call = await run.ask("POST", path, {})
        assert call.status == 404
        assert message_of(call).endswith(f"did you mean {meant}?")

    story(tmp_path, tell)


@pytest.mark.parametrize("path", ["/nothing", "/v2/chat", "/\x1b[31m", "/" + "x" * 5_000])
def test_anything_else_is_nowhere(tmp_path: Path, path: str) -> None:
    async def tell(run: Rig) -> None:
        call = await run.ask("GET", path)
        assert (call.status, call.json["error"]["code"]) == (404, "resource_not_found")
        assert message_of(call).startswith("There is nothing at ")
        assert len(call.body) < 1_000
        assert b"\x1b" not in call.body

    story(tmp_path, tell)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/responses", "POST"),
        ("GET", "/v1/messages", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("PATCH", "/v1/model/response/r", "GET, DELETE, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    tmp_path: Path, method: str, path: str, allowed: str
) -> None:
    async def tell(run: Rig) -> None:
        call = await run.ask(method, path, {})
        assert call.status == 405
        assert set(call.headers["allow"].split(", ")) == set(allowed.split(", "))
        assert message_of(call)

    story(tmp_path, tell)


def test_the_root_leads_somewhere(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        root = await run.ask("GET", "/", key=None)
        assert root.status == 200
        for path in ("docs", "openapi", "health"):
            assert (await run.ask("GET", root.json[path], key=None)).status == 200
        browser = await run.ask("GET", "/", key=None, headers={"accept": "text/html,*/*"})
        assert (browser.status, browser.headers["location"]) == (307, "/docs/api")
        docs = await run.ask("GET", "/docs", key=None)
        assert docs.headers["content-type"].startswith("text/html")
        assert docs.body == (await run.ask("GET", "/docs/api", key=None)).body

    story(tmp_path, tell)


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/openapi.json", "/v1/models"])
def test_a_head_is_answered_as_a_get(tmp_path: Path, path: str) -> None:
    async def tell(run: Rig) -> None:
        head, got = await run.ask("HEAD", path), await run.ask("GET", path)
        assert head.status == got.status == 200
        assert head.headers["content-length"] == got.headers["content-length"]

    story(tmp_path, tell)


# The models, as Anthropic's clients read them.


def test_the_models_have_two_shapes(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        openai = (await run.ask("GET", "/v1/models?limit=3")).json
        anthropic = (await run.ask("GET", "/v1/models", headers=ANTHROPIC)).json
        assert openai["object"] == "list"
        names = [row["id"] for row in openai["data"]]
        assert [row["id"] for row in anthropic["data"]] == names
        assert anthropic["data"][0].keys() >= {"type", "id", "display_name", "created_at"}
        assert {row["type"] for row in anthropic["data"]} == {"model"}
        assert (anthropic["first_id"], anthropic["last_id"]) == (names[0], names[-1])
        assert anthropic["has_more"] is False
        one = await run.ask("GET", "/v1/models/sim", headers=ANTHROPIC)
        assert (one.json["type"], one.json["display_name"]) == ("model", "sim")
        assert (await run.ask("GET", "/v1/models/sim")).json["object"] == "model"

    story(tmp_path, tell)


def test_anthropics_models_come_in_pages(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        whole = (await run.ask("GET", "/v1/models", headers=ANTHROPIC)).json["data"]
        read: list[Any] = []
        query = "limit=4"
        while True:
            page = (await run.ask("GET", f"/v1/models?{query}", headers=ANTHROPIC)).json
            read += page["data"]
            if not page["has_more"]:
                break
            query = f"limit=4&after_id={page['last_id']}"
        assert read == whole
        before = f"/v1/models?limit=2&before_id={whole[5]['id']}"
        assert (await run.ask("GET", before, headers=ANTHROPIC)).json["data"] == whole[3:5]

    story(tmp_path, tell)


def test_anthropics_models_have_anthropics_errors(tmp_path: Path) -> None:
    async def tell(run: Rig) -> None:
        for path, status, kind in (
            ("/v1/models/nothing", 404, "not_found_error"),
            ("/v1/models?limit=0", 400, "invalid_request_error"),
        ):
            call = await run.ask("GET", path, headers=ANTHROPIC)
            assert (call.status, call.json["error"]["type"]) == (status, kind)
        nobody = await run.ask("GET", "/v1/models", key=None, headers=ANTHROPIC)
        assert (nobody.status, nobody.json["type"]) == (401, "error")

    story(tmp_path, tell)
