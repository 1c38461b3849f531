"""A provider that would go on is told to stop, over real sockets, beside the close of its connection."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from actors.completion.driver import CompletionDriver
from actors.core.events import BlockFinished, CancelSource, FinishReason, Status, TextDelta
from actors.core.record import CompletionHeader
from actors.core.wire.responses import ResponsesStreamWriter
from actors.settings import Settings
from actors.testing import ManualClock, ScriptedLedger, settle_loop
from tests.upstream.test_provider_client import (
    SECRET,
    Request,
    Run,
    Upstream,
    command,
    joined,
    read,
    run,
    upstream_and_client,
)

__all__ = ["run"]  # A fixture.

MEMBERS: dict[str, Any] = {"kind": "openai_responses", "native_background": True}


class Provider:
    """A script for `Upstream`: a background response that does not end, and its cancel route."""

    def __init__(self, response_id: str | None = "resp_up", cancel_status: str = "200 OK") -> None:
        writer = ResponsesStreamWriter("cmp_up")
        self.opening = writer.response("response.created", {"id": response_id})
        self.opening += b"".join(writer.delta(TextDelta(0, "Hel", 1)))
        self.rest = b"".join(writer.finish_block(BlockFinished(0, True)))
        self.rest += writer.response("response.completed", {"id": response_id})
        self.cancel_status = cancel_status
        self.closed = asyncio.Event()

    async def __call__(self, request: Request) -> None:
        if request.line.startswith("POST /v1/responses/"):
            await self.answer_cancel(request)
            return
        await request.start_chunked()
        await request.send_chunk(self.opening)
        await request.peer_closed()
        self.closed.set()

    async def answer_cancel(self, request: Request) -> None:
        body = json.dumps({"status": "cancelled", "error": SECRET})
        await request.send_head(self.cancel_status, f"Content-Length: {len(body)}")
        await request.send(body.encode())


async def cancelled(client: Any, *, after: int = 1) -> None:
    """Cancel a reader after so many batches, as a driver does."""
    stream = client.open(command())

    async def pump() -> None:
        try:
            await stream.connect()
            async for _ in stream.batches():
                seen.release()
        finally:
            await stream.aclose()

    seen = asyncio.Semaphore(0)
    pumping = asyncio.create_task(pump())
    for _ in range(after):
        await seen.acquire()
    pumping.cancel()
    await asyncio.wait({pumping})
    await stream.aclose()


def lines(upstream: Upstream) -> list[str]:
    return [request.line for request in upstream.requests]


def test_a_cancel_tells_the_provider_and_closes(run: Run) -> None:
    async def main() -> None:
        script = Provider("resp_up/1")
        async with upstream_and_client(script, api_key="sk-1", **MEMBERS) as (upstream, client):
            await cancelled(client)
            await script.closed.wait()
            create, cancel = upstream.requests
            assert json.loads(create.body)["background"] is True
            assert cancel.line == "POST /v1/responses/resp_up%2F1/cancel HTTP/1.1"
            assert cancel.headers["authorization"] == "bearer sk-1"
            assert (cancel.headers["x-request-id"], cancel.body) == ("cmp_1", b"")

    run(main())


async def _never(request: Request) -> None:
    await request.peer_closed()


async def _hang_up(request: Request) -> None:
    request.writer.close()


@pytest.mark.parametrize("answer", [_never, _hang_up])
def test_a_provider_that_does_not_answer_a_cancel_is_left_in_time(
    run: Run, answer: Callable[[Request], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        script = Provider()
        script.answer_cancel = answer  # type: ignore[method-assign]
        async with upstream_and_client(script, **MEMBERS) as (upstream, client):
            await cancelled(client)
            await script.closed.wait()
            assert len(lines(upstream)) == 2

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "no answer to a cancel" in caplog.text


def test_a_refused_cancel_is_logged_without_what_the_provider_said(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        script = Provider(cancel_status="400 Bad Request")
        async with upstream_and_client(script, **MEMBERS) as (_, client):
            await cancelled(client)
            await script.closed.wait()

    with caplog.at_level(logging.WARNING):
        run(main())
    assert "status 400 for a cancel" in caplog.text and SECRET not in caplog.text


def test_an_answer_that_ended_or_has_no_name_is_not_cancelled(run: Run) -> None:
    async def main() -> None:
        whole = Provider()

        async def answer_whole(request: Request) -> None:
            await request.answer(whole.opening + whole.rest)

        async with upstream_and_client(answer_whole, **MEMBERS) as (upstream, client):
            batch = joined(await read(client))
            assert batch.finish_reason is FinishReason.STOP and batch.is_end
            assert len(lines(upstream)) == 1
        nameless = Provider(None)
        async with upstream_and_client(nameless, **MEMBERS) as (upstream, client):
            await cancelled(client)
            await nameless.closed.wait()
            assert len(lines(upstream)) == 1

    run(main())


def test_without_native_background_the_connection_alone_is_closed(run: Run) -> None:
    async def main() -> None:
        script = Provider()
        async with upstream_and_client(script, kind="openai_responses") as (upstream, client):
            await cancelled(client)
            await script.closed.wait()
            assert lines(upstream) == ["POST /v1/responses HTTP/1.1"]
            assert "background" not in json.loads(upstream.requests[0].body)

    run(main())


def test_a_response_whose_stream_broke_is_cancelled_too(run: Run) -> None:
    async def main() -> None:
        script = Provider()

        async def cut(request: Request) -> None:
            if request.line.startswith("POST /v1/responses/"):
                await script.answer_cancel(request)
                return
            await request.start_chunked()
            await request.send_chunk(script.opening)
            request.writer.close()

        async with upstream_and_client(cut, **MEMBERS) as (upstream, client):
            assert joined(await read(client)).failure is not None
            assert len(lines(upstream)) == 2

    run(main())


@pytest.mark.parametrize("end", ["cut", "garbage", "cancelled"])
def test_a_driver_tells_the_provider_however_the_stream_ended(run: Run, end: str) -> None:
    """The failure that ends the stream closes it as well, while it closes itself: neither cuts the other."""

    async def main() -> None:
        script = Provider()
        seen, told = asyncio.Event(), asyncio.Event()

        async def answer(request: Request) -> None:
            if request.line.startswith("POST /v1/responses/"):
                await settle_loop(50)
                await script.answer_cancel(request)
                told.set()
                return
            await request.start_chunked()
            await request.send_chunk(script.opening)
            if end == "cut":
                request.writer.close()
                return
            if end == "garbage":
                await request.send_chunk(b"data: {\n\n")
            await request.peer_closed()

        async with upstream_and_client(answer, **MEMBERS) as (upstream, client):
            order = replace(command(), hold_microcredits=1_000_000)
            driver = CompletionDriver(
                order,
                CompletionHeader.of(order),
                provider=client,
                ledger=ScriptedLedger(),
                clock=ManualClock(),
                settings=Settings(),
                on_change=lambda driver: seen.set() if driver.completion.has_token else None,
                on_settled=lambda driver: None,
            )
            driver.start()
            await seen.wait()
            if end == "cancelled":
                driver.cancel(CancelSource.CLIENT_REQUEST)
            record = await driver.settled()
            assert record.status is (Status.CANCELLED if end == "cancelled" else Status.FAILED)
            await told.wait()
            assert len(lines(upstream)) == 2

    run(main())
