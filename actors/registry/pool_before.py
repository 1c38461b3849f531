"""Which actors there are, how full they are, and where more are wanted. Decides; does nothing.

Slots are leased to replicas, which use one for a completion after the other without asking again. A
replica says every second which slots it has; those of one that has been silent for `LEASE_S` are
free again. A carrier's free slots are its slots less what is leased or runs there, whichever is
more: a completion goes on although the replica that started it let its slot go. Where that guess is
wrong for a moment, the carrier itself refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["LEASE_S", "CarrierState", "Pool"]

LEASE_S = 5.0

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
    used_at_s: float = 0.0
    leased: dict[str, int] = field(default_factory=dict)  # by replica

    @property
    def taken(self) -> int:
        return max(self.running, sum(self.leased.values()))

    @property
    def free(self) -> int:
        return max(0, self.slots - self.taken)


@dataclass(slots=True)
class _Replica:
    """`given` counts all slots it ever got, so that an answer in flight is not taken for a return.

    `granted` are the latest of them: they are given again to who asks as if it had not got them.
    """

    given: int
    heard_at_s: float
    granted: tuple[str, ...] = ()


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
        self._replicas: dict[str, _Replica] = {}
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
        self._carriers[name] = CarrierState(name, node_id, slots, used_at_s=now_s)

    def remove(self, name: str) -> None:
        self._carriers.pop(name, None)

    def report(self, name: str, *, running: int, now_s: float) -> None:
        """Take a carrier's own figure."""
        state = self._carriers.get(name)
        if state is not None:
            state.running = running
            state.used_at_s = now_s

    def lease(
        self, replica: str, node_id: str, count: int, *, given: int, now_s: float
    ) -> list[str]:
        """Lease up to `count` slots, one name each: the replica's node first, the fullest first.

        Args:
            given: how many slots the replica ever got before these. As many as last time mean that
                the answer was lost: it is the same again, or those slots would stay taken.
        """
        known = self._replicas.get(replica)
        if known is not None and known.granted and known.given == given + len(known.granted):
            known.heard_at_s = now_s
            return list(known.granted)
        names: list[str] = []
        for state in sorted(
            self._carriers.values(), key=lambda s: (s.node_id != node_id, -s.taken, s.name)
        ):
            slots = min(state.free, count - len(names))
            if slots > 0:
                state.leased[replica] = state.leased.get(replica, 0) + slots
                state.used_at_s = now_s
                names += [state.name] * slots
            if len(names) == count:
                break
        self._replicas[replica] = _Replica(given + len(names), now_s, tuple(names))
        return names

    def renew(self, replica: str, held: Mapping[str, int], *, given: int, now_s: float) -> None:
        """Take a replica's word for the slots it has; what it does not name is free again.

        Args:
            given: how many slots it ever got. Where it got more, an answer was on its way when it
                spoke, and its word is too old to free anything.
        """
        known = self._replicas.setdefault(replica, _Replica(given, now_s))
        known.heard_at_s = now_s
        if known.given != given:
            return
        for state in self._carriers.values():
            if held.get(state.name):
                state.leased[replica] = held[state.name]
            else:
                state.leased.pop(replica, None)

    def expire(self, *, now_s: float) -> None:
        """Free the slots of replicas that have been silent for too long."""
        silent = [r for r, known in self._replicas.items() if now_s - known.heard_at_s >= LEASE_S]
        for replica in silent:
            del self._replicas[replica]
            for state in self._carriers.values():
                state.leased.pop(replica, None)

    def start_where(self, waiting: int) -> list[str]:
        """Return the nodes to start one carrier on each, counted as starting from now on.

        Args:
            waiting: slots that callers wait for beyond what is free.
        """
        chosen: list[str] = []
        for node_id in self._nodes:
            here = [s for s in self._carriers.values() if s.node_id == node_id]
            starting = self._starting.get(node_id, 0)
            free = sum(s.free for s in here) + starting * self._slots
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
            free = sum(s.free for s in here)
            for state in here:
                is_idle = state.taken == 0 and now_s - state.used_at_s >= idle_s
                if is_idle and free - state.slots >= self._slots_warm:
                    chosen.append(state.name)
                    free -= state.slots
        return chosen
