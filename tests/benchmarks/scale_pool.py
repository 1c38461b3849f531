"""What a start takes that meets a free actor, and how fast the pool has as many again.

Strict, so that an actor is a slot. Starts come one after the other, in turn with the same request to the
upstream itself, whose time is what a start is held against. Then all free actors are taken at once by
streams that stay, as often as there are rounds; the clock runs from before the first of them is asked
for until as many actors are free again as the pool keeps warm.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp

from tests.benchmarks.fleet import CHAT, Fleet, session
from tests.benchmarks.measuring import percentile, print_table
from tests.benchmarks.scale_live import PATIENT, first_word_s
from tests.benchmarks.sizes import Sizes
from tests.support.instance import ADMIN_KEY, Instance, within

__all__ = ["pool_settings", "run"]

_WARM_UP_STARTS = 5
_POOL_TIMEOUT_S = 180.0
_PAUSE_S = 0.2


def pool_settings(sizes: Sizes) -> dict[str, object]:
    """Return settings under which there is room for what every round takes."""
    warm = sizes.pool_warm
    return {"actors_warm": warm, "actors_per_node": 2 * warm * (sizes.rounds + 1), **PATIENT}


def run(instance: Instance, sizes: Sizes) -> None:
    """Do it and print it."""
    starts, refills = asyncio.run(_run(instance, sizes))
    print_table(
        f"strict: {sizes.pool_starts} starts, one at a time, {sizes.pool_warm} actors warm",
        ["first word of sim-instant, ms", "p50", "p99"],
        starts,
    )
    print_table(
        f"strict: all free actors taken at once, until {sizes.pool_warm} are free again",
        ["actors before", "taken", "all have begun after, s", "free again after, s", "actors/s"],
        refills,
    )


async def _run(instance: Instance, sizes: Sizes) -> tuple[list[list[str]], list[list[str]]]:
    fleet = Fleet.of(instance, "pool")
    simulator = await asyncio.to_thread(instance.simulator_url)
    async with session(ADMIN_KEY) as admin:
        await _all_free(admin, fleet, sizes)
        starts = await _starts(fleet, simulator, sizes.pool_starts)
        refills = [await _refill(admin, fleet, sizes) for _ in range(sizes.rounds)]
    await fleet.end()
    return starts, refills


async def _starts(fleet: Fleet, simulator: str, count: int) -> list[list[str]]:
    own, upstream = [], []
    async with session(fleet.key) as http:
        for _ in range(_WARM_UP_STARTS + count):
            own.append(await first_word_s(http, f"{fleet.url}{CHAT}"))
            upstream.append(await first_word_s(http, f"{simulator}{CHAT}"))
    times = {"Midstream": own[_WARM_UP_STARTS:], "the upstream itself": upstream[_WARM_UP_STARTS:]}
    figures = {
        name: [1e3 * percentile(values, part) for part in (0.5, 0.99)]
        for name, values in times.items()
    }
    figures["difference"] = [a - b for a, b in zip(*figures.values(), strict=True)]
    return [[name, *(f"{ms:.1f}" for ms in values)] for name, values in figures.items()]


async def _refill(admin: aiohttp.ClientSession, fleet: Fleet, sizes: Sizes) -> list[str]:
    before = await _all_free(admin, fleet, sizes)
    count, began_s = before["slots_free"], time.monotonic()
    await fleet.open(count)
    opened_s = time.monotonic() - began_s
    after = await _until_free(admin, fleet, sizes)
    refilled_s = time.monotonic() - began_s
    more = after["actors"] - before["actors"]
    return [
        str(before["actors"]),
        str(count),
        f"{opened_s:.2f}",
        f"{refilled_s:.2f}",
        f"{more / refilled_s:.2f}",
    ]


async def _all_free(admin: aiohttp.ClientSession, fleet: Fleet, sizes: Sizes) -> dict[str, Any]:
    """Wait until no replica has a slot to spare and no actor has come for a while; return the pool."""
    before: dict[str, Any] = {}
    async with within(_POOL_TIMEOUT_S, "the pool is at rest"):
        while True:
            pool = await _until_free(admin, fleet, sizes)
            if pool == before and pool["slots"] == pool["slots_free"] + pool["running"]:
                return pool
            before = pool
            await asyncio.sleep(sizes.settle_s)


async def _until_free(admin: aiohttp.ClientSession, fleet: Fleet, sizes: Sizes) -> dict[str, Any]:
    async with within(_POOL_TIMEOUT_S, f"{sizes.pool_warm} actors are free"):
        while True:
            async with admin.get(f"{fleet.url}/readyz") as answer:
                pool: dict[str, Any] = (await answer.json())["pool"]
            if pool["slots_free"] >= sizes.pool_warm:
                return pool
            await asyncio.sleep(_PAUSE_S)
