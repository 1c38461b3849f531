"""Which actors there are, how full they are, and where more are wanted. Decides; does nothing.

A carrier's free slots are its slots less what runs there less what was given away and has not begun.
A slot that was given away and never begins (its taker died, or its start was refused before it got
there) comes back after `RESERVATION_S`; a taker that is later still is refused by the carrier itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["RESERVATION_S", "CarrierState", "Pool"]

RESERVATION_S = 10.0

_STARTING_PER_NODE_MAX = 2
"""Actors that a node starts at once: a start is half a second of CPU, so more at once on a small
machine only makes each of them later."""


@dataclass(slots=True)
class CarrierState:
    """One completion actor as the registry knows it; times are monotonic seconds."""

    name: str
    node_id: str
    slots: int
    running: int = 0
    began: int = 0
    idle_since_s: float = 0.0
    reserved: deque[float] = field(default_factory=deque)

    @property
    def free(self) -> int:
        return self.slots - self.running - len(self.reserved)


class Pool:
    """The carriers of all nodes.

    Args:
        slots_per_carrier: of the carriers that are yet to start.
        carriers_warm: free carriers' worth of slots that each node grows towards, ahead of need.
        carriers_per_node: the ceiling of a node.
    """

    def __init__(
        self, *, slots_per_carrier: int, carriers_warm: int, carriers_per_node: int
    ) -> None:
        self._slots = slots_per_carrier
        self._carriers_per_node = carriers_per_node
        # One dense carrier has room for many: a whole spare one is enough ahead.
        warm = carriers_warm if slots_per_carrier == 1 else 1
        self._slots_warm = min(warm, carriers_per_node) * slots_per_carrier
        self._carriers: dict[str, CarrierState] = {}
        self._starting: dict[str, int] = {}
        self._nodes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Pool {len(self._carriers)} carriers on {len(self._nodes)} nodes>"

    def __contains__(self, name: str) -> bool:
        return name in self._carriers

    @property
    def carriers(self) -> tuple[CarrierState, ...]:
        return tuple(self._carriers.values())

    def set_nodes(self, nodes: Iterable[str]) -> None:
        self._nodes = tuple(nodes)

    def add(self, name: str, node_id: str, slots: int, *, now_s: float) -> None:
        self._carriers[name] = CarrierState(name, node_id, slots, idle_since_s=now_s)

    def remove(self, name: str) -> None:
        self._carriers.pop(name, None)

    def report(self, name: str, *, running: int, began: int, now_s: float) -> None:
        """Take a carrier's own figures: `began` counts all starts it ever took."""
        state = self._carriers.get(name)
        if state is None:
            return
        for _ in range(min(len(state.reserved), max(0, began - state.began))):
            state.reserved.popleft()
        state.began = began
        if running == 0 and state.running:
            state.idle_since_s = now_s
        state.running = running

    def take(self, node_id: str, count: int, *, now_s: float) -> list[str]:
        """Give away up to `count` slots, one name each: the caller's node first, the fullest first."""
        taken: list[str] = []
        for state in sorted(
            self._carriers.values(), key=lambda s: (s.node_id != node_id, -s.running, s.name)
        ):
            while state.free > 0 and len(taken) < count:
                state.reserved.append(now_s + RESERVATION_S)
                taken.append(state.name)
            if len(taken) == count:
                break
        return taken

    def expire(self, *, now_s: float) -> None:
        """Take back the slots that were given away and never begun."""
        for state in self._carriers.values():
            while state.reserved and state.reserved[0] <= now_s:
                state.reserved.popleft()

    def start_where(self, waiting: int) -> list[str]:
        """Return the nodes to start one carrier on each, counted as starting from now on.

        Args:
            waiting: slots that callers wait for beyond what is free.
        """
        chosen: list[str] = []
        for node_id in self._nodes:
            here = [s for s in self._carriers.values() if s.node_id == node_id]
            starting = self._starting.get(node_id, 0)
            free = sum(max(0, s.free) for s in here) + starting * self._slots
            while (
                free < self._slots_warm + waiting
                and starting < _STARTING_PER_NODE_MAX
                and len(here) + starting < self._carriers_per_node
            ):
                chosen.append(node_id)
                starting += 1
                free += self._slots
            self._starting[node_id] = starting
        return chosen

    def started(self, node_id: str) -> None:
        """A start on that node ended, well or badly."""
        self._starting[node_id] = max(0, self._starting.get(node_id, 0) - 1)

    def surplus(self, *, idle_s: float, now_s: float) -> list[str]:
        """Return carriers that have been idle for so long and are above what is kept warm."""
        chosen: list[str] = []
        for node_id in {s.node_id for s in self._carriers.values()}:
            here = [s for s in self._carriers.values() if s.node_id == node_id]
            free = sum(max(0, s.free) for s in here)
            for state in here:
                is_idle = state.free == state.slots and now_s - state.idle_since_s >= idle_s
                if is_idle and free - state.slots >= self._slots_warm:
                    chosen.append(state.name)
                    free -= state.slots
        return chosen
