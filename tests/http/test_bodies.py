"""B7: bodies as clients send them, compressed or not; what is too heavy is worked on elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from actors.core.errors import InvalidRequest, Overloaded, RequestTooLarge
from serve_app.dialects.json_body import parse_object
from serve_app.dialects.json_scan import STRUCTURE_MAX, Weight, weigh
from serve_app.dialects.offered import Dialects
from serve_app.http.body_workers import BodyWorkers
from serve_app.http.content_coding import codings_of, decoded
from serve_app.http.errors import UnsupportedCoding

MAX = 10 * 1024 * 1024
BODY = json.dumps({"model": "sim", "messages": [{"role": "user", "content": "é" * 999}]}).encode()


def raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return encoder.compress(data) + encoder.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]),
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip, zstd": lambda data: zstandard.compress(gzip.compress(data)),
    "identity": bytes,
    "": bytes,
}


@pytest.mark.parametrize("coding", ENCODERS)
def test_b7_a_compressed_body_is_what_it_was(coding: str) -> None:
    assert decoded(ENCODERS[coding](BODY), codings_of(coding), bytes_max=MAX) == BODY


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, br", "gzip, gzip, gzip", "x"])
def test_b7_an_unknown_coding_is_refused(coding: str) -> None:
    with pytest.raises(UnsupportedCoding):
        codings_of(coding)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_b7_a_body_that_is_not_of_its_coding_is_refused(coding: str) -> None:
    whole = ENCODERS[coding](BODY)
    for broken in (BODY, whole[: len(whole) // 2], whole[:3], whole[:-6] + b"broken"):
        with pytest.raises((InvalidRequest, RequestTooLarge)):
            value = decoded(broken, (coding,), bytes_max=MAX)
            parse_object(value)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "gzip, zstd"])
def test_b7_a_bomb_is_not_unfolded_beyond_the_bound(coding: str) -> None:
    bomb = ENCODERS[coding](bytes(64 * MAX))
    assert len(bomb) < MAX
    with pytest.raises(RequestTooLarge):
        decoded(bomb, codings_of(coding), bytes_max=MAX)


# How heavy a body is.


def many_members(count: int) -> bytes:
    return json.dumps({f"k{i}": 1 for i in range(count)}).encode()


def test_a_body_is_weighed_before_it_is_parsed() -> None:
    assert weigh(BODY) is Weight.LIGHT
    assert weigh(b'{"a":"' + b"x" * 200_000 + b'"}') is Weight.MIDDLE
    assert weigh(b'{"a":"' + b"x" * 2_000_000 + b'"}') is Weight.HEAVY
    assert weigh(many_members(30_000)) is Weight.HEAVY
    with pytest.raises(InvalidRequest, match="more than"):
        weigh(many_members(STRUCTURE_MAX // 2 + 10))


@pytest.mark.parametrize(
    "body",
    [
        many_members(100_001),
        b'{"a":[' + b"1," * 100_000 + b"1]}",
        b'{"a":' + b"[" * 101 + b"]" * 101 + b"}",
        b'{"a":' + b'{"b":' * 101 + b"1" + b"}" * 101 + b"}",
    ],
    ids=["members", "items", "arrays", "objects"],
)
def test_members_items_and_depth_are_bounded(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_object(body)


def test_ten_thousand_messages_are_within_the_bounds() -> None:
    part = {"type": "text", "text": "x"}
    messages = [{"role": "user", "content": [part, part]}] * 10_000
    assert parse_object(json.dumps({"messages": messages}).encode())


# The helpers.


def with_workers(story: Callable[[BodyWorkers], Any], **options: Any) -> None:
    async def run() -> None:
        workers = BodyWorkers(**options)
        try:
            async with asyncio.timeout(60):
                await story(workers)
        finally:
            workers.close()

    asyncio.run(run())


def test_a_helper_understands_every_dialects_bodies_as_the_replica_does() -> None:
    from serve_app.dialects.base import HttpCall

    message = {"role": "user", "content": "x" * 1_500_000}
    bodies = {
        "chat": {"model": "sim", "messages": [message]},
        "messages": {"model": "sim", "messages": [message], "max_tokens": 5},
        "responses": {"model": "sim", "input": [message]},
    }

    async def story(workers: BodyWorkers) -> None:
        offered = Dialects.made()
        for name, body in bodies.items():
            dialect = getattr(offered, name)
            call = HttpCall({}, {}, json.dumps(body).encode())
            assert await workers.run(dialect.parse_create, call) == dialect.parse_create(call)
            with pytest.raises(InvalidRequest):
                await workers.run(dialect.parse_create, HttpCall({}, {}, b"{"))

    with_workers(story)


def test_a_stuck_helper_is_replaced_and_the_request_is_refused() -> None:
    async def story(workers: BodyWorkers) -> None:
        first = await workers.run(os.getpid)
        with pytest.raises(InvalidRequest, match="too long"):
            await workers.run(time.sleep, 600.0)
        assert await workers.run(os.getpid) != first
        with pytest.raises(Overloaded):
            await workers.run(os._exit, 1)
        assert await workers.run(os.getpid)

    with_workers(story, work_timeout_s=10.0)
