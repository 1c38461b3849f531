"""The upstream of a benchmark: the simulator in a process of its own, the same for all parties.

It has one more model than the product's: `sim-burst`, for many streams that are opened at once.

`running_upstream()` starts it and yields its address; `python -m tests.benchmarks.upstream` is that
process, which prints the address and listens until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.simulator.app import Simulator
from actors.simulator.models import MODELS as SIMULATED
from actors.simulator.models import SimulatedModel
from actors.simulator.server import SimulatorServer
from tests.support.instance import killed_after, within

__all__ = [
    "BURST",
    "INSTANT",
    "MODELS",
    "PACED",
    "PACED_FIRST_S",
    "PACED_TOKENS_PER_S",
    "PATH",
    "SLOW",
    "running_upstream",
    "wait_until_idle",
]

PATH = "/v1/chat/completions"
INSTANT, PACED, SLOW = "sim-long-instant", "sim-long", "sim-long-slow"
BURST = SimulatedModel("sim-burst", first_token_delay_s=0.05, tokens_per_s=5.0, tokens_said=None)
MODELS = (INSTANT, PACED, SLOW, BURST.slug)
PACED_FIRST_S = 0.05
PACED_TOKENS_PER_S = 50.0
"""What `sim-long` does: 50 ms to its first token, then so many a second."""

_START_TIMEOUT_S = 60.0
_IDLE_TIMEOUT_S = 60.0
_PAUSE_S = 0.2


@contextmanager
def running_upstream(host: str = "127.0.0.1") -> Iterator[str]:
    """Yield the address, `http://HOST:PORT`; the process is gone afterwards.

    Args: host: an address of this machine.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.upstream", host],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with killed_after(process, _START_TIMEOUT_S):
            address = process.stdout.readline().decode().strip()
        if not address:
            raise SystemExit(f"the upstream told no address within {_START_TIMEOUT_S:g} s")
        yield address
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(20)


async def wait_until_idle(upstream: str) -> None:
    """Wait until its requests are closed: a party may keep a stream for a while that was left.

    Raises: AssertionError: they are not, in vain.
    """
    async with (
        within(_IDLE_TIMEOUT_S, "the upstream's requests are closed"),
        aiohttp.ClientSession() as http,
    ):
        while True:
            async with http.get(f"{upstream}/_simulator/requests?limit=1000") as answer:
                rows = (await answer.json())["data"]
            if all(row["closed_at"] for row in rows):
                return
            await asyncio.sleep(_PAUSE_S)


def _with_health(app: ASGIApp) -> ASGIApp:
    """Answer what routers ask of an inference server before they send it anything."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/health":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    return answer


async def _serve(host: str) -> None:
    simulator = Simulator(models={**SIMULATED, BURST.slug: BURST})
    server = SimulatorServer(_with_health(simulator), host=host)
    print(await server.start(), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    await server.stop()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
