"""Which carriers there are, how full they are, and who gets a slot. Decides; does nothing.

**Density is elastic**: a carrier carries `slots` completions while others are free. What finds none free
is given room beyond that (*shared*), up to `slots_max`, at the least loaded.

Slots are leased to replicas, which use one for a completion after the other without asking again. A
replica says every second which slots it has; those of one that has been silent for `LEASE_S` are
free again. A carrier's free slots are its slots less what is leased or runs there, whichever is
more: a completion goes on although the replica that started it let its slot go. Beside what runs, leases
that were granted and not yet used count. Where that guess is wrong for a moment, the carrier itself
refuses past its maximum.

A *retiring* carrier belongs to an earlier deploy: it finishes what it carries and gets nothing new.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.ports.registry import Slot

__all__ = ["LEASE_S", "CarrierState", "Pool", "SlotAsk"]

LEASE_S = 5.0


@dataclass(frozen=True, slots=True)
class SlotAsk:
    """A replica asks for up to `count` slots; it got `given` before. See `Registry.lease`."""

    replica: str
    node_id: str
    count: int
    given: int


@dataclass(slots=True)
class CarrierState:
    """A carrier as the registry knows it; times are the loop's seconds."""

    name: str
    node_id: str
    slots: int
    slots_max: int
    is_retiring: bool = False
    running: int = 0
    used_at_s: float = 0.0
    leased: dict[str, int] = field(default_factory=dict)  # by replica
    unused: int = 0  # of what was granted, as many as have not been seen to begin

    @property
    def taken(self) -> int:
        leased = sum(self.leased.values())
        return max(leased, self.running + min(leased, self.unused))

    @property
    def free(self) -> int:
        """How many more it carries by itself."""
        return 0 if self.is_retiring else max(0, self.slots - self.taken)

    @property
    def room(self) -> int:
        """How many more it carries at the most."""
        return 0 if self.is_retiring else max(0, self.slots_max - self.taken)

    @property
    def shared(self) -> int:
        """How many it carries beyond what it should."""
        return max(0, self.taken - self.slots)

    def hope(self, replica: str) -> int:
        """How many slots may come free since other replicas hold them and nothing runs there."""
        if self.is_retiring:
            return 0
        own = self.leased.get(replica, 0)
        leased = sum(self.leased.values())
        unused = min(leased - own, leased - self.running)
        return max(0, min(unused, self.slots - max(own, self.running)))


@dataclass(slots=True)
class _Replica:
    """`given` counts all slots it ever got, so that an answer in flight is not taken for a return.

    `granted` are the latest of them: they are given again to who asks as if it had not got them.
    """

    given: int
    heard_at_s: float
    granted_at_s: float
    granted: tuple[Slot, ...] = ()


