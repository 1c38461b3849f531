"""What a token and a start cost as live streams grow, and what each stream keeps in memory.

At each level the streams are live and silent but for their tokens while CPU is measured; then a few
fast streams run beside them, then starts do. Per token: the CPU above what the same processes take
when they carry nothing, for a process that waits costs too; what waits costs is a column of its own.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from tests.benchmarks.fleet import CHAT, Fleet, session
from tests.benchmarks.measuring import read_stream
from tests.benchmarks.process_group import SERVER, ProcessGroup, Role, Shares, Tree, shares, spent
from tests.benchmarks.sizes import Sizes
from tests.support.instance import Instance, wait_until

__all__ = [
    "PATIENT",
    "STARTING_AT_ONCE",
    "Level",
    "Live",
    "calm",
    "dense_settings",
    "first_word_s",
    "measure",
    "server_total",
    "slope",
    "strict_settings",
    "strict_slots",
    "wait_for_pool",
    "watch",
]

_STREAMS_PER_ACTOR_MAX = 256
PATIENT = {"admission_timeout_s": 120.0, "total_timeout_s": 7_200.0}
_SPARE_SLOTS = 4
STARTING_AT_ONCE = {"dense": 16, "strict": 2}
"""Strict, each start takes one of the spare actors; a replica may have leased some of them."""

_POOL_TIMEOUT_S = 180.0
_CALM_SHARE = 0.9
"""Of what was spent in the time before: less than that is still falling."""

_FAST_TOKENS_PER_S = 50
_BODY = {
    "model": "sim-long-instant",
    "messages": [{"role": "user", "content": "Name a lake."}],
    "max_tokens": 1,
}


def dense_settings(sizes: Sizes) -> dict[str, object]:
    """Return the settings under which the largest number of streams is carried by actors enough."""
    per_actor = max(1, min(_STREAMS_PER_ACTOR_MAX, sizes.streams // sizes.actors_min))
    return {"streams_per_actor": per_actor, **PATIENT}


def strict_slots(sizes: Sizes) -> int:
    """Return how many actors give the largest number of streams one each, and some to spare."""
    return max(sizes.strict_levels) + _SPARE_SLOTS


def strict_settings(slots: int) -> dict[str, object]:
    return {"actors_per_node": slots, "actors_warm": slots, **PATIENT}


@dataclass(slots=True)
class Watched:
    """What was spent in a time: CPU seconds a second, by role, and words a second."""

    cpu: Shares
    words_per_s: float


@dataclass(slots=True)
class Starts:
    """What one start and its settlement cost, CPU seconds by role, and how long the first word took."""

    cpu: Shares
    latencies_s: list[float]
    per_s: float


@dataclass(slots=True)
class Level:
    """One row of the tables."""

    streams: int
    actors: int
    windows: list[Watched]
    fast: Watched
    starts: Starts
    pss: Counter[Role]
    empty_carrier_bytes: int

    @property
    def cpu(self) -> Shares:
        """The median of the windows, each role by itself."""
        roles = {role for window in self.windows for role in window.cpu}
        return shares({r: statistics.median(w.cpu[r] for w in self.windows) for r in roles})

    @property
    def words_per_s(self) -> float:
        return statistics.median(window.words_per_s for window in self.windows)


@dataclass(slots=True)
class Live:
    """All levels of one way of running, and what its processes take when they carry nothing.

    Args:
        idle: CPU seconds a second with `idle_actors`; each further actor takes `idle_per_actor`.
    """

    name: str
    idle: Shares
    idle_actors: int
    idle_per_actor: Shares = field(default_factory=lambda: shares({}))
    levels: list[Level] = field(default_factory=list)

    def idle_at(self, actors: int) -> Shares:
        more = actors - self.idle_actors
        roles = {*self.idle, *self.idle_per_actor}
        return shares({r: self.idle[r] + more * self.idle_per_actor[r] for r in roles})


def server_total(cpu: Shares) -> float:
    return sum(cpu[role] for role in SERVER)


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return the least squares slope; 0 of less than two points."""
    if len(set(xs)) < 2:
        return 0.0
    mean_x, mean_y = statistics.fmean(xs), statistics.fmean(ys)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - mean_x) ** 2 for x in xs)


async def watch(group: ProcessGroup, fleet: Fleet, seconds: float) -> Watched:
    """Return what the group spends, and its readers read, in that time."""
    before, words, began_s = group.cpu(), fleet.words, time.monotonic()
    await asyncio.sleep(seconds)
    took_s = time.monotonic() - began_s
    cpu = spent(before, group.cpu())
    rates = shares({role: seconds / took_s for role, seconds in cpu.items()})
    return Watched(rates, (fleet.words - words) / took_s)


async def start_cost(
    group: ProcessGroup, fleet: Fleet, at_once: int, seconds: float, baseline: Shares
) -> Starts:
    """Start completions of one token in a closed loop; what is spent beside the baseline is theirs."""
    latencies: list[float] = []
    before, began_s = group.cpu(), time.monotonic()
    async with session(fleet.key) as http:
        await asyncio.gather(
            *(_keep_starting(http, fleet.url, began_s + seconds, latencies) for _ in range(at_once))
        )
    took_s = time.monotonic() - began_s
    cpu = spent(before, group.cpu())
    each = {r: (s - baseline[r] * took_s) / max(1, len(latencies)) for r, s in cpu.items()}
    return Starts(shares(each), latencies, len(latencies) / took_s)


