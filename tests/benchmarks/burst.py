"""Many slow streams that are opened at once, each read from a socket of its own; for `peers`.

    burst_first_ms, burst_first_p99_ms    to the first token, less the upstream's own delay
    burst_total_s                         p50 to the stream's end; `ideal_s` at best
    burst_failed                          those that did not come to it

Times begin before the stream's connection is made. The client that opens all of them is this process,
so its own share is in every party's figures, those of the upstream itself among them.
"""

from __future__ import annotations

import asyncio
import time

from tests.benchmarks.measuring import percentile
from tests.benchmarks.raw_stream import open_raw
from tests.benchmarks.starting import Endpoint
from tests.benchmarks.upstream import BURST

__all__ = ["burst", "ideal_s"]

_TIMEOUT_S = 120.0


def ideal_s(tokens: int) -> float:
    """Return how long the upstream itself takes for a stream."""
    assert BURST.tokens_per_s is not None
    return BURST.first_token_delay_s + (tokens - 1) / BURST.tokens_per_s


async def burst(endpoint: Endpoint, count: int, tokens: int) -> dict[str, float]:
    """Open so many at once, read each to its end, and return the figures."""
    seen = await asyncio.gather(*(_one(endpoint, tokens) for _ in range(count)))
    ended = [times for times in seen if times is not None]
    figures = {"burst_failed": float(count - len(ended))}
    if ended:
        first_ms = [1e3 * (first_s - BURST.first_token_delay_s) for first_s, _ in ended]
        figures["burst_first_ms"] = percentile(first_ms, 0.5)
        figures["burst_first_p99_ms"] = percentile(first_ms, 0.99)
        figures["burst_total_s"] = percentile([total_s for _, total_s in ended], 0.5)
    return figures


async def _one(endpoint: Endpoint, tokens: int) -> tuple[float, float] | None:
    """Return the seconds to the first token and to the end, None of a stream that failed."""
    body = {
        "model": BURST.slug,
        "messages": [{"role": "user", "content": "Name a lake."}],
        "max_tokens": tokens,
    }
    began_at = time.time()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            stream = await open_raw(endpoint.url, body, key=endpoint.key, more=endpoint.more)
            try:
                await stream.has_ended
            finally:
                stream.close()
    except OSError:  # A timeout is one too.
        return None
    if stream.error or not stream.words:
        return None
    return stream.times[0] - began_at, stream.ended_at - began_at
