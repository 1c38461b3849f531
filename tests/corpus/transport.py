"""Plays what a client sends, byte for byte, over a socket to the whole HTTP application."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import zstandard

from actors.simulator.server import SimulatorServer
from serve_app.http.serve_headers import OldClients
from tests.corpus.cases import Wrong, contains
from tests.http.rig import Rig, rig

__all__ = ["play"]

_ANSWER_S = 30.0

_CODERS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "raw deflate": lambda data: _raw_deflate(data),
        "zstd": zstandard.compress,
        "nothing": bytes,
    }
)
"""What a case may do to its body; the `Content-Encoding` that it claims is its own word."""


def play(value: dict[str, Any]) -> None:
    """Raises: Wrong."""
    asyncio.run(_play(value))


async def _play(value: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        changes = value.get("settings", {})
        async with rig(Path(folder), simulator=True, **changes) as run:
            server = SimulatorServer(OldClients(run.app))
            try:
                address = await server.start()
                answer = await _asked(address, _request(value, run))
            finally:
                await server.stop()
            _check(answer, value["right"])
            if await run.held():
                raise Wrong("something is held after the answer")


def _request(value: dict[str, Any], run: Rig) -> bytes:
    asked = value["request"]
    body = _body(asked)
    lines = [
        f"{asked.get('method', 'POST')} {asked.get('path', '/v1/chat/completions')}"
        f" HTTP/{asked.get('version', '1.1')}",
        "Host: midstream",
        "Connection: close",
        f"Authorization: Bearer {run.key}",
        *(f"{name}: {said}" for name, said in asked.get("headers", {}).items()),
    ]
    if asked.get("chunked"):
        lines.append("Transfer-Encoding: chunked")
        half = len(body) // 2
        pieces = [piece for piece in (body[:half], body[half:]) if piece]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _body(asked: dict[str, Any]) -> bytes:
    if "bytes" in asked:
        return base64.b64decode(asked["bytes"])
    is_plain = "zeros" not in asked
    body = json.dumps(asked.get("json", {})).encode() if is_plain else bytes(asked["zeros"])
    for coding in asked.get("coded", ()):
        body = _CODERS[coding](body)
    return body[: asked["cut"]] if "cut" in asked else body


async def _asked(address: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    try:
        async with asyncio.timeout(_ANSWER_S):
            writer.write(request)
            return await reader.read()
    finally:
        writer.close()


def _check(answer: bytes, right: dict[str, Any]) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): said.strip() for name, _, said in (n.partition(":") for n in lines)
    }
    if int(status.split()[1]) != right["status"]:
        raise Wrong(f"{status}, not {right['status']}: {body[:300]!r}")
    for name, said in right.get("headers", {}).items():
        if headers.get(name) != said:
            raise Wrong(f"header {name} is {headers.get(name)!r}, not {said!r}")
    if "json" in right:
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(body.split(b"\r\n")[1::2])
        contains(json.loads(body), right["json"])
    for piece in right.get("has", ()):
        if piece.encode() not in body:
            raise Wrong(f"{piece!r} is not in {body[:300]!r}")


def _raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return encoder.compress(data) + encoder.flush()
