"""What is measured of a party in one round: figures by name, for `peers` to make tables of.

    rate/N, paced_rate/N                   requests per second of a closed loop with N clients
    first_token_ms                         p50 of one client, one request after the other
    terminal_ms                            p50 from the last token's frame to the terminal one, 1 client
    paced_first_ms/N                       p50 of the first token, N clients, less the upstream's own delay
    cpu_request_ms, cpu_request_ms/ROLE    CPU of the party's processes per request of the instant loop
    cpu_token_us, cpu_token_us/ROLE        the same per token while streams only run: none starts or ends
    stream_kb, carrier_mb                  memory: see `memory`
    failures                               requests that were not answered to their end

All times are the client's, which runs in this process and is the same for all parties.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.benchmarks.process_group import Cpu, ProcessGroup, Role, Shares, spent
from tests.benchmarks.starting import Endpoint
from tests.benchmarks.upstream import INSTANT, PACED, PACED_FIRST_S, PACED_TOKENS_PER_S, SLOW

__all__ = ["TOKENS", "Plan", "measure", "memory", "warm_up"]

TOKENS = 31
"""Of each stream that is counted as a request."""

_TERMINAL_TOKENS = 5
_TOKEN = re.compile(rb'"content":\s?"[^"]')
_DONE = b"data: [DONE]"
_REQUEST_TIMEOUT_S = 120.0
_SLOW_TOKENS = 2_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything.

    Args:
        cpu_streams: how many clients the CPU columns are of.
        burst: how many streams are opened at once; 0 for none.
    """

    streams: tuple[int, ...]
    seconds: float
    cpu_streams: int
    first_tokens: int = 20
    terminals: int = 10
    burst: int = 0
    burst_tokens: int = TOKENS


