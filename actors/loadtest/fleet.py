"""Where the workers run: here, or on Ray. The port, and the fleet of one process.

A fleet runs one plan at a time. Its progress is asked for at will, and costs a worker next to nothing.
"""

from __future__ import annotations

from typing import Protocol

from actors.loadtest.metrics import Measurements
from actors.loadtest.plan import Plan, Share
from actors.loadtest.worker import Worker, WorkerProgress

__all__ = ["WORKERS_MAX", "Fleet", "LocalFleet"]

WORKERS_MAX = 256
"""Processes of one fleet; each has a loop of its own, and thousands of connections."""


class Fleet(Protocol):
    """Workers that begin together."""

    @property
    def workers(self) -> int: ...

    async def run(self, plan: Plan, run_name: str) -> Measurements:
        """Run the plan; return the sum of what all workers measured.

        Cancel: every worker breaks its streams off.
        """
        ...

    async def progress(self) -> WorkerProgress: ...

    async def stop(self, reason: str) -> None:
        """Start nothing more; what runs goes on to its end, and is reported."""
        ...

    async def aclose(self) -> None:
        """End the workers. Idempotent."""
        ...


class LocalFleet:
    """One worker, in this process and on its loop; also what each Ray actor of a larger fleet is."""

    workers = 1

    def __init__(self) -> None:
        self._worker: Worker | None = None

    async def run(
        self, plan: Plan, run_name: str, share: Share | None = None, start_at_s: float = 0.0
    ) -> Measurements:
        """See the port. Args: share, start_at_s: as one of several, see `Worker`."""
        self._worker = Worker(plan, share or Share(), run_name=run_name)
        return await self._worker.run(start_at_s)

    async def progress(self) -> WorkerProgress:
        return WorkerProgress() if self._worker is None else self._worker.progress()

    async def stop(self, reason: str) -> None:
        if self._worker is not None:
            self._worker.stop(reason)

    async def aclose(self) -> None:
        pass