async def _keep_starting(
    http: aiohttp.ClientSession, url: str, until_s: float, latencies: list[float]
) -> None:
    while time.monotonic() < until_s:
        latencies.append(await first_word_s(http, f"{url}{CHAT}"))


async def first_word_s(http: aiohttp.ClientSession, url: str) -> float:
    """Complete one token of `sim-instant`; return the seconds from its POST to it.

    Raises: SystemExit: it failed.
    """
    seen = await read_stream(http, url, _BODY, {})
    if seen.status != 200 or seen.tokens != 1:
        raise SystemExit(f"a start failed: {seen}")
    return seen.first_token_at - seen.opened_at


async def measure(instance: Instance, name: str, levels: Sequence[int], sizes: Sizes) -> Live:
    """Grow through the levels; leave nothing live."""
    assert instance.process is not None
    group = Tree(instance.process.pid)
    fleet = Fleet.of(instance, f"live-{name}")
    async with session(fleet.key) as http:  # The first ones load what later ones have.
        await _keep_starting(http, fleet.url, time.monotonic() + sizes.settle_s, [])
    actors = await calm(instance, group, sizes)
    idle = await watch(group, fleet, sizes.window_s * sizes.rounds)
    live = Live(name, idle.cpu, actors)
    for count in levels:
        _say(f"{name}: growing to {count:,} live streams, then measuring")
        live.levels.append(
            await _level(instance, group, fleet, count, STARTING_AT_ONCE[name], sizes)
        )
    await fleet.end()
    actors = await calm(instance, group, sizes)
    emptied = await watch(group, fleet, sizes.window_s * sizes.rounds)
    more = actors - live.idle_actors
    if more > 0:
        live.idle_per_actor = shares(
            {r: max(0.0, emptied.cpu[r] - live.idle[r]) / more for r in emptied.cpu}
        )
    return live


def _say(words: str) -> None:
    """Tell who waits what goes on, beside the tables."""
    print(words, file=sys.stderr, flush=True)


async def _level(
    instance: Instance, group: ProcessGroup, fleet: Fleet, count: int, at_once: int, sizes: Sizes
) -> Level:
    await fleet.open(count - len(fleet.live))
    actors = await calm(instance, group, sizes)
    windows = [await watch(group, fleet, sizes.window_s) for _ in range(sizes.rounds)]
    pss, empty = await asyncio.to_thread(
        lambda: (group.pss_bytes(), group.smallest_carrier_bytes())
    )
    level = Level(count, actors, windows, windows[-1], Starts(shares({}), [], 0.0), pss, empty)
    tokens = int(_FAST_TOKENS_PER_S * (sizes.window_s + 60))
    fast = await fleet.open(sizes.fast_streams, model="sim-long", max_tokens=tokens)
    await asyncio.sleep(sizes.settle_s)
    level.fast = await watch(group, fleet, sizes.window_s)
    await fleet.cancel(fast)
    await asyncio.sleep(sizes.settle_s)
    level.starts = await start_cost(group, fleet, at_once, sizes.starts_s, level.cpu)
    each_ms = 1e3 * server_total(level.starts.cpu)
    _say(
        f"  {level.actors} actors, {level.words_per_s:,.1f} tokens/s,"
        f" {100 * server_total(level.cpu):.0f} % of a core, a start {each_ms:.1f} ms of CPU"
    )
    dead = [s for s in fleet.streams if s.error]
    if dead or len(fleet.live) != count:
        raise SystemExit(f"{len(fleet.live)} of {count} live: {[s.error for s in dead[:3]]}")
    return level


async def calm(instance: Instance, group: ProcessGroup, sizes: Sizes) -> int:
    """Wait until no actor is starting any more, as far as can be seen; return how many there are.

    The pool grows ahead of need, and a start is half a second of CPU that is not a stream's.
    """
    rates: list[float] = [float("inf")]
    actors = [-1]
    for _ in range(sizes.calm_tries):
        before, began_s = group.cpu(), time.monotonic()
        await asyncio.sleep(sizes.settle_s)
        cpu = spent(before, group.cpu())
        rates.append(server_total(cpu) / (time.monotonic() - began_s))
        actors.append(await _actors(instance))
        if actors[-1] == actors[-2] and rates[-1] >= _CALM_SHARE * rates[-2]:
            break
    return actors[-1]


async def _actors(instance: Instance) -> int:
    ready = await asyncio.to_thread(instance.admin, "GET", "/readyz")
    return int(ready["pool"]["actors"])


def wait_for_pool(instance: Instance, slots: int) -> None:
    wait_until(
        lambda: instance.admin("GET", "/readyz")["pool"]["slots_free"] >= slots,
        f"{slots} actors are free",
        _POOL_TIMEOUT_S,
    )
