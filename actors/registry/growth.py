"""Where carriers are started, ahead of need and for those who wait. Decides; does nothing.

A start is half a second of CPU, so a node that carries something starts one process at a time: what
runs must not pay for what nobody waits for. Streams that share have a place: they want no process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from actors.registry.pool import CarrierState

__all__ = ["Growth"]

_STARTING_MAX = 2
"""Processes that a node starts at once where it is idle or someone waits: more at once on a small machine
only makes each of them later."""


class Growth:
    """What is being started on each node, and what should be.

    Args:
        slots: of a carrier that is yet to start.
        carriers_warm: free carriers' worth of slots that each node grows towards.
        carriers_per_node: the ceiling of a node.
    """

    def __init__(self, *, slots: int, carriers_warm: int, carriers_per_node: int) -> None:
        # One dense carrier has room for many: a whole spare one is enough ahead.
        warm = carriers_warm if slots == 1 else 1
        self.slots_warm = min(warm, carriers_per_node) * slots
        self._slots = slots
        self._carriers_per_node = carriers_per_node
        self._nodes: tuple[str, ...] = ()
        self._starting: Counter[str] = Counter()

    def set_nodes(self, nodes: Iterable[str]) -> None:
        self._nodes = tuple(nodes)

    def start_where(self, carriers: Sequence[CarrierState], waiting: int) -> list[str]:
        """Return the nodes to start one carrier on each, counted as starting from now on.

        Args:
            waiting: slots that callers wait for and no carrier has room for.
        """
        chosen: list[str] = []
        for node_id in self._nodes:
            here = [state for state in carriers if state.node_id == node_id]
            while self._is_wanted(here, self._starting[node_id], waiting):
                chosen.append(node_id)
                self._starting[node_id] += 1
        return chosen

    def started(self, node_id: str) -> None:
        """A start on that node ended, well or badly."""
        self._starting[node_id] -= 1

    def _is_wanted(self, here: Sequence[CarrierState], starting: int, waiting: int) -> bool:
        is_busy = any(state.taken for state in here)
        at_once = 1 if is_busy and not waiting else _STARTING_MAX
        free = sum(state.free for state in here) + starting * self._slots
        serving = starting + sum(not state.is_retiring for state in here)
        # Retiring carriers count, but must not keep a node from having one that serves.
        has_place = len(here) + starting < self._carriers_per_node or serving == 0
        return starting < at_once and free < self.slots_warm + waiting and has_place
