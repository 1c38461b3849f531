"""A simulator in the test's own process, on a loop in a thread, with a hook that a test may set."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from actors.simulator.app import Simulator
from actors.simulator.server import SimulatorServer


class HookedSimulator:
    """`hook` is awaited with each request's completion id before it is answered."""

    def __init__(self) -> None:
        self.hook: Callable[[str], Awaitable[None]] | None = None
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: SimulatorServer | None = None

    def start(self) -> None:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        assert self._server is not None
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> str:
        self._server = SimulatorServer(Simulator(on_request=self._on_request))
        return await self._server.start()

    async def _on_request(self, completion_id: str) -> None:
        if self.hook is not None:
            await self.hook(completion_id)