class Pool:
    """The carriers of all nodes, and the leases of all replicas."""

    def __init__(self) -> None:
        self._carriers: dict[str, CarrierState] = {}
        self._replicas: dict[str, _Replica] = {}

    def __repr__(self) -> str:
        running = sum(state.running for state in self._carriers.values())
        return f"<Pool {len(self._carriers)} carriers, {running} running>"

    def __contains__(self, name: object) -> bool:
        return name in self._carriers

    def __getitem__(self, name: str) -> CarrierState:
        return self._carriers[name]

    @property
    def carriers(self) -> tuple[CarrierState, ...]:
        return tuple(self._carriers.values())

    def add(self, state: CarrierState) -> None:
        self._carriers[state.name] = state

    def remove(self, name: str) -> None:
        self._carriers.pop(name, None)

    def report(self, name: str, *, running: int, began: int, now_s: float) -> None:
        """Take a carrier's own figures: what runs, and how many began since it said so last."""
        state = self._carriers[name]
        state.running = running
        state.unused = max(0, state.unused - began)
        state.used_at_s = now_s

    def lease(self, ask: SlotAsk, *, shared: int, now_s: float) -> tuple[Slot, ...]:
        """Lease free slots, and for those that are lacking up to `shared` shared ones.

        Where the last answer was lost it is the same again, or those slots would stay taken; what of it
        is at a carrier that died meanwhile is not.
        """
        known = self._replicas.get(ask.replica)
        if known is not None and known.granted and known.given == ask.given + len(known.granted):
            living = tuple(slot for slot in known.granted if slot.carrier in self._carriers)
            if living:
                known.granted, known.given = living, ask.given + len(living)
                known.heard_at_s = now_s
                return living
        slots = self._free_slots(ask, now_s)
        slots += self._shared_slots(ask, min(shared, ask.count - len(slots)), now_s)
        if slots:
            given = ask.given + len(slots)
            self._replicas[ask.replica] = _Replica(given, now_s, now_s, tuple(slots))
        return tuple(slots)

    def renew(
        self, replica: str, held: Mapping[str, int], *, given: int, now_s: float
    ) -> list[str]:
        """Take a replica's word for the slots it has; what it does not name is free again.

        Args:
            given: how many slots it ever got. Where it got others, an answer was on its way when it
                spoke, and its word is too old to free anything; but an answer is not on its way for
                ever: it was lost, and the word stands.

        Returns: carriers at which it shall not use a slot again.
        """
        known = self._replicas.setdefault(replica, _Replica(given, now_s, now_s))
        known.heard_at_s = now_s
        if known.given == given or now_s - known.granted_at_s >= LEASE_S:
            known.given = given
            known.granted = ()
            for state in self._carriers.values():
                if held.get(state.name, 0) > 0:
                    state.leased[replica] = held[state.name]
                else:
                    state.leased.pop(replica, None)
        here = (self._carriers[name] for name in held if name in self._carriers)
        return [state.name for state in here if state.is_retiring or state.shared]

    def expire(self, *, now_s: float) -> None:
        """Free the slots of replicas that have been silent for too long."""
        silent = [r for r, known in self._replicas.items() if now_s - known.heard_at_s >= LEASE_S]
        for replica in silent:
            del self._replicas[replica]
            for state in self._carriers.values():
                state.leased.pop(replica, None)

    def hope(self, replica: str) -> int:
        """How many slots a replica may hope for since others hold them unused."""
        return sum(state.hope(replica) for state in self._carriers.values())

    def holders_of_hope(self, replica: str) -> set[str]:
        """Return the other replicas that hold what this one may hope for."""
        hopeful = (state for state in self._carriers.values() if state.hope(replica))
        return {holder for state in hopeful for holder in state.leased} - {replica}

    def surplus(self, *, idle_s: float, slots_warm: int, now_s: float) -> list[str]:
        """Return carriers to end: idle for so long and above what is kept warm, or retired."""
        chosen = [s.name for s in self._carriers.values() if s.is_retiring and s.taken == 0]
        free: dict[str, int] = {}
        for state in self._carriers.values():
            free[state.node_id] = free.get(state.node_id, 0) + state.free
        for state in self._carriers.values():
            is_idle = state.taken == 0 and now_s - state.used_at_s >= idle_s
            left = free[state.node_id] - state.slots
            if is_idle and not state.is_retiring and left >= slots_warm:
                chosen.append(state.name)
                free[state.node_id] = left
        return chosen

    def _free_slots(self, ask: SlotAsk, now_s: float) -> list[Slot]:
        """Take from the replica's own node first, and the fullest there."""
        slots: list[Slot] = []
        for state in sorted(
            (state for state in self._carriers.values() if state.free),
            key=lambda s: (s.node_id != ask.node_id, -s.taken, s.name),
        ):
            count = min(state.free, ask.count - len(slots))
            if count <= 0:
                break
            self._take(state, ask.replica, count, now_s)
            slots += [Slot(state.name)] * count
        return slots

    def _shared_slots(self, ask: SlotAsk, count: int, now_s: float) -> list[Slot]:
        """Take one after the other from whoever is the least loaded by then; its own node's on a par."""
        slots: list[Slot] = []
        loads = [
            (state.taken, state.node_id != ask.node_id, state.name, state)
            for state in self._carriers.values()
            if state.room
        ]
        heapq.heapify(loads)
        while loads and len(slots) < count:
            _, is_far, name, state = loads[0]
            self._take(state, ask.replica, 1, now_s)
            slots.append(Slot(name, is_shared=True))
            if state.room:
                heapq.heapreplace(loads, (state.taken, is_far, name, state))
            else:
                heapq.heappop(loads)
        return slots

    def _take(self, state: CarrierState, replica: str, count: int, now_s: float) -> None:
        state.leased[replica] = state.leased.get(replica, 0) + count
        state.unused += count
        state.used_at_s = now_s
