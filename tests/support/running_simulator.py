"""A simulator on a real socket, in a thread with a loop of its own, for tests and benchmarks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from actors.simulator.app import OnRequest, Simulator
from actors.simulator.server import SimulatorServer

__all__ = ["GroundTruth", "running_simulator"]


@contextmanager
def running_simulator(on_request: OnRequest | None = None) -> Iterator[str]:
    """Yield the address of a simulator that listens; it is gone afterwards."""
    loop = asyncio.new_event_loop()
    server = SimulatorServer(Simulator(on_request=on_request))
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _stop(server: SimulatorServer) -> None:
    await server.stop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 5)


class GroundTruth:
    """What the simulator's own log says, read over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/_simulator/requests"

    def of(self, completion_id: str) -> list[dict[str, Any]]:
        answer = httpx.get(self._url, params={"completion_id": completion_id})
        rows: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
        return rows

    def closed(self, completion_id: str, *, timeout_s: float = 10.0) -> dict[str, Any]:
        """Return the completion's newest request once its answer has ended."""
        deadline = time.monotonic() + timeout_s
        while True:
            rows = self.of(completion_id)
            if rows and rows[-1]["closed_by"] is not None:
                return rows[-1]
            assert time.monotonic() < deadline, f"{completion_id} is still open: {rows}"
            time.sleep(0.005)
