"""The provider client against a real server on a real socket, written byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from actors.core.errors import Failure, FailureCode, UpstreamError
from actors.core.events import BlockFinished, FinishReason, TextDelta, Usage, UsageReported
from actors.core.request import (
    CompletionRequest,
    Dialect,
    Message,
    Prices,
    Role,
    StartCommand,
    TextPart,
)
from actors.core.upstream import UpstreamBatch
from actors.core.wire.openai_chat import DONE, ChatStreamWriter
from actors.ports.provider import Provider, UpstreamStream
from actors.settings import Settings
from actors.upstream.client import ProviderClient
from actors.upstream.config import ConfigError, ProviderConfig
from actors.upstream.content_coding import ContentDecoder

DEADLINE_S = 60.0
SECRET = "sk-live-0123456789"
WRITER = ChatStreamWriter("up_1", "m", 1)
ANSWER = WRITER.role() + WRITER.text("Hel") + WRITER.text("lo") + WRITER.finish("stop") + DONE

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine within a deadline; on uvloop too, since that is the loop of a Ray actor."""

    async def within_deadline(main: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await main

    def run_main(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(debug=True, loop_factory=LOOPS[request.param]) as runner:
            runner.run(within_deadline(main))

    return run_main


Run = Callable[[Coroutine[Any, Any, None]], None]


@dataclass
class Request:
    """One request as it arrived, and the connection to answer it on."""

    line: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def port(self) -> int:
        port: int = self.writer.get_extra_info("peername")[1]
        return port

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_head(self, status: str = "200 OK", *lines: str) -> None:
        head = [f"HTTP/1.1 {status}", "Content-Type: text/event-stream", *lines]
        await self.send("\r\n".join(head).encode() + b"\r\n\r\n")

    async def start_chunked(self) -> None:
        await self.send_head("200 OK", "Transfer-Encoding: chunked")

    async def send_chunk(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def answer(self, data: bytes = ANSWER) -> None:
        await self.start_chunked()
        if data:
            await self.send_chunk(data)
        await self.send_chunk(b"")

    async def refuse(self, status: str, *lines: str) -> None:
        body = json.dumps({"error": {"message": SECRET}})
        await self.send_head(status, f"Content-Length: {len(body)}", *lines)
        await self.send(body.encode())

    async def peer_closed(self) -> int:
        """Wait for EOF or reset; return how many bytes came before it."""
        size = 0
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(1 << 16):
                size += len(data)
        return size


Script = Callable[[Request], Awaitable[None]]


@dataclass
class Upstream:
    """A server whose requests are answered by `script`; keeps what arrived."""

    script: Script
    reads_body: bool = True
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def ports(self) -> list[int]:
        return [request.port for request in self.requests]

    @contextlib.asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[Upstream]:
        connections: set[asyncio.Task[None]] = set()

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self._serve(reader, writer)
            except asyncio.CancelledError:
                pass  # By the end of `listening`; asyncio would log it as an error of the server's.
            finally:
                connections.discard(task)
                writer.close()

        server = await asyncio.start_server(on_connection, "127.0.0.1", port, limit=1 << 16)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
            size = int(headers["content-length"])
            body = await reader.readexactly(size) if self.reads_body else b""
            request = Request(head[0], headers, body, reader, writer)
            self.requests.append(request)
            with contextlib.suppress(ConnectionError):
                await self.script(request)


def config(port: int, **members: Any) -> ProviderConfig:
    return ProviderConfig.model_validate({"base_url": f"http://127.0.0.1:{port}/v1", **members})


def command(text: str = "hello", completion_id: str = "cmp_1") -> StartCommand:
    return StartCommand(
        completion_id=completion_id,
        wire_id=completion_id,
        team="demo",
        key_id="key_1",
        dialect=Dialect.CHAT,
        request=CompletionRequest("sim", (Message(Role.USER, (TextPart(text),)),)),
        model="sim",
        provider="p",
        upstream_model="m",
        prices=Prices(75, 450),
        prompt_tokens_estimated=5,
        tokenizer_is_exact=True,
        max_output_tokens=64,
        hold_microcredits=1,
        created_at_s=0.0,
        total_timeout_s=900.0,
    )


class Pauses(list[float]):
    """Stands in for `asyncio.sleep`, and keeps what was asked for."""

    async def __call__(self, delay_s: float) -> None:
        self.append(delay_s)


@contextlib.asynccontextmanager
async def client_of(
    port: int, *, api_key: str | None = None, sleep: Any = asyncio.sleep, **members: Any
) -> AsyncIterator[ProviderClient]:
    client = ProviderClient(
        "p",
        config(port, **members),
        api_key=api_key,
        settings=Settings(),
        count=len,
        jitter=lambda: 0.5,
        sleep=sleep,
    )
    try:
        yield client
    finally:
        await client.aclose()


@contextlib.asynccontextmanager
async def upstream_and_client(
    script: Script, **members: Any
) -> AsyncIterator[tuple[Upstream, ProviderClient]]:
    upstream = Upstream(script)
    async with upstream.listening(), client_of(upstream.port, **members) as client:
        yield upstream, client


async def read(client: Provider, start: StartCommand | None = None) -> list[UpstreamBatch]:
    """Carry one completion out, as a driver does."""
    stream = client.open(start or command())
    try:
        await stream.connect()
        return [batch async for batch in stream.batches()]
    finally:
        await stream.aclose()


async def refusal(client: Provider) -> Failure:
    return await refusal_of(client, command())


async def refusal_of(client: Provider, start: StartCommand) -> Failure:
    with pytest.raises(UpstreamError) as caught:
        await read(client, start)
    return caught.value.failure


def joined(batches: list[UpstreamBatch]) -> UpstreamBatch:
    events = tuple(event for batch in batches for event in batch.events)
    reasons = [batch.finish_reason for batch in batches if batch.finish_reason]
    last = batches[-1]
    return UpstreamBatch(events, None, reasons[0] if reasons else None, last.failure, last.is_end)


WHOLE = UpstreamBatch(
    (TextDelta(0, "Hel", 3), TextDelta(0, "lo", 2), BlockFinished(0, True)),
    None,
    FinishReason.STOP,
    None,
    True,
)


# What is sent, and what comes back.


def test_a_request_arrives_whole_and_its_answer_is_read(run: Run) -> None:
    async def main() -> None:
        script = Request.answer
        async with upstream_and_client(script, api_key=f" {SECRET}\n", running_usage=True) as (
            upstream,
            client,
        ):
            assert joined(await read(client, command("hé", "cmp_7"))) == WHOLE
            (request,) = upstream.requests
            assert request.line == "POST /v1/chat/completions HTTP/1.1"
            assert request.headers["authorization"] == f"bearer {SECRET}"
            assert request.headers["x-request-id"] == "cmp_7"
            assert request.headers["accept-encoding"] == "identity"
            assert request.headers["content-type"] == "application/json"
            body = json.loads(request.body)
            assert body["messages"] == [{"role": "user", "content": "hé"}]
            assert body["stream"] is True and body["timings_per_token"] is True
            assert SECRET not in repr(client)

    run(main())


def test_no_key_sends_none(run: Run) -> None:
    async def main() -> None:
        async with upstream_and_client(Request.answer) as (upstream, client):
            await read(client)
            assert "authorization" not in upstream.requests[0].headers

    run(main())


def test_a_large_request_arrives_whole_with_its_length(run: Run) -> None:
    text = "x" * 3_000_000

    async def main() -> None:
        async with upstream_and_client(Request.answer) as (upstream, client):
            for _ in range(2):
                assert joined(await read(client, command(text))) == WHOLE
            for request in upstream.requests:
                assert json.loads(request.body)["messages"][0]["content"] == text
                assert "transfer-encoding" not in request.headers
            assert len(set(upstream.ports)) == 1

    run(main())


def test_one_segment_is_one_batch(run: Run) -> None:
    async def main() -> None:
        was_read = asyncio.Event()

        async def script(request: Request) -> None:
            await request.start_chunked()
            await request.send_chunk(WRITER.text("a") + WRITER.text("b"))
            await was_read.wait()
            await request.send_chunk(WRITER.text("c") + WRITER.finish("stop") + DONE)
            await request.send_chunk(b"")

        async with upstream_and_client(script) as (_, client):
            stream = client.open(command())
            await stream.connect()
            batches = stream.batches()
            first = await anext(batches)
            assert first.events == (TextDelta(0, "a", 1), TextDelta(0, "b", 1))
            was_read.set()
            rest = [batch async for batch in batches]
            assert joined(rest).events == (TextDelta(0, "c", 1), BlockFinished(0, True))
            assert rest[-1].is_end
            await stream.aclose()

    run(main())


@pytest.mark.parametrize("length", ["Connection: close", f"Content-Length: {len(ANSWER)}"])
def test_an_answer_that_is_not_chunked(run: Run, length: str) -> None:
    async def script(request: Request) -> None:
        await request.send_head("200 OK", length)
        await request.send(ANSWER)
        if "close" in length:
            request.writer.close()

    async def main() -> None:
        async with upstream_and_client(script) as (_, client):
            assert joined(await read(client)) == WHOLE

    run(main())


def test_an_end_without_done_is_an_end(run: Run) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 1}

    async def main() -> None:
        async with upstream_and_client(
            lambda request: request.answer(WRITER.text("a") + WRITER.finish("length", usage))
        ) as (_, client):
            batch = joined(await read(client))
            assert batch.is_end and batch.finish_reason is FinishReason.LENGTH
            assert batch.events[-1] == UsageReported(Usage(7, 1))

    run(main())


# Statuses and retries.

STATUSES = [
    ("307 Temporary Redirect", FailureCode.UPSTREAM_UNAVAILABLE),
    ("400 Bad Request", FailureCode.UPSTREAM_REJECTED),
    ("401 Unauthorized", FailureCode.UPSTREAM_UNAUTHORIZED),
    ("402 Payment Required", FailureCode.UPSTREAM_UNAVAILABLE),
    ("403 Forbidden", FailureCode.UPSTREAM_UNAUTHORIZED),
    ("404 Not Found", FailureCode.UPSTREAM_REJECTED),
    ("413 Content Too Large", FailureCode.UPSTREAM_REJECTED),
    ("422 Unprocessable Content", FailureCode.UPSTREAM_REJECTED),
    ("500 Internal Server Error", FailureCode.UPSTREAM_UNAVAILABLE),
    ("502 Bad Gateway", FailureCode.UPSTREAM_UNAVAILABLE),
    ("504 Gateway Timeout", FailureCode.UPSTREAM_UNAVAILABLE),
]


@pytest.mark.parametrize(("status", "code"), STATUSES, ids=[status for status, _ in STATUSES])
def test_a_status_is_a_failure_at_once(run: Run, status: str, code: FailureCode) -> None:
    async def main() -> None:
        pauses = Pauses()
        async with upstream_and_client(
            lambda request: request.refuse(status, "Location: /elsewhere"), sleep=pauses
        ) as (upstream, client):
            failure = await refusal(client)
            assert (failure.code, failure.upstream_status) == (code, int(status[:3]))
            assert SECRET not in failure.message
            assert len(upstream.requests) == 1 and pauses == []

    run(main())


def test_what_a_refusal_says_is_told_without_the_provider_s_secrets(run: Run) -> None:
    said = {"type": "t", "code": "c", "param": "tools[0]", "message": f"tools[0] is bad {SECRET}"}

    async def script(request: Request) -> None:
        body = json.dumps({"error": said}).encode()
        await request.send_head("400 Bad Request", f"Content-Length: {len(body)}")
        await request.send(body)

    async def main() -> None:
        async with upstream_and_client(script, api_key=SECRET) as (_, client):
            failure = await refusal(client)
            assert failure == Failure(
                FailureCode.UPSTREAM_REJECTED,
                "tools[0] is bad [removed]",
                upstream_status=400,
                upstream_type="t",
                upstream_code="c",
                param="tools[0]",
            )

    run(main())


@pytest.mark.parametrize("rest", [b"", b" " * 300_000], ids=["half", "endless"])
def test_a_refusal_s_body_is_read_in_bounds(
    run: Run, rest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.upstream.client._REFUSAL_S", 0.05)

    async def script(request: Request) -> None:
        await request.send_head("400 Bad Request", "Content-Length: 1000000")
        with contextlib.suppress(ConnectionError):
            await request.send(b'{"error": {"message": "half' + rest)
            await request.peer_closed()

    async def main() -> None:
        async with upstream_and_client(script) as (_, client):
            failure = await refusal(client)
            assert failure.code is FailureCode.UPSTREAM_REJECTED
            assert "half" not in failure.message

    run(main())


def test_the_client_s_headers_go_with_its_own_body(run: Run) -> None:
    own = {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "metadata": {"a": 1}}
    start = command()
    request = replace(
        start.request,
        body=own,
        headers={"anthropic-beta": "context-management-2025-06-27", "cookie": "no"},
    )
    start = replace(start, dialect=Dialect.MESSAGES, request=request)

    async def main() -> None:
        async with upstream_and_client(
            lambda r: r.refuse("400 Bad Request"), kind="anthropic_messages"
        ) as (upstream, client):
            await refusal_of(client, start)
            (sent,) = upstream.requests
            assert sent.headers["anthropic-beta"] == "context-management-2025-06-27"
            assert "cookie" not in sent.headers
            body = json.loads(sent.body)
            assert body["metadata"] == {"a": 1} and body["stream"] is True
            assert body["max_tokens"] == start.max_output_tokens

    run(main())


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("429 Too Many Requests", FailureCode.UPSTREAM_RATE_LIMITED),
        ("503 Service Unavailable", FailureCode.UPSTREAM_UNAVAILABLE),
    ],
)
def test_overload_is_tried_again_twice(run: Run, status: str, code: FailureCode) -> None:
    async def main() -> None:
        pauses = Pauses()
        async with upstream_and_client(lambda request: request.refuse(status), sleep=pauses) as (
            upstream,
            client,
        ):
            failure = await refusal(client)
            assert (failure.code, failure.upstream_status) == (code, int(status[:3]))
            assert failure.retry_after_s is None
            assert len(upstream.requests) == 3 and pauses == [0.25, 0.5]

    run(main())


def test_a_retry_that_succeeds_is_the_answer(run: Run) -> None:
    async def main() -> None:
        answers = iter(["429 Too Many Requests", "503 Service Unavailable"])

        async def script(request: Request) -> None:
            status = next(answers, None)
            await (request.refuse(status) if status else request.answer())

        async with upstream_and_client(script, sleep=Pauses()) as (upstream, client):
            assert joined(await read(client)) == WHOLE
            assert len({request.body for request in upstream.requests}) == 1

    run(main())


@pytest.mark.parametrize(
    ("value", "pauses", "reported_s"),
    [
        ("2", [2.0, 2.0], 2.0),
        ("0", [0.25, 0.5], 0.0),
        ("0.3", [0.3, 0.5], 0.3),
        ("5", [5.0, 5.0], 5.0),
        ("6", [], 6.0),
        ("1e9", [], 3600.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", [0.25, 0.5], 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", [], 3600.0),
        ("-1", [0.25, 0.5], None),
        ("nan", [0.25, 0.5], None),
        ("soon", [0.25, 0.5], None),
    ],
)
def test_retry_after_is_kept_to_or_given_up(
    run: Run, value: str, pauses: list[float], reported_s: float | None
) -> None:
    async def main() -> None:
        slept = Pauses()
        async with upstream_and_client(
            lambda request: request.refuse("429 Too Many Requests", f"Retry-After: {value}"),
            sleep=slept,
        ) as (upstream, client):
            failure = await refusal(client)
            assert failure.retry_after_s == reported_s
            assert slept == pauses and len(upstream.requests) == len(pauses) + 1

    run(main())


def test_a_provider_that_is_not_there_yet_is_tried_again(run: Run) -> None:
    async def main() -> None:
        upstream = Upstream(Request.answer)
        async with upstream.listening():
            port = upstream.port
        async with contextlib.AsyncExitStack() as stack:

            async def start_it(_: float) -> None:
                await stack.enter_async_context(upstream.listening(port))

            client = await stack.enter_async_context(client_of(port, sleep=start_it))
            assert joined(await read(client)) == WHOLE
            await client.aclose()

    run(main())


def test_a_provider_that_is_not_there_is_a_failure_after_two_retries(run: Run) -> None:
    async def main() -> None:
        upstream = Upstream(Request.answer)
        async with upstream.listening():
            port = upstream.port
        pauses = Pauses()
        async with client_of(port, sleep=pauses) as client:
            failure = await refusal(client)
            assert failure.code is FailureCode.UPSTREAM_UNAVAILABLE
            assert failure.upstream_status is None and pauses == [0.25, 0.5]

    run(main())


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"SSH-2.0-OpenSSH\r\n\r\n"]
)
def test_a_request_that_arrived_is_not_sent_again(run: Run, answer: bytes) -> None:
    async def script(request: Request) -> None:
        await request.send(answer)
        request.writer.close()

    async def main() -> None:
        pauses = Pauses()
        async with upstream_and_client(script, sleep=pauses) as (upstream, client):
            assert (await refusal(client)).code is FailureCode.UPSTREAM_UNAVAILABLE
            assert len(upstream.requests) == 1 and pauses == []

    run(main())


