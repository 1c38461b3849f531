"""What stands before the replicas: a worker per node, which carries requests and ends them all when it dies.

A worker that dies closes its connections first and is gone a moment later, and another takes its place.
One that waits for too long for a replica which stands still gives its requests up, and goes on living.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.core.completion.readers import ProxyLife
from tests.simulation.processes import SimProcess
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.replica_request import ReplicaRequest

__all__ = ["Proxies", "SimProxy"]

_DYING_S = 0.08
_BACK_S = (0.3, 2.0)


class SimProxy:
    """Args: name: as its header tells it."""

    def __init__(self, name: str, node_id: str) -> None:
        self.name = name
        self.node_id = node_id
        self.requests: dict[ReplicaRequest, None] = {}

    def __repr__(self) -> str:
        return f"<SimProxy {self.name}, {len(self.requests)} requests>"


class Proxies:
    """Every worker that there is; replicas ask it as `serve_app.http.leaving.LifeOfWorkers`."""

    def __init__(self, world: World, nodes: tuple[str, ...]) -> None:
        self._world = world
        self._number = 0
        self._gone: set[str] = set()
        self.deaths = 0
        self.living: dict[str, SimProxy] = {}
        for node_id in nodes:
            self._start(node_id)

    def draw(self, draw: Callable[[list[SimProxy]], SimProxy]) -> SimProxy | None:
        standing = list(self.living.values())
        return draw(standing) if standing else None

    def kill(self, proxy: SimProxy) -> None:
        self.deaths += 1
        del self.living[proxy.node_id]
        rng = self._world.rng
        self._world.later(rng.uniform(0.0, _DYING_S), lambda: self._gone.add(proxy.name))
        self._world.later(rng.uniform(*_BACK_S), lambda: self._start(proxy.node_id))
        for request in list(proxy.requests):
            request.cut()

    def give_up(self, replica: SimProcess) -> None:
        """End what waits for a replica, where that stands still."""
        if not replica.loop.is_frozen:
            return
        for proxy in self.living.values():
            for request in list(proxy.requests):
                if request.replica is replica:
                    request.cut()

    def saw(self, name: str | None) -> None:
        pass

    async def life(self, name: str | None, peer: str | None) -> ProxyLife:
        return ProxyLife.GONE if name in self._gone else ProxyLife.LIVES

    def _start(self, node_id: str) -> None:
        self._number += 1
        self.living[node_id] = SimProxy(f"{self._number} {node_id}", node_id)
