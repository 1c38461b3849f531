"""A drain: nothing new is taken, what runs may end, and what has not in time is cancelled.

Whoever takes the ring down orders it, again and again (`drain_ring`), and each order reaches the registry
and every carrier. So one that was lost, or a registry that was restarted in between, costs a moment; and
where the orders stop, since whoever gave them was killed, the drain lapses and all goes on as before.

The state here is one moment until which nothing is given away. That a carrier has nothing left it says
itself, and it takes nothing from then on, so a sum of nothing stays true while the orders go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from actors.core.errors import CompletionRuntimeError, Overloaded
from actors.ports.carrier import DRAIN_LEASE_S
from actors.ports.cluster import Cluster
from actors.ports.directory import CarrierLost, Carriers
from actors.ports.registry import Registry
from actors.registry.pool import CarrierState

__all__ = ["SETTLE_TIMEOUT_S", "Drain", "drain_ring", "refusal"]

SETTLE_TIMEOUT_S = 5.0
"""How long what was cancelled in the end may take to be settled, and to reach its readers."""

_RETRY_AFTER_S = 5.0
_CARRIER_TIMEOUT_S = 2.0
_REGISTRY_TIMEOUT_S = 4.0
_AGAIN_S = 0.25
_LAST_WORDS_S = 0.5
"""What replicas have got of the end they may still be writing to their readers."""


def refusal() -> Overloaded:
    """Return what a start is told meanwhile."""
    return Overloaded(
        "Midstream is shutting down: nothing new is started.", retry_after_s=_RETRY_AFTER_S
    )


class Drain:
    """The registry's part."""

    def __init__(self, carriers: Carriers, cluster: Cluster) -> None:
        self._carriers = carriers
        self._cluster = cluster
        self._until_s = 0.0

    @property
    def is_on(self) -> bool:
        return _now_s() < self._until_s

    def begin(self) -> None:
        """Begin it, or keep it going."""
        self._until_s = _now_s() + DRAIN_LEASE_S

    async def left(
        self, pool: Iterable[CarrierState], not_ours: Iterable[str], *, cancels: bool
    ) -> int:
        """Tell every carrier; return how many completions are not over."""
        told = [self.told(state, cancels=cancels) for state in pool]
        return sum(await asyncio.gather(*told, *map(self._is_busy, not_ours)))

    async def told(self, state: CarrierState, *, cancels: bool) -> int:
        """Tell one carrier; return how many completions are not over there, 1 at least if it does not say."""
        try:
            async with asyncio.timeout(_CARRIER_TIMEOUT_S):
                return await self._carriers.link(state.name).drain(cancels=cancels)
        except CarrierLost:
            return 0
        except (CompletionRuntimeError, TimeoutError):
            return max(1, state.running)

    async def _is_busy(self, name: str) -> bool:
        """Say whether a carrier of another release, which cannot be told, carries something."""
        try:
            async with asyncio.timeout(_CARRIER_TIMEOUT_S):
                return not await self._cluster.is_idle(name)
        except CarrierLost:
            return False
        except (CompletionRuntimeError, TimeoutError):
            return True


async def drain_ring(
    registry: Registry, timeout_s: float, *, is_hurried: Callable[[], bool] = lambda: False
) -> int:
    """Let what runs end for so long, or until somebody hurries, then cancel the rest and wait for its end.

    Args:
        is_hurried: asked again and again.

    Returns: how many completions were not over when even that had taken too long; 1 where nobody knows.
    """
    loop = asyncio.get_running_loop()
    cancels_at_s = loop.time() + timeout_s
    ends_at_s: float | None = None
    has_waited = False
    while True:
        cancels = is_hurried() or loop.time() >= cancels_at_s
        if cancels and ends_at_s is None:
            ends_at_s = loop.time() + SETTLE_TIMEOUT_S
        left = await _ordered(registry, cancels=cancels)
        if not left or (ends_at_s is not None and loop.time() >= ends_at_s):
            if has_waited:
                await asyncio.sleep(_LAST_WORDS_S)
            return left
        has_waited = True
        await asyncio.sleep(_AGAIN_S)


async def _ordered(registry: Registry, *, cancels: bool) -> int:
    try:
        async with asyncio.timeout(_REGISTRY_TIMEOUT_S):
            return await registry.drain(cancels=cancels)
    except (CompletionRuntimeError, CarrierLost, TimeoutError):
        return 1  # It is being restarted: what runs goes on, and it is told again.


def _now_s() -> float:
    return asyncio.get_running_loop().time()
