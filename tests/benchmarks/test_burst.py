"""Goal: the burst of `peers` counts what ended and what failed. Method: the benchmark's own upstream."""

from __future__ import annotations

import asyncio

from tests.benchmarks.burst import burst
from tests.benchmarks.passthrough_app import PATH
from tests.benchmarks.starting import Endpoint
from tests.benchmarks.upstream import running_upstream, wait_until_idle
from tests.support.ports import free_port

FIGURES = {"burst_failed", "burst_first_ms", "burst_first_p99_ms", "burst_total_s"}


def test_streams_that_end_have_figures() -> None:
    async def measured(upstream: str) -> dict[str, float]:
        figures = await burst(Endpoint(f"{upstream}{PATH}", "", None), 3, 2)
        await wait_until_idle(upstream)
        return figures

    with running_upstream() as upstream:
        figures = asyncio.run(measured(upstream))
    assert set(figures) == FIGURES
    assert figures["burst_failed"] == 0


def test_streams_that_are_refused_are_counted_as_failed() -> None:
    with running_upstream() as upstream:
        figures = asyncio.run(burst(Endpoint(f"{upstream}/v1/no-such", "", None), 3, 2))
    assert figures == {"burst_failed": 3}


def test_connections_that_are_refused_are_counted_as_failed() -> None:
    nobody = Endpoint(f"http://127.0.0.1:{free_port()}{PATH}", "", None)
    assert asyncio.run(burst(nobody, 3, 2)) == {"burst_failed": 3}
