"""Workers that are Ray actors, spread over the nodes of a cluster. The only file here with Ray.

Each node has its share of the workers, and each worker its own process, loop and connections, so load
comes from as many machines as the cluster has. The actors belong to this driver: they end with it,
however it ends. A worker that dies ends the run with one sentence.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import ray

from actors.cluster.node import ClusterError, join, leave, start_private
from actors.loadtest.fleet import WORKERS_MAX, LocalFleet
from actors.loadtest.metrics import Measurements
from actors.loadtest.plan import Plan, Share
from actors.loadtest.target import LoadError
from actors.loadtest.worker import WorkerProgress

__all__ = ["RayFleet", "open_ray_fleet"]

_OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Nothing but figures travels through it; Ray itself wants some 75 MiB."""

_READY_TIMEOUT_S = 60.0
_PROGRESS_TIMEOUT_S = 5.0
_HEAD_START_S = 0.5
"""From the call that starts the workers to the run's start, which all of them meet in time."""


class RayFleet:
    """The handles of the workers. Made by `open_ray_fleet`.

    Args: directory: of a private Ray; gone when the fleet is closed.
    """

    def __init__(self, handles: list[Any], directory: Path) -> None:
        self._handles = handles
        self._directory = directory

    @property
    def workers(self) -> int:
        return len(self._handles)

    async def run(self, plan: Plan, run_name: str) -> Measurements:
        start_at_s = time.time() + _HEAD_START_S
        runs = [
            handle.run.remote(plan, run_name, Share(index, self.workers), start_at_s)
            for index, handle in enumerate(self._handles)
        ]
        try:
            parts = await asyncio.gather(*(_awaited(run) for run in runs))
        except asyncio.CancelledError:
            for run in runs:
                ray.cancel(run)
            raise
        return Measurements.merged(parts)

    async def progress(self) -> WorkerProgress:
        asked = [_awaited(handle.progress.remote()) for handle in self._handles]
        try:
            async with asyncio.timeout(_PROGRESS_TIMEOUT_S):
                return WorkerProgress.total(await asyncio.gather(*asked))
        except TimeoutError:
            return WorkerProgress()

    async def stop(self, reason: str) -> None:
        await asyncio.gather(*(_awaited(handle.stop.remote(reason)) for handle in self._handles))

    async def aclose(self) -> None:
        handles, self._handles = self._handles, []
        for handle in handles:
            ray.kill(handle)
        if handles:
            _leave(self._directory)


def open_ray_fleet(address: str, workers: int) -> RayFleet:
    """Join a Ray cluster, or start a private one, and put the workers on it. Blocking.

    Args:
        address: of the cluster, `auto` for the one of this machine, "" for a private one.
        workers: 0 is one for each CPU that the cluster has; at most `WORKERS_MAX`.

    Raises: LoadError: the cluster cannot be joined, or the workers did not come up.
    """
    directory = Path(tempfile.mkdtemp(prefix="ms-load-"))
    try:
        _join(address, directory)
        return RayFleet(_workers(workers), directory)
    except BaseException:
        _leave(directory)
        raise


def _leave(directory: Path) -> None:
    leave()
    shutil.rmtree(directory, ignore_errors=True)


def _workers(workers: int) -> list[Any]:
    cpus = int(ray.cluster_resources().get("CPU", 1))
    number = workers or max(1, min(cpus, WORKERS_MAX))
    actor = ray.remote(LocalFleet).options(num_cpus=0, scheduling_strategy="SPREAD", max_restarts=0)
    handles = [actor.remote() for _ in range(number)]
    try:
        ray.get([handle.progress.remote() for handle in handles], timeout=_READY_TIMEOUT_S)
    except ray.exceptions.RayError as error:
        raise LoadError(f"The workers did not come up: {type(error).__name__}.") from None
    return handles


def _join(address: str, directory: Path) -> None:
    try:
        if address:
            join(address, is_verbose=False)
        else:
            start_private(directory, object_store_bytes=_OBJECT_STORE_BYTES, is_verbose=False)
    except ClusterError as error:
        raise LoadError(str(error)) from None


async def _awaited(reference: Any) -> Any:
    """Raises: LoadError: the worker's process is gone, or its code failed."""
    try:
        return await reference
    except ray.exceptions.RayTaskError as error:
        raise LoadError(f"A worker failed: {type(error.cause).__name__}: {error.cause}") from None
    except ray.exceptions.RayError as error:
        raise LoadError(f"A worker was lost: {type(error).__name__}.") from None
