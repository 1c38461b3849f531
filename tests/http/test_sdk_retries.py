"""What the SDKs' own retries do with our answers: nothing twice that was paid for, or in vain.

The SDKs repeat 408, 409, 429 and 5xx, and go by `x-should-retry` where it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.core.errors import Failure, FailureCode, Overloaded, UpstreamError
from actors.ports.registry import Slot
from tests.http.rig import Rig, rig, until

MESSAGES: Any = [{"role": "user", "content": "Name a lake."}]

Ask = Callable[[Any], Awaitable[Any]]


async def chat(client: Any) -> None:
    await client.chat.completions.create(model="sim", messages=MESSAGES, max_tokens=8)


async def chat_stream(client: Any) -> None:
    await client.chat.completions.create(model="sim", messages=MESSAGES, max_tokens=8, stream=True)


async def responses(client: Any) -> None:
    await client.responses.create(model="sim", input="Name a lake.", max_output_tokens=8)


async def messages(client: Any) -> None:
    await client.messages.create(model="sim", messages=MESSAGES, max_tokens=8)


async def messages_stream(client: Any) -> None:
    await client.messages.create(model="sim", messages=MESSAGES, max_tokens=8, stream=True)


ASKS = pytest.mark.parametrize("ask", [chat, chat_stream, responses, messages, messages_stream])
RETRIES = 2


class Counted:
    """The application; counts what it was asked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += scope["type"] == "http"
        await self._app(scope, receive, send)


@asynccontextmanager
async def client_of(run: Rig, ask: Ask) -> AsyncIterator[tuple[Any, Counted]]:
    """Yield the SDK that asks so, with its default retries and no pauses between them."""
    is_anthropics = ask in (messages, messages_stream)
    kind: Any = anthropic.AsyncAnthropic if is_anthropics else openai.AsyncOpenAI
    run.app = counted = Counted(run.app)
    async with (
        run.serve() as url,
        kind(
            api_key=run.key,
            base_url=url + ("" if is_anthropics else "/v1"),
            max_retries=RETRIES,
        ) as client,
    ):
        client._calculate_retry_timeout = lambda *_args: 0.0
        yield client, counted


def story(folder: Path, ask: Ask, tell: Callable[[Rig, Any, Counted], Any], **changes: Any) -> None:
    async def body() -> None:
        async with rig(folder, **changes) as run, client_of(run, ask) as (client, transport):
            await tell(run, client, transport)

    asyncio.run(body())


FAILURES = pytest.mark.parametrize(
    "code",
    [
        FailureCode.UPSTREAM_UNAVAILABLE,
        FailureCode.UPSTREAM_RATE_LIMITED,
        FailureCode.COMPLETION_LOST,
    ],
)


@pytest.mark.parametrize("ask", [chat_stream, responses, messages])
@FAILURES
def test_what_failed_after_its_dispatch_is_not_repeated(
    tmp_path: Path, ask: Ask, code: FailureCode
) -> None:
    async def tell(run: Rig, client: Any, transport: Counted) -> None:
        asking = asyncio.ensure_future(ask(client))
        (await run.upstream()).refuse(UpstreamError(Failure(code, "It broke.")))
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
            await asking
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert transport.requests == len(run.provider.upstreams) == 1

    story(tmp_path, ask, tell)


@ASKS
def test_what_cannot_be_paid_is_not_repeated(tmp_path: Path, ask: Ask) -> None:
    async def tell(run: Rig, client: Any, transport: Counted) -> None:
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
            await ask(client)
        assert caught.value.status_code in (402, 429)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert transport.requests == 1

    story(tmp_path, ask, tell, credits=100)


@pytest.mark.parametrize("ask", [chat, responses, messages])
def test_a_conflict_is_not_repeated(tmp_path: Path, ask: Ask) -> None:
    async def tell(run: Rig, client: Any, transport: Counted) -> None:
        named = client.with_options(default_headers={"Midstream-Completion-Id": "lake-1"})
        named._calculate_retry_timeout = client._calculate_retry_timeout
        first = asyncio.ensure_future(ask(named))
        upstream = await run.upstream()

        async def other(client: Any) -> None:
            extra: Any = {"extra_body": {"temperature": 0.5}}
            if ask is chat:
                await client.chat.completions.create(model="sim", messages=MESSAGES, **extra)
            elif ask is responses:
                await client.responses.create(model="sim", input="Name a lake.", **extra)
            else:
                await client.messages.create(model="sim", messages=MESSAGES, max_tokens=8, **extra)

        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
            await other(named)
        assert caught.value.status_code == (400 if ask is messages else 409)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert transport.requests == 2
        upstream.refuse(UpstreamError(Failure(FailureCode.INTERNAL, "Enough.")))
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)):
            await first

    story(tmp_path, ask, tell)


@ASKS
def test_what_was_never_started_is_repeated(tmp_path: Path, ask: Ask) -> None:
    async def tell(run: Rig, client: Any, transport: Counted) -> None:
        async def overloaded(replica: str, node_id: str, count: int, given: int) -> list[Slot]:
            raise Overloaded("No actor is free.")

        run.runtime._registry.lease = overloaded  # type: ignore[method-assign]
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
            await ask(client)
        assert caught.value.status_code in (503, 529)
        assert "retry-after" in caught.value.response.headers
        assert "x-should-retry" not in caught.value.response.headers
        assert transport.requests == 1 + RETRIES
        await until(lambda: not run.provider.upstreams, "no provider was asked")

    story(tmp_path, ask, tell)
