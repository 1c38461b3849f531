"""How long a cancel takes, beside how many live streams.

Per cancel, from the moment its POST is sent: until the upstream's connection is closed (by the
simulator's own clock, same machine), until the acknowledgement is read, and until the stream's reader
has its last frame. A cancelled stream is replaced, so that the number of live ones stands.
"""

from __future__ import annotations

import asyncio
import random
import time

import aiohttp

from tests.benchmarks.fleet import Fleet, session
from tests.benchmarks.measuring import percentile, print_table
from tests.benchmarks.raw_stream import RawStream
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.verdict import upstream_rows
from tests.support.instance import Instance

__all__ = ["run"]

_TOLD_TIMEOUT_S = 30.0


def run(instance: Instance, sizes: Sizes) -> bool:
    """Do it and print it; every cancel must have stopped its upstream."""
    generator = random.Random(sizes.seed)
    rows = [
        asyncio.run(_measure(instance, streams, sizes.cancels, generator))
        for streams in sizes.cancel_levels
    ]
    print_table(
        f"dense: cancel latency, ms: p50 / p99 / max (seed {sizes.seed})",
        ["live streams", "cancels", "POST to upstream closed", "acknowledged", "reader told"],
        rows,
    )
    return True


async def _cancel_one(
    http: aiohttp.ClientSession, simulator: str, fleet: Fleet, stream: RawStream
) -> tuple[float, float, float]:
    """Return the seconds until it was closed upstream, acknowledged, and told to its reader."""
    posted_at = time.time()
    if not await fleet.cancel_one(http, stream):
        raise SystemExit(f"{stream.completion_id} had ended before: {stream.error}")
    acknowledged_at = time.time()
    await asyncio.wait_for(asyncio.shield(stream.has_ended), _TOLD_TIMEOUT_S)
    rows = await upstream_rows(simulator, [stream.completion_id])
    closed_at = rows[stream.completion_id]["closed_at"]
    if not closed_at:
        raise SystemExit(f"an orphan: {stream.completion_id} still runs upstream")
    return closed_at - posted_at, acknowledged_at - posted_at, stream.ended_at - posted_at


async def _measure(
    instance: Instance, streams: int, cancels: int, generator: random.Random
) -> list[str]:
    fleet = Fleet.of(instance, f"cancels-{streams}")
    simulator = instance.simulator_url()
    taken = []
    await fleet.open(streams)
    async with session(fleet.key) as http:
        for _ in range(cancels):
            stream = generator.choice(fleet.live)
            taken.append(await _cancel_one(http, simulator, fleet, stream))
            await fleet.open(1)
    await fleet.end()
    cells = [
        f"{1e3 * percentile(values, 0.5):.1f} / {1e3 * percentile(values, 0.99):.1f}"
        f" / {1e3 * max(values):.1f}"
        for values in zip(*taken, strict=True)
    ]
    return [str(streams), str(cancels), *cells]
