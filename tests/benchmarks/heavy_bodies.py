"""What the worst bodies cost those beside them: `python -m tests.benchmarks.heavy_bodies`.

A loop ticks every two milliseconds while a body is weighed, parsed, validated and counted as a replica
does it; a row has the longest gap between two ticks, and that of an idle loop before it.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from starlette.types import Message

from actors.core.errors import CompletionRuntimeError
from actors.settings import Settings
from serve_app.dialects.base import HttpCall
from serve_app.dialects.chat import CHAT
from serve_app.dialects.json_scan import Weight
from serve_app.endpoints.create import _parsed_and_counted
from serve_app.http.body_workers import BodyWorkers
from serve_app.http.exchange import Exchange
from serve_app.http.leaving import Leaving

_TICK_S = 0.002
_IDLE_S = 0.5


def bodies() -> dict[str, bytes]:
    def chat(**members: Any) -> bytes:
        return json.dumps({"model": "sim", **members}).encode()

    text = {"role": "user", "content": "some words " * 800_000}
    parts = [{"type": "text", "text": "x" * 20}] * 9
    return {
        "900,000 members": chat(**{f"k{i}": 0 for i in range(900_000)}),
        "400,000 members": chat(**{f"k{i}": 0 for i in range(400_000)}),
        "90,000 members": chat(messages=[], **{f"k{i}": 0 for i in range(90_000)}),
        "8.8 MB of text": chat(messages=[text]),
        "2,500 messages of 9 parts": chat(messages=[{"role": "user", "content": parts}] * 2_500),
    }


async def _understand(workers: BodyWorkers, body: bytes) -> str:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError("nothing is answered")

    scope = {"headers": [], "method": "POST"}
    exchange = Exchange(
        scope,
        receive,
        send,
        request_id="req_1",
        headers=(),
        settings=Settings(body_bytes_max=10 * 1024**2, body_timeout_s=30),
        leaving=Leaving(lambda: False),
    )
    try:
        read = await exchange.body()
        assert exchange.weight is Weight.HEAVY, exchange.weight
        _, counted = await workers.run(
            _parsed_and_counted, CHAT.parse_create, HttpCall({}, {}, read)
        )
    except CompletionRuntimeError as error:
        return f"{type(error).__name__}"
    return f"{counted[0]:,} tokens"


async def main() -> None:
    gaps: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    workers, ticking = BodyWorkers(), asyncio.ensure_future(tick())
    await workers.run(len, b"")  # A helper stands ready, as after a first such body.
    print(f"{'body':28} {'bytes':>10} {'seconds':>8} {'gap ms':>7} {'idle ms':>8}  outcome")
    for name, body in bodies().items():
        gaps.clear()
        await asyncio.sleep(_IDLE_S)
        idle_s, began_s = max(gaps), time.perf_counter()
        gaps.clear()
        outcome = await _understand(workers, body)
        await asyncio.sleep(2 * _TICK_S)
        took_s = time.perf_counter() - began_s
        cells = f"{took_s:8.2f} {1e3 * max(gaps):7.1f} {1e3 * idle_s:8.1f}"
        print(f"{name:28} {len(body):10,} {cells}  {outcome}")
    ticking.cancel()
    workers.close()


if __name__ == "__main__":
    asyncio.run(main())
