"""Goal: in every dialect a reader that was cut off anywhere comes back and has every frame once.

Readers are cut by RST at a random byte, inside frames too, and come back with the number of the last
frame they had whole; a proxy and two replicas are between them and the completion.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from dataclasses import dataclass, field

import httpx
import pytest

from tests.support.dialect_clients import CLIENTS, DialectClient, Frame, frames_of
from tests.support.instance import DEMO_KEY, Instance, within

pytestmark = pytest.mark.ray

READERS = 200
LATE_READERS = 50
"""Of them: those who come when the completion has ended."""

TOKENS = 200
FIRST_CUT_BYTES, CUT_BYTES = (1, 8_000), (1, 40_000)
"""The first cut is within every dialect's stream, so that each reader has one."""

ATTEMPTS_MAX = 60
ATTACHED_TIMEOUT_S = 120.0
ALL_TIMEOUT_S = 360.0
RESET = struct.pack("ii", 1, 0)


@dataclass
class Reader:
    """What one client has, and through which replicas it got it."""

    frames: list[Frame] = field(default_factory=list)
    replicas: list[str] = field(default_factory=list)
    cuts: int = 0

    @property
    def cursor(self) -> int:
        return max((number for number, _, _ in self.frames if number is not None), default=-1)

    @property
    def came_back_elsewhere(self) -> bool:
        return any(a != b for a, b in zip(self.replicas, self.replicas[1:], strict=False))


async def attach(
    instance: Instance, client: DialectClient, name: str, reader: Reader, bytes_max: int
) -> bool:
    """Read on behind the reader's cursor; returns whether the stream came to its end."""
    method, path = client.attach(name, reader.cursor)
    async with within(ATTACHED_TIMEOUT_S, f"{bytes_max} bytes or the end of {method} {path}"):
        return await _read(instance, f"{method} {path}", reader, bytes_max)


async def _read(instance: Instance, call: str, reader: Reader, bytes_max: int) -> bool:
    incoming, outgoing = await asyncio.open_connection("127.0.0.1", instance.port)
    connection: socket.socket = outgoing.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    try:
        request = f"{call} HTTP/1.1\r\nHost: m\r\nAuthorization: Bearer {DEMO_KEY}\r\n\r\n"
        outgoing.write(request.encode())
        head = (await incoming.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        assert head.startswith("http/1.1 200"), head
        reader.replicas.append(head.split("midstream-replica: ")[1].split("\r\n")[0])
        body, is_over = await _body(incoming, bytes_max)
        numbered = [frame for frame in frames_of(body) if frame[0] is not None or not is_over]
        reader.frames += [frame for frame in numbered if frame[0] is not None]
        return is_over
    finally:
        # With this linger the kernel sends RST, and forgets what was not yet read.
        outgoing.transport.abort()


async def _body(incoming: asyncio.StreamReader, bytes_max: int) -> tuple[bytes, bool]:
    """Read a chunked body up to its end, or to the byte at which this reader is cut."""
    body = b""
    while len(body) < bytes_max:
        size = int((await incoming.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            return body, True
        body += await incoming.readexactly(size)
        await incoming.readexactly(2)
    return body[:bytes_max], False


async def read_whole(instance: Instance, client: DialectClient, name: str, seed: int) -> Reader:
    generator = random.Random(seed)
    reader = Reader()
    for attempt in range(ATTEMPTS_MAX):
        bounds = CUT_BYTES if attempt else FIRST_CUT_BYTES
        if await attach(instance, client, name, reader, generator.randint(*bounds)):
            return reader
        reader.cuts += 1
    # The last time it is left in peace.
    assert await attach(instance, client, name, reader, 1 << 30)
    return reader


@pytest.mark.parametrize("dialect", CLIENTS)
def test_readers_that_are_reset_anywhere_have_what_an_uncut_one_has(
    midstream: Instance, dialect: str
) -> None:
    client = CLIENTS[dialect]
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    name = f"resumed-{seed}"
    request = client.body("sim-long-utf8", TOKENS, stream=True)
    headers = client.named(name, **{"Midstream-On-Disconnect": "continue"})

    async def whole() -> tuple[list[Frame], list[Reader]]:
        async with (
            httpx.AsyncClient(base_url=midstream.url, timeout=120, trust_env=False) as http,
            http.stream("POST", client.path, json=request, headers=headers) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            body = b""
            pieces = answer.aiter_raw()
            body += await anext(pieces)
            early = [
                asyncio.ensure_future(read_whole(midstream, client, name, seed + n))
                for n in range(READERS - LATE_READERS)
            ]
            async for piece in pieces:
                body += piece
        late = [
            asyncio.ensure_future(read_whole(midstream, client, name, seed + READERS + n))
            for n in range(LATE_READERS)
        ]
        return frames_of(body), list(await asyncio.gather(*early, *late))

    async def whole_in_time() -> tuple[list[Frame], list[Reader]]:
        async with within(ALL_TIMEOUT_S, f"{READERS} readers have come to the end of {name}"):
            return await whole()

    uncut, readers = asyncio.run(whole_in_time())
    truth = [frame for frame in uncut if frame[0] is not None]
    assert [number for number, _, _ in truth] == list(range(len(truth))), "dense, from 0"
    seen = midstream.simulated(midstream.row(name, dialect)["id"])
    assert client.text_of(truth) == seen["text_sent"]
    wrong = [reader for reader in readers if reader.frames != truth]
    assert not wrong, f"{len(wrong)} of {len(readers)} readers have something else"
    assert len(readers) == READERS
    assert all(reader.cuts for reader in readers)
    assert sum(reader.came_back_elsewhere for reader in readers) >= 50
