"""B7: HTTP/1.0 through uvicorn as Serve runs it, with what stands before the application there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.simulator.server import SimulatorServer
from serve_app.http.serve_headers import OldClients

PIECES = (b"one ", b"two ", b"three")


async def app(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    headers = [(b"content-type", b"text/plain")]
    if scope["path"] == "/known":
        headers.append((b"content-length", b"%d" % len(b"".join(PIECES))))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in PIECES:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": message.get("body", b"")})


async def asked(request: bytes) -> bytes:
    server = SimulatorServer(OldClients(app))
    address = await server.start()
    try:
        port = int(address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        async with asyncio.timeout(20):
            said = await reader.read()
        writer.close()
        await writer.wait_closed()
        return said
    finally:
        await server.stop()


@pytest.mark.parametrize("path", ["/known", "/unknown"])
def test_b7_http_1_0_gets_the_answer_as_it_is(path: str) -> None:
    request = f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode()
    head, _, content = asyncio.run(asked(request)).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert content == b"".join(PIECES)


def test_b7_http_1_1_still_gets_chunks() -> None:
    request = b"GET /unknown HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    head, _, content = asyncio.run(asked(request)).partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    assert content.endswith(b"0\r\n\r\n")


def test_b7_a_client_that_waits_to_be_told_is_told_to_go_on() -> None:
    request = b"POST /unknown HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n"
    said = asyncio.run(asked(request + b"Expect: 100-continue\r\n\r\nbody"))
    assert said.startswith((b"HTTP/1.1 100", b"HTTP/1.1 200"))
    assert b"body" in said
