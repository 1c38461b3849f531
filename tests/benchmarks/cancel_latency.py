"""How long a cancel takes, beside how many live streams: `python -m tests.benchmarks.cancel_latency`.

Per cancel, from the moment its POST is sent: until the upstream's connection is closed (by the
simulator's own clock, same machine), until the acknowledgement is read, and until the stream's reader
has its last frame. A cancelled stream is replaced, so that the number of live ones stands.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

import aiohttp

from tests.benchmarks.measuring import Streamed, percentile, print_table, read_stream
from tests.instance import DEMO_KEY, Instance, running

HEADERS = {"Authorization": f"Bearer {DEMO_KEY}"}
BODY = {
    "model": "sim-slow",
    "messages": [{"role": "user", "content": "Name a lake."}],
    "max_tokens": 2_000,
}


class Fleet:
    """Live streams, each with a reader on a connection of its own."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.live: list[tuple[Streamed, asyncio.Task[Streamed]]] = []

    async def grow_to(self, count: int) -> None:
        fresh = []
        while len(self.live) < count:
            streamed = Streamed(time.time())
            url = f"{self._url}/v1/chat/completions"
            reading = asyncio.create_task(read_stream(self._session, url, BODY, HEADERS, streamed))
            self.live.append((streamed, reading))
            fresh.append(streamed)
            if len(fresh) % 32 == 0:
                await fresh[-1].started.wait()
        await asyncio.wait_for(asyncio.gather(*(s.started.wait() for s in fresh)), 120)
        failed = [s for s in fresh if s.status != 200]
        if failed:
            raise SystemExit(f"{len(failed)} streams did not start; the first: {failed[0]}")

    def take(self, generator: random.Random) -> tuple[Streamed, asyncio.Task[Streamed]]:
        return self.live.pop(generator.randrange(len(self.live)))


async def cancel_one(
    session: aiohttp.ClientSession, url: str, fleet: Fleet, generator: random.Random
) -> tuple[Streamed, float, float, float]:
    streamed, reading = fleet.take(generator)
    posted_at = time.time()
    path = f"{url}/v1/chat/completions/{streamed.completion_id}/cancel"
    async with session.post(path, headers=HEADERS) as answer:
        await answer.read()
        if answer.status != 200:
            raise SystemExit(f"a cancel answered {answer.status}: {await answer.text()}")
    acknowledged_at = time.time()
    await asyncio.wait_for(reading, 30)
    return streamed, posted_at, acknowledged_at, streamed.ended_at


async def closed_at(session: aiohttp.ClientSession, simulator: str, completion_id: str) -> float:
    path = f"{simulator}/_simulator/requests"
    for _ in range(100):
        async with session.get(path, params={"completion_id": completion_id}) as answer:
            row = (await answer.json())["data"][0]
        if row["closed_at"]:
            return float(row["closed_at"])
        await asyncio.sleep(0.05)
    raise SystemExit(f"an orphan: {completion_id} still runs upstream")


async def measure(
    instance: Instance, streams: int, cancels: int, generator: random.Random
) -> list[str]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        fleet = Fleet(session, instance.url)
        await fleet.grow_to(streams)
        simulator = instance.simulator_url()
        closed, acknowledged, told = [], [], []
        for _ in range(cancels):
            one, posted_at, answered_at, told_at = await cancel_one(
                session, instance.url, fleet, generator
            )
            closed.append(await closed_at(session, simulator, one.completion_id) - posted_at)
            acknowledged.append(answered_at - posted_at)
            told.append(told_at - posted_at)
            await fleet.grow_to(streams)
        for _, reading in fleet.live:
            reading.cancel()
        await asyncio.gather(*(r for _, r in fleet.live), return_exceptions=True)
    cells = [
        f"{1e3 * percentile(values, 0.5):.1f} / {1e3 * percentile(values, 0.99):.1f}"
        f" / {1e3 * max(values):.1f}"
        for values in (closed, acknowledged, told)
    ]
    return [str(streams), str(cancels), *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", default="1,32,500", help="live streams, a row each")
    parser.add_argument("--cancels", type=int, default=100, help="cancels per row")
    parser.add_argument("--streams-per-actor", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    settings = {"streams_per_actor": arguments.streams_per_actor}
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), settings=settings) as instance,
    ):
        for streams in map(int, arguments.streams.split(",")):
            rows.append(asyncio.run(measure(instance, streams, arguments.cancels, generator)))
    print_table(
        f"cancel latency, ms: p50 / p99 / max (streams_per_actor {arguments.streams_per_actor},"
        f" seed {arguments.seed})",
        ["live streams", "cancels", "POST to upstream closed", "acknowledged", "reader told"],
        rows,
    )


if __name__ == "__main__":
    main()
