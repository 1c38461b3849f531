"""Goal: a provider is asked about a response that it keeps in its own words, and each answer is understood.

Method: real sockets, and a listening server that records what reaches it and answers as the test says.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from actors.core.errors import (
    CompletionNotFound,
    FailureCode,
    NativeUnsupported,
    UnknownProvider,
    UpstreamError,
)
from actors.core.native import NativeAnswer, NativeCall, NativeOperation
from actors.settings import Settings
from actors.simulator.app import Simulator
from actors.simulator.server import SimulatorServer
from actors.upstream.catalogue import SIMULATOR, Catalogue
from actors.upstream.config import Config, ConfigError, ProviderConfig, ProviderKind
from actors.upstream.native_responses import NativeResponses
from tests.support.left_streams import left_streams

KEY = "sk-of-the-provider"
OBJECT = b'{"object":"response","id":"resp_1"}'
ALIEN = NativeCall(NativeOperation.RETRIEVE, "resp_1")


@dataclass
class Upstream:
    """A provider; `answer` is how it answers everything."""

    status: int = 200
    body: bytes = OBJECT
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    is_silent: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        query = scope["query_string"].decode()
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append(
            {
                "line": f"{scope['method']} {scope['raw_path'].decode()}",
                "query": query,
                "headers": headers,
                "body": body,
            }
        )
        if self.is_silent:
            await receive()  # Until the caller hangs up.
            return
        headers_sent = [(b"content-length", b"%d" % len(self.body)), *self.headers]
        start = {"type": "http.response.start", "status": self.status, "headers": headers_sent}
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


class Bench:
    def __init__(self, upstream: Upstream, url: str, settings: Settings) -> None:
        self.upstream = upstream
        self.native = NativeResponses(
            self._provider,
            settings=settings,
            keys={"PROVIDER_KEY": KEY, "BAD_KEY": "sk-a\nb"},
        )
        self._url = url

    def _provider(self, name: str) -> ProviderConfig:
        members: dict[str, dict[str, Any]] = {
            "keyed": {"kind": ProviderKind.OPENAI_RESPONSES, "api_key_env": "PROVIDER_KEY"},
            "badly-keyed": {"kind": ProviderKind.OPENAI_RESPONSES, "api_key_env": "BAD_KEY"},
            "open": {"kind": ProviderKind.OPENAI_RESPONSES},
            "chat": {"kind": ProviderKind.OPENAI_CHAT},
        }
        if name not in members:
            raise ConfigError("no such provider")
        return ProviderConfig.model_validate({"base_url": f"{self._url}/v1", **members[name]})

    async def ask(self, call: NativeCall = ALIEN, provider: str = "keyed") -> NativeAnswer:
        async with asyncio.timeout(60):
            return await self.native.ask(provider, call)

    async def refused(self, error: type[Exception], *args: Any) -> Any:
        with pytest.raises(error) as caught:
            await self.ask(*args)
        assert KEY not in str(caught.value)
        return caught.value


def tell(
    story: Callable[[Bench], Awaitable[None]], upstream: Upstream | None = None, **settings: Any
) -> None:
    async def whole() -> None:
        app = upstream or Upstream()
        server = SimulatorServer(app)
        url = await server.start()
        try:
            await story(Bench(app, url, Settings().with_changes(**settings)))
        finally:
            await server.stop()

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("operation", "line"),
    [
        (NativeOperation.RETRIEVE, "GET /v1/responses/resp_1"),
        (NativeOperation.CANCEL, "POST /v1/responses/resp_1/cancel"),
        (NativeOperation.DELETE, "DELETE /v1/responses/resp_1"),
        (NativeOperation.INPUT_ITEMS, "GET /v1/responses/resp_1/input_items"),
        (NativeOperation.INPUT_TOKENS, "POST /v1/responses/input_tokens"),
        (NativeOperation.COMPACT, "POST /v1/responses/compact"),
    ],
    ids=lambda value: value.value if isinstance(value, NativeOperation) else "",
)
def test_each_operation_has_its_address(operation: NativeOperation, line: str) -> None:
    async def story(bench: Bench) -> None:
        body = b"" if operation.has_id else b'{"input":"Hi"}'
        name = "resp_1" if operation.has_id else ""
        answer = await bench.ask(NativeCall(operation, name, body=body))
        assert answer == NativeAnswer(200, OBJECT)
        [asked] = bench.upstream.asked
        assert asked["line"] == line
        assert asked["body"] == body
        assert asked["headers"]["authorization"] == f"Bearer {KEY}"
        assert "cookie" not in asked["headers"]

    tell(story)


def test_no_key_is_sent_where_none_is_configured() -> None:
    async def story(bench: Bench) -> None:
        await bench.ask(ALIEN, "open")
        assert "authorization" not in bench.upstream.asked[0]["headers"]
        error = await bench.refused(UpstreamError, ALIEN, "badly-keyed")
        assert error.failure.code is FailureCode.UPSTREAM_UNAUTHORIZED
        assert len(bench.upstream.asked) == 1

    tell(story)


def test_of_a_query_only_the_known_names_go_out() -> None:
    async def story(bench: Bench) -> None:
        query = (("limit", "2"), ("after", "a&b=c"), ("stream", "true"), ("api_key", "x"))
        await bench.ask(NativeCall(NativeOperation.INPUT_ITEMS, "resp_1", query))
        await bench.ask(NativeCall(NativeOperation.RETRIEVE, "resp_1", query))
        assert [one["query"] for one in bench.upstream.asked] == ["limit=2&after=a%26b%3Dc", ""]

    tell(story)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../admin", "a/b", "a%2Fb", "a?b", "a#b", "a b", "é", "x" * 257]
)
def test_an_id_that_no_provider_gives_out_is_asked_of_nobody(name: str) -> None:
    async def story(bench: Bench) -> None:
        await bench.refused(CompletionNotFound, NativeCall(NativeOperation.DELETE, name))
        assert bench.upstream.asked == []

    tell(story)


def test_who_keeps_no_responses_is_told_apart_from_who_is_unknown() -> None:
    async def story(bench: Bench) -> None:
        await bench.refused(UnknownProvider, ALIEN, "nobody")
        await bench.refused(NativeUnsupported, ALIEN, "chat")
        assert bench.upstream.asked == []

    tell(story)


COUNT = NativeCall(NativeOperation.INPUT_TOKENS, body=b"{}")


@pytest.mark.parametrize(
    ("status", "call", "error", "code"),
    [
        (404, ALIEN, CompletionNotFound, None),
        (404, COUNT, NativeUnsupported, None),
        (405, ALIEN, NativeUnsupported, None),
        (501, COUNT, NativeUnsupported, None),
        (400, ALIEN, UpstreamError, FailureCode.UPSTREAM_REJECTED),
        (401, ALIEN, UpstreamError, FailureCode.UPSTREAM_UNAUTHORIZED),
        (429, ALIEN, UpstreamError, FailureCode.UPSTREAM_RATE_LIMITED),
        (503, ALIEN, UpstreamError, FailureCode.UPSTREAM_UNAVAILABLE),
        (307, ALIEN, UpstreamError, FailureCode.UPSTREAM_UNAVAILABLE),
    ],
)
def test_what_a_status_means(
    status: int, call: NativeCall, error: type[Exception], code: FailureCode | None
) -> None:
    async def story(bench: Bench) -> None:
        caught = await bench.refused(error, call)
        if isinstance(caught, UpstreamError):
            assert caught.failure.code is code
            assert caught.failure.upstream_status == status
        # Of a refusal of the request alone; the key never.
        assert ("what the provider said" in str(caught)) is (status == 400)
        assert KEY not in str(caught)
        assert len(bench.upstream.asked) == 1

    body = json.dumps({"error": {"message": f"what the provider said: {KEY}"}}).encode()
    tell(story, Upstream(status, body, [(b"location", b"/v1/responses/resp_2")]))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"[" * 100_000])
def test_an_answer_that_is_no_object_is_not_passed_on(body: bytes) -> None:
    async def story(bench: Bench) -> None:
        error = await bench.refused(UpstreamError)
        assert error.failure.code is FailureCode.UPSTREAM_UNAVAILABLE

    tell(story, Upstream(body=body))


def test_an_answer_is_bounded_in_size() -> None:
    async def story(bench: Bench) -> None:
        with left_streams() as left:
            error = await bench.refused(UpstreamError)
        assert error.message == "The provider's answer is too large."
        assert "Response.aiter_bytes" not in left, "its end waits for no garbage collector"

    tell(story, Upstream(body=b'{"a":"' + b"x" * 2_000 + b'"}'), log_bytes_max=1_000)


@pytest.mark.parametrize("operation", [NativeOperation.RETRIEVE, NativeOperation.CANCEL])
def test_an_answer_is_bounded_in_time(operation: NativeOperation) -> None:
    async def story(bench: Bench) -> None:
        error = await bench.refused(UpstreamError, NativeCall(operation, "resp_1"))
        assert error.failure.code is FailureCode.UPSTREAM_TIMEOUT

    limit = "cancel_timeout_s" if operation is NativeOperation.CANCEL else "first_token_timeout_s"
    tell(story, Upstream(is_silent=True), **{limit: 0.2})


def test_a_provider_that_is_not_there_is_unavailable() -> None:
    async def story(bench: Bench) -> None:
        bench._url = "http://127.0.0.1:9"
        error = await bench.refused(UpstreamError)
        assert error.failure.code is FailureCode.UPSTREAM_UNAVAILABLE

    tell(story)


def test_no_cookie_goes_from_one_call_to_the_next() -> None:
    async def story(bench: Bench) -> None:
        await bench.ask()
        await bench.ask()
        assert all("cookie" not in one["headers"] for one in bench.upstream.asked)

    tell(story, Upstream(headers=[(b"set-cookie", b"team=blue")]))


def test_a_background_answer_of_the_simulator_through_its_whole_life() -> None:
    async def whole() -> None:
        server = SimulatorServer(Simulator())
        url = await server.start()
        catalogue = Catalogue(Config(), simulator_url=url)
        native = NativeResponses(catalogue.provider, settings=Settings(), keys={})

        async def ask(operation: NativeOperation, name: str = "") -> Any:
            body = b"" if name else b'{"model":"sim","input":"Name a lake."}'
            call = NativeCall(operation, name, body=body)
            return json.loads((await native.ask(f"{SIMULATOR}-background", call)).body)

        try:
            async with httpx.AsyncClient() as client:
                body = {"model": "sim-slow", "input": "Name a lake.", "background": True}
                name = (await client.post(f"{url}/v1/responses", json=body)).json()["id"]
            shown = await ask(NativeOperation.RETRIEVE, name)
            assert (shown["id"], shown["status"]) == (name, "in_progress")
            assert (await ask(NativeOperation.CANCEL, name))["status"] == "cancelled"
            assert (await ask(NativeOperation.DELETE, name))["deleted"] is True
            with pytest.raises(CompletionNotFound):
                await ask(NativeOperation.RETRIEVE, name)
            assert (await ask(NativeOperation.INPUT_TOKENS))["input_tokens"] > 0
        finally:
            await server.stop()

    asyncio.run(whole())