@dataclass(slots=True)
class _Seen:
    """One stream as its client saw it; monotonic times, 0 where it never happened."""

    began_s: float = field(default_factory=time.perf_counter)
    first_s: float = 0.0
    last_s: float = 0.0
    ended_s: float = 0.0
    tokens: int = 0
    is_complete: bool = False
    started: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first token, or with an end that comes without."""


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


async def _request(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    model: str,
    tokens: int,
    *,
    is_counted: bool = False,
    seen: _Seen | None = None,
) -> _Seen:
    """Read one stream to its end. Tokens after the first are looked for only if `is_counted`."""
    seen = seen or _Seen()
    tail = b""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Name a lake."}],
        "max_tokens": tokens,
        "stream": True,
    }
    try:
        async with session.post(endpoint.url, json=body, headers=endpoint.headers) as answer:
            async for chunk in answer.content.iter_any():
                if is_counted or not seen.first_s:
                    _take(seen, chunk)
                tail = (tail + chunk)[-64:]
            seen.is_complete = answer.status == 200 and _DONE in tail and seen.first_s > 0
    except (aiohttp.ClientError, TimeoutError):
        pass  # It is not complete, and counted as that.
    seen.ended_s = time.perf_counter()
    seen.started.set()
    return seen


def _take(seen: _Seen, chunk: bytes) -> None:
    found = len(_TOKEN.findall(chunk))
    if found:
        seen.last_s = time.perf_counter()
        seen.first_s = seen.first_s or seen.last_s
        seen.tokens += found
        seen.started.set()


async def warm_up(endpoint: Endpoint, streams: int, seconds: float) -> None:
    """Load what loads lazily, open connections, grow pools; nothing of it is kept."""
    async with _session() as session:
        await _closed_loop(session, endpoint, INSTANT, streams, seconds)


async def measure(endpoint: Endpoint, plan: Plan) -> dict[str, float]:
    """Measure one round."""
    figures: dict[str, float] = {"failures": 0}
    async with _session() as session:
        await _one_client(session, endpoint, plan, figures)
        for streams in plan.streams:
            await _instant(session, endpoint, plan, streams, figures)
            await _paced(session, endpoint, plan, streams, figures)
        if endpoint.processes is not None and plan.cpu_streams in plan.streams:
            await _steady(session, endpoint, endpoint.processes, plan, figures)
    return figures


async def _one_client(
    session: aiohttp.ClientSession, endpoint: Endpoint, plan: Plan, figures: dict[str, float]
) -> None:
    instant = [await _request(session, endpoint, INSTANT, TOKENS) for _ in range(plan.first_tokens)]
    paced = [
        await _request(session, endpoint, PACED, _TERMINAL_TOKENS, is_counted=True)
        for _ in range(plan.terminals)
    ]
    _count_failures(figures, instant + paced)
    _put_median(
        figures, "first_token_ms", [1e3 * (s.first_s - s.began_s) for s in instant if s.is_complete]
    )
    _put_median(
        figures, "terminal_ms", [1e3 * (s.ended_s - s.last_s) for s in paced if s.is_complete]
    )


async def _instant(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    plan: Plan,
    streams: int,
    figures: dict[str, float],
) -> None:
    processes = endpoint.processes
    before = processes.cpu() if processes else Cpu({})
    seen, elapsed_s = await _closed_loop(session, endpoint, INSTANT, streams, plan.seconds)
    _count_failures(figures, seen)
    figures[f"rate/{streams}"] = sum(s.is_complete for s in seen) / elapsed_s
    if processes and streams == plan.cpu_streams:
        _put_cpu(figures, "cpu_request_ms", spent(before, processes.cpu()), 1e3 / len(seen))


async def _paced(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    plan: Plan,
    streams: int,
    figures: dict[str, float],
) -> None:
    seen, elapsed_s = await _closed_loop(session, endpoint, PACED, streams, plan.seconds)
    _count_failures(figures, seen)
    figures[f"paced_rate/{streams}"] = sum(s.is_complete for s in seen) / elapsed_s
    first_ms = [1e3 * (s.first_s - s.began_s - PACED_FIRST_S) for s in seen if s.is_complete]
    _put_median(figures, f"paced_first_ms/{streams}", first_ms)


async def _closed_loop(
    session: aiohttp.ClientSession, endpoint: Endpoint, model: str, streams: int, seconds: float
) -> tuple[list[_Seen], float]:
    """Let clients ask again and again; return all that was seen, and the seconds until the last end."""
    seen: list[_Seen] = []
    began_s = time.perf_counter()

    async def client() -> None:
        while time.perf_counter() - began_s < seconds:
            seen.append(await _request(session, endpoint, model, TOKENS))

    await asyncio.gather(*(client() for _ in range(streams)))
    return seen, time.perf_counter() - began_s


async def _steady(
    session: aiohttp.ClientSession,
    endpoint: Endpoint,
    processes: ProcessGroup,
    plan: Plan,
    figures: dict[str, float],
) -> None:
    """Take the CPU of running streams alone: between the last one's first token and the first one's end."""
    tokens = int(PACED_TOKENS_PER_S * (plan.seconds + 1.0))
    live = [_Seen() for _ in range(plan.cpu_streams)]
    reading = [
        asyncio.create_task(_request(session, endpoint, PACED, tokens, is_counted=True, seen=seen))
        for seen in live
    ]
    await asyncio.gather(*(seen.started.wait() for seen in live))
    before, tokens_before = processes.cpu(), sum(seen.tokens for seen in live)
    await asyncio.sleep(plan.seconds)
    cpu, tokens_seen = spent(before, processes.cpu()), sum(seen.tokens for seen in live)
    _count_failures(figures, await asyncio.gather(*reading))
    if tokens_seen > tokens_before:
        _put_cpu(figures, "cpu_token_us", cpu, 1e6 / (tokens_seen - tokens_before))


async def memory(endpoint: Endpoint, streams: int, settle_s: float) -> dict[str, float]:
    """Measure what a live stream adds to the memory of all processes, by their summed PSS.

    `stream_kb` is the difference between `streams` live streams and a quarter of them, per stream, less
    what carriers came up between for them; `carrier_mb` is the smallest carrier's, an idle one's where
    there is one. Where the figures are noise it may be below zero. They are read when every stream has
    had its first token, and `settle_s` later, for carriers that are still starting.
    """
    processes = endpoint.processes
    assert processes is not None
    few = max(1, streams // 4)
    async with _session() as session:
        live = await _open_slow(session, endpoint, few)
        await asyncio.sleep(settle_s)
        before = processes.sizes()
        live += await _open_slow(session, endpoint, streams - few)
        await asyncio.sleep(settle_s)
        after = processes.sizes()
        for reading in live:
            reading.cancel()
        await asyncio.gather(*live, return_exceptions=True)
    carrier = min(after[Role.CARRIER])
    carriers_more = len(after[Role.CARRIER]) - len(before[Role.CARRIER])
    grown = _sum(after) - _sum(before) - carriers_more * carrier
    return {"stream_kb": grown / (streams - few) / 1024, "carrier_mb": carrier / 1024**2}


async def _open_slow(
    session: aiohttp.ClientSession, endpoint: Endpoint, count: int
) -> list[asyncio.Task[_Seen]]:
    opened = [_Seen() for _ in range(count)]
    live = [
        asyncio.create_task(_request(session, endpoint, SLOW, _SLOW_TOKENS, seen=seen))
        for seen in opened
    ]
    await asyncio.gather(*(seen.started.wait() for seen in opened))
    return live


def _sum(pss_bytes: dict[Role, list[int]]) -> int:
    return sum(sum(sizes) for sizes in pss_bytes.values())


def _put_cpu(figures: dict[str, float], name: str, cpu: Shares, scale: float) -> None:
    figures[name] = scale * sum(cpu.values())
    for role in Role:
        figures[f"{name}/{role}"] = scale * cpu[role]


def _put_median(figures: dict[str, float], name: str, values: list[float]) -> None:
    if values:
        figures[name] = statistics.median(values)


def _count_failures(figures: dict[str, Any], seen: list[_Seen]) -> None:
    figures["failures"] += sum(not one.is_complete for one in seen)
