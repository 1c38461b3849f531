"""Who takes the ring down in order and brings it up again, dies of it at times, and redeploys.

After `down` comes the next `up`: every process is another one, over the same store.
"""

from __future__ import annotations

from contextlib import aclosing
from random import Random

from actors.ports.registry import REGISTRY_NAME
from actors.registry.draining import drain_ring
from actors.rpc.contracts import REGISTRY
from tests.simulation.processes import RING_ROLES, Role, SimProcess
from tests.simulation.ring import NODES, Ring
from tests.simulation.world import GRAIN_S

__all__ = ["Operator"]

_DRAIN_S = (0.0, 0.5, 3.0, 8.0)
_DIES = 0.4
"""How often whoever drains is killed meanwhile."""

_ORDER_S_MAX = 60.0
"""How long an order may take to reach a carrier: processes stop, and the network is slow."""

_EMPTY_S = 0.2
_ROLL_S = 0.5


class Operator:
    """`process` is where it lives; no other fault reaches it."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._world = ring.world
        self._rng = Random(ring.world.rng.getrandbits(64))
        self._process = self._new_process()
        self._is_busy = False

    def take_down(self, rng: Random) -> None:
        if not self._is_busy:
            self._is_busy = True
            dies_s = rng.choice((0.3, 2.0)) if rng.random() < _DIES else None
            self._process.run(self._take_down(rng.choice(_DRAIN_S)))
            if dies_s is not None:
                self._world.later(dies_s, self.leave)

    def leave(self) -> None:
        """Die, whatever is under way: nobody orders anything any more."""
        if self._is_busy:
            self._world.kill(self._process.loop)
            self._ring.network.died(self._process)
            self._ring.processes.by_loop.pop(self._process.loop, None)
            self._process = self._new_process()
            self._is_busy = False

    def redeploy(self) -> None:
        """Deploy other settings: another registry, which lets the carriers end, and other replicas."""
        ring = self._ring
        ring.deploys += 1
        for registry in ring.processes.of(Role.REGISTRY):
            ring.processes.kill(registry, is_fault=False)
        for replica in ring.processes.of(Role.REPLICA):
            if replica.stands and not replica.drains:
                ring.processes.roll(replica)
                self._world.later(_ROLL_S, lambda gone=replica: self._end_empty(gone))

    async def _take_down(self, timeout_s: float) -> None:
        ring = self._ring
        hurries_at_s = self._world.now_s + self._rng.choice((0.1, 1.0, 60.0))

        def is_hurried() -> bool:
            now_s = self._world.now_s
            if now_s >= min(hurries_at_s, cancels_at_s):
                ring.invariants.shuts_down_until_s = now_s + _ORDER_S_MAX
            return now_s >= hurries_at_s

        cancels_at_s = self._world.now_s + timeout_s - GRAIN_S
        async with aclosing(ring.peer(self._process, REGISTRY_NAME)) as peer:
            await drain_ring(REGISTRY.client(peer), timeout_s, is_hurried=is_hurried)
        for role in RING_ROLES:
            for process in ring.processes.of(role):
                ring.processes.kill(process, is_fault=False)
        self._is_busy = False

    def _end_empty(self, replica: SimProcess) -> None:
        """End a replica that drains when it has no request any more."""
        if replica.is_dead:
            return
        if replica.on_death:
            self._world.later(_EMPTY_S, lambda: self._end_empty(replica))
        else:
            self._ring.processes.kill(replica, is_fault=False)

    def _new_process(self) -> SimProcess:
        process = SimProcess(self._world, "operator", Role.CLIENTS, NODES[0], 0)
        self._ring.processes.by_loop[process.loop] = process
        return process