def test_a_kept_connection_that_is_dead_is_replaced_at_once(run: Run) -> None:
    async def main() -> None:
        async def script(request: Request) -> None:
            if request.port in upstream.ports[:-1]:
                request.writer.close()  # The second request on this connection.
            else:
                await request.answer()

        pauses = Pauses()
        async with upstream_and_client(script, sleep=pauses) as (upstream, client):
            for _ in range(3):
                assert joined(await read(client)) == WHOLE
            first, second, third = dict.fromkeys(upstream.ports)
            assert upstream.ports == [first, first, second, second, third]
            assert pauses == [0.0, 0.0]

    run(main())


def test_a_server_that_closes_after_each_answer_is_served_back_to_back(run: Run) -> None:
    async def script(request: Request) -> None:
        await request.answer()
        request.writer.close()

    async def main() -> None:
        async with upstream_and_client(script) as (upstream, client):

            async def several() -> None:
                for _ in range(10):
                    assert joined(await read(client)) == WHOLE

            await asyncio.gather(*(several() for _ in range(10)))
            assert len(set(upstream.ports)) == 100

    run(main())


# Answers that are none.


async def send_unframed(request: Request, body: bytes, content_type: str = "text/html") -> None:
    await request.send(f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n".encode() + body)
    request.writer.close()


async def half_a_chunk(request: Request) -> None:
    await request.start_chunked()
    await request.send_chunk(WRITER.text("a"))
    await request.send(b"ff\r\ndata: {")
    request.writer.close()


async def no_chunk_at_all(request: Request) -> None:
    await request.start_chunked()
    await request.send(b"what is this\r\n\r\n")


async def reset(request: Request) -> None:
    await request.start_chunked()
    await request.send_chunk(WRITER.text("a"))
    request.writer.transport.abort()


BROKEN: dict[str, Script] = {
    "a page": lambda r: send_unframed(r, b"<html>Bad gateway</html>"),
    "an error in JSON": lambda r: send_unframed(
        r, json.dumps({"error": {"message": SECRET}}).encode(), "application/json"
    ),
    "a whole completion in JSON": lambda r: send_unframed(
        r, b'{"object": "chat.completion", "choices": []}', "application/json"
    ),
    "nothing": lambda r: r.answer(b""),
    "half a frame": lambda r: r.answer(WRITER.text("a") + WRITER.text("b")[:20]),
    "half a frame, then a close": lambda r: send_unframed(r, WRITER.text("b")[:20]),
    "no JSON": lambda r: r.answer(b"data: what?\n\n"),
    "half a chunk": half_a_chunk,
    "no chunk at all": no_chunk_at_all,
    "a reset": reset,
    "compressed": lambda r: r.answer(b"\x1f\x8b\x08" + bytes(200)),
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_what_is_no_stream_is_a_failure_and_never_raises(run: Run, script: Script) -> None:
    async def main() -> None:
        async with upstream_and_client(script) as (upstream, client):
            try:
                batch = joined(await read(client))
            except UpstreamError as error:  # Where the nonsense came with the headers.
                batch = UpstreamBatch(failure=error.failure)
            assert batch.failure is not None and not batch.is_end
            assert batch.failure.code is FailureCode.UPSTREAM_UNAVAILABLE
            assert SECRET not in batch.failure.message
            assert len(upstream.requests) == 1

    run(main())


def test_an_error_frame_is_a_failure(run: Run) -> None:
    async def main() -> None:
        async with upstream_and_client(
            lambda r: r.answer(WRITER.text("a") + b'data: {"error": {"code": 429}}\n\n' + DONE)
        ) as (_, client):
            batch = joined(await read(client))
            assert batch.events == (TextDelta(0, "a", 1),)
            assert batch.failure is not None
            assert batch.failure.code is FailureCode.UPSTREAM_RATE_LIMITED

    run(main())


def test_a_frame_over_the_bound_is_a_failure_and_is_not_read_to_its_end(run: Run) -> None:
    async def main() -> None:
        closed = asyncio.Event()
        sent = 0

        async def script(request: Request) -> None:
            nonlocal sent
            await request.send_head("200 OK", "Connection: close")
            await request.send(WRITER.text("a") + b'data: {"choices": "')
            with contextlib.suppress(ConnectionError):
                while sent < 64 << 20:
                    await request.send(b"x" * (1 << 16))
                    sent += 1 << 16
            closed.set()

        async with upstream_and_client(script) as (_, client):
            batch = joined(await read(client))
            assert batch.events == (TextDelta(0, "a", 1),)
            assert batch.failure is not None
            await closed.wait()
            assert 4 << 20 <= sent < 64 << 20

    run(main())


def test_a_frame_of_five_megabytes_is_a_failure(run: Run) -> None:
    async def main() -> None:
        async with upstream_and_client(lambda r: r.answer(WRITER.text("x" * 5_000_000))) as (
            _,
            client,
        ):
            batch = joined(await read(client))
            assert batch.events == () and batch.failure is not None

    run(main())


# Connections: kept, closed, shared with nobody.


def test_a_connection_is_kept_for_the_next_completion(run: Run) -> None:
    async def main() -> None:
        async with upstream_and_client(Request.answer) as (upstream, client):
            for _ in range(3):
                assert joined(await read(client)) == WHOLE
            assert len(upstream.ports) == 3 and len(set(upstream.ports)) == 1

    run(main())


def test_a_refusal_that_was_read_whole_keeps_the_connection_too(run: Run) -> None:
    async def main() -> None:
        async with upstream_and_client(lambda r: r.refuse("400 Bad Request")) as (upstream, client):
            for _ in range(2):
                await refusal(client)
            assert len(upstream.ports) == 2

    run(main())


def test_a_connection_is_kept_when_the_end_of_the_body_comes_late(run: Run) -> None:
    async def main() -> None:
        is_ended = asyncio.Event()

        async def script(request: Request) -> None:
            await request.start_chunked()
            await request.send_chunk(ANSWER)
            await is_ended.wait()
            await request.send_chunk(b": bye\n\n")
            await request.send_chunk(b"")

        async with upstream_and_client(script) as (upstream, client):
            for _ in range(2):
                stream = client.open(command())
                await stream.connect()
                async for batch in stream.batches():
                    if batch.is_end:
                        break
                closing = asyncio.ensure_future(stream.aclose())
                await asyncio.sleep(0)
                is_ended.set()
                await closing
            assert len(upstream.ports) == 2 and len(set(upstream.ports)) == 1

    run(main())


def test_a_body_that_does_not_end_is_closed(run: Run) -> None:
    async def main() -> None:
        closed = asyncio.Event()

        async def script(request: Request) -> None:
            await request.start_chunked()
            await request.send_chunk(ANSWER)
            await request.peer_closed()
            closed.set()

        async with upstream_and_client(script) as (_, client):
            assert joined(await read(client)) == WHOLE
            await closed.wait()

    run(main())


@dataclass
class Streaming:
    """A script that streams a token, and tells when its peer has closed."""

    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Request) -> None:
        await request.start_chunked()
        await request.send_chunk(WRITER.text("a"))
        await request.peer_closed()
        self.closed.set()


def test_aclose_in_mid_stream_closes_the_connection(run: Run) -> None:
    async def main() -> None:
        script = Streaming()
        async with upstream_and_client(script) as (upstream, client):
            stream = client.open(command())
            await stream.connect()
            await anext(stream.batches())
            assert sockets_to(upstream.port) == 1
            await stream.aclose()
            assert sockets_to(upstream.port) == 0
            await script.closed.wait()
            await stream.aclose()
            assert [batch async for batch in stream.batches()] == []

    run(main())


def test_aclose_before_the_first_batch_closes_the_connection(run: Run) -> None:
    async def main() -> None:
        script = Streaming()
        async with upstream_and_client(script) as (_, client):
            stream = client.open(command())
            await stream.connect()
            await stream.aclose()
            await script.closed.wait()

    run(main())


def test_aclose_by_another_task_ends_the_reader(run: Run) -> None:
    async def main() -> None:
        script = Streaming()
        async with upstream_and_client(script) as (_, client):
            stream = client.open(command())
            await stream.connect()
            batches = stream.batches()
            await anext(batches)
            reading = asyncio.ensure_future(_all(batches))
            await asyncio.sleep(0)
            await stream.aclose()
            assert await reading == []
            await script.closed.wait()

    run(main())


async def _all(batches: AsyncIterator[UpstreamBatch]) -> list[UpstreamBatch]:
    return [batch async for batch in batches]


def test_cancelling_the_reader_closes_the_connection(run: Run) -> None:
    async def main() -> None:
        script = Streaming()
        async with upstream_and_client(script) as (_, client):
            stream = client.open(command())

            is_reading = asyncio.Event()

            async def pump() -> None:
                await stream.connect()
                batches = stream.batches()
                await anext(batches)
                is_reading.set()
                await _all(batches)

            task = asyncio.ensure_future(pump())
            await is_reading.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # The reader has closed it already, before the caller does.
            await script.closed.wait()
            await stream.aclose()

    run(main())


def test_cancelling_connect_closes_the_connection(run: Run) -> None:
    async def main() -> None:
        arrived, closed = asyncio.Event(), asyncio.Event()

        async def script(request: Request) -> None:
            arrived.set()
            await request.peer_closed()
            closed.set()

        async with upstream_and_client(script) as (_, client):
            stream = client.open(command())
            task = asyncio.ensure_future(stream.connect())
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await stream.aclose()
            await closed.wait()

    run(main())


def test_a_cancel_does_not_first_send_the_rest_of_the_request(run: Run) -> None:
    async def main() -> None:
        arrived = asyncio.Event()

        async def script(request: Request) -> None:
            request.writer.transport.pause_reading()  # type: ignore[attr-defined]
            arrived.set()
            await asyncio.Event().wait()

        upstream = Upstream(script, reads_body=False)
        async with upstream.listening(), client_of(upstream.port) as client:
            # Far more than the sockets of both sides hold.
            stream = client.open(command("x" * 24_000_000))
            task = asyncio.ensure_future(stream.connect())
            await arrived.wait()
            assert sockets_to(upstream.port) == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await stream.aclose()
            assert sockets_to(upstream.port) == 0

    run(main())


def sockets_to(port: int) -> int:
    """Return how many sockets of this process are connected to the port."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        # A descriptor may be gone by now, or its socket not be connected.
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as found:
                    count += found.getpeername()[1:2] == (port,)
    return count


def test_completions_do_not_wait_for_each_other(run: Run) -> None:
    count = 150  # above the default limit of the library's pool

    async def main() -> None:
        async def script(request: Request) -> None:
            await request.start_chunked()
            await request.send_chunk(WRITER.text("a"))
            await request.peer_closed()

        async with upstream_and_client(script) as (upstream, client):
            streams: list[UpstreamStream] = [client.open(command()) for _ in range(count)]
            await asyncio.gather(*(stream.connect() for stream in streams))
            firsts = await asyncio.gather(*(anext(stream.batches()) for stream in streams))
            assert all(batch.events == (TextDelta(0, "a", 1),) for batch in firsts)
            assert len(set(upstream.ports)) == count
            await asyncio.gather(*(stream.aclose() for stream in streams))

    run(main())


def test_no_cookie_proxy_or_redirect(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def script(request: Request) -> None:
        await request.send_head(
            "200 OK", "Set-Cookie: team=a; Path=/", f"Content-Length: {len(ANSWER)}"
        )
        await request.send(ANSWER)

    async def main() -> None:
        async with upstream_and_client(script) as (upstream, client):
            for _ in range(2):
                assert joined(await read(client)) == WHOLE
            assert all("cookie" not in request.headers for request in upstream.requests)

    run(main())


# Configuration.


def test_what_cannot_be_used_says_so() -> None:
    def new_client(api_key: str | None = None, **members: Any) -> ProviderClient:
        return ProviderClient(
            "p", config(1, **members), api_key=api_key, settings=Settings(), count=len
        )

    for key in ("sk-a\nb", "sk-é"):
        with pytest.raises(ConfigError, match="api_key_env") as caught:
            new_client(key)
        assert key not in str(caught.value)


def test_it_is_imported_without_ray() -> None:
    program = "import sys, actors.upstream.client; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


# Bodies that are not as they should be.


@pytest.mark.parametrize(
    "rest",
    [b"zzz\r\n", b"data: x\n\n", b"-1\r\n", b"5\r\nabcdeXX3\r\nabc\r\n", b"f" * 40 + b"\r\n"],
)
def test_a_broken_chunk_is_noticed_although_the_connection_stays_open(
    run: Run, rest: bytes
) -> None:
    async def main() -> None:
        was_read, is_over = asyncio.Event(), asyncio.Event()

        async def script(request: Request) -> None:
            await request.start_chunked()
            await request.send_chunk(WRITER.text("a"))
            await was_read.wait()
            await request.send(rest)
            await is_over.wait()

        async with upstream_and_client(script) as (_, client):
            stream = client.open(command())
            await stream.connect()
            batches = []
            async for batch in stream.batches():  # Else it would wait until this test's deadline.
                batches.append(batch)
                was_read.set()
            assert batches[-1].failure is not None
            await stream.aclose()
            is_over.set()

    run(main())


@pytest.mark.parametrize("rest", [b"", b"zzz\r\n"])
def test_an_answer_that_has_its_finish_reason_is_whole_however_its_body_ends(
    run: Run, rest: bytes
) -> None:
    async def main() -> None:
        was_read = asyncio.Event()

        async def script(request: Request) -> None:
            await request.start_chunked()
            await request.send_chunk(WRITER.text("Hel") + WRITER.text("lo"))
            await request.send_chunk(WRITER.finish("stop"))
            await was_read.wait()
            await request.send(rest)
            request.writer.close()

        async with upstream_and_client(script) as (_, client):
            stream = client.open(command())
            await stream.connect()
            batches = []
            async for batch in stream.batches():
                batches.append(batch)
                if batch.finish_reason is not None:
                    was_read.set()
            assert joined(batches) == WHOLE
            await stream.aclose()

    run(main())


def _flushed(compressor: Any, pieces: list[bytes]) -> list[bytes]:
    out = [compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*out, compressor.flush()]


@pytest.mark.parametrize(
    ("coding", "wbits"),
    [("gzip", 31), ("x-gzip", 31), ("GZIP", 31), ("deflate", 15), ("deflate", -15), (None, 31)],
)
def test_a_compressed_stream_is_read_as_it_comes(run: Run, coding: str | None, wbits: int) -> None:
    async def main() -> None:
        was_read = asyncio.Event()
        first, *rest = _flushed(
            zlib.compressobj(wbits=wbits),
            [WRITER.role() + WRITER.text("Hel"), WRITER.text("lo"), WRITER.finish("stop") + DONE],
        )

        async def script(request: Request) -> None:
            lines = [] if coding is None else [f"Content-Encoding: {coding}"]
            await request.send_head("200 OK", "Transfer-Encoding: chunked", *lines)
            for at in range(len(first)):
                await request.send_chunk(first[at : at + 1])
            await was_read.wait()
            for piece in rest:
                await request.send_chunk(piece)
            await request.send_chunk(b"")

        async with upstream_and_client(script) as (_, client):
            stream = client.open(command())
            await stream.connect()
            batches = []
            async for batch in stream.batches():
                batches.append(batch)
                if batch.events:
                    was_read.set()
            assert joined(batches) == WHOLE
            await stream.aclose()

    run(main())


@pytest.mark.parametrize("body", [b"\x1f\x8b\x08\x00 nothing of the kind", b"\x1f\x8b"])
def test_a_corrupt_compressed_body_is_a_failure(run: Run, body: bytes) -> None:
    async def main() -> None:
        async def script(request: Request) -> None:
            length = f"Content-Length: {len(body)}"
            await request.send_head("200 OK", length, "Content-Encoding: gzip")
            await request.send(body)

        async with upstream_and_client(script) as (_, client):
            assert (await read(client))[-1].failure is not None

    run(main())


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip"])
def test_a_coding_that_cannot_be_read_is_named_as_the_fault(run: Run, coding: str) -> None:
    async def main() -> None:
        async def script(request: Request) -> None:
            await request.send_head("200 OK", "Content-Length: 2", f"Content-Encoding: {coding}")
            await request.send(b"xx")

        async with upstream_and_client(script) as (_, client):
            assert "compressed" in (await refusal(client)).message

    run(main())


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity", "none"])
def test_a_body_that_only_says_that_it_is_compressed_is_read(run: Run, coding: str) -> None:
    async def main() -> None:
        async def script(request: Request) -> None:
            length = f"Content-Length: {len(ANSWER)}"
            await request.send_head("200 OK", length, f"Content-Encoding: {coding}")
            await request.send(ANSWER)

        async with upstream_and_client(script) as (_, client):
            assert joined(await read(client)) == WHOLE

    run(main())


def test_a_few_bytes_that_stand_for_many_are_read_in_steps() -> None:
    decoder = ContentDecoder("gzip")
    compressor = zlib.compressobj(wbits=31)
    bomb = compressor.compress(b" " * (64 << 20)) + compressor.flush()
    sizes = [len(decoder.decode(bomb))]
    while decoder.has_more:
        sizes.append(len(decoder.decode(b"")))
    assert max(sizes) <= 1 << 20 and sum(sizes) == 64 << 20
