"""What goes wrong, and when: drawn from the seed, each kind of it can be switched off."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from random import Random

from actors.ledger.client import PATIENCE_S
from tests.simulation.operator import Operator
from tests.simulation.processes import RING_ROLES, Role, SimProcess
from tests.simulation.ring import NODES, Ring
from tests.simulation.texts import EVERYBODY, LEDGER, NO_END_S

__all__ = ["Faults", "Kind"]


class Kind(StrEnum):
    KILL_REPLICA = "kill-replica"
    KILL_REGISTRY = "kill-registry"
    KILL_CARRIER = "kill-carrier"
    KILL_LEDGER = "kill-ledger"
    KILL_NODE = "kill-node"
    FAIL_OVER = "fail-over"
    KILL_PROXY = "kill-proxy"
    STALL = "stall"
    FREEZE = "freeze"
    HANG = "hang"
    CUT = "cut"
    SILENCE = "silence"
    CLOCK = "clock"
    COMMIT = "commit"
    SLOW = "slow"
    DRAIN = "drain"
    REDEPLOY = "redeploy"


_PRESENT = 0.6
"""How likely a kind of fault is to be of a storm."""

_GAP_STEPS = (80, 190)
_SOON_STEPS = 10
"""Until the next one, where there was nobody for it to befall."""

_WEIGHTS = {
    Kind.KILL_REPLICA: 1.4,
    Kind.KILL_REGISTRY: 1.8,
    Kind.KILL_CARRIER: 0.8,
    Kind.KILL_LEDGER: 1.8,
    Kind.KILL_NODE: 1.0,
    Kind.FAIL_OVER: 0.6,
    Kind.KILL_PROXY: 2.0,
    Kind.STALL: 1.0,
    Kind.SLOW: 0.8,
    Kind.DRAIN: 0.5,
}
_OTHERS = 0.3
"""How often another fault comes, beside those."""

_STALLS_S = (3.0, 3.0, 10.0)
_PATIENCE_S = 2.2
"""After as long the proxies end what waits for a replica that stands still: it knows then that it has."""

_CUTS_S = (0.0, 0.01, 0.02, 0.04)

_NODES_KILLED = (NODES[0], NODES[0], NODES[0], NODES[1])
"""The first has ledger and registry."""

_ROLES = {
    Kind.KILL_REPLICA: Role.REPLICA,
    Kind.KILL_REGISTRY: Role.REGISTRY,
    Kind.KILL_CARRIER: Role.CARRIER,
    Kind.KILL_LEDGER: Role.LEDGER,
}


class Faults:
    """Args:
    kinds: which may happen at all.
    only: the numbers of those that happen; all where it is None.
    """

    def __init__(self, ring: Ring, kinds: frozenset[Kind], only: frozenset[int] | None) -> None:
        self._ring = ring
        self._world = ring.world
        self._operator = Operator(ring)
        self._may = [kind for kind in Kind if kind in kinds]
        self._kinds: list[Kind] = []
        self._only = only
        # Its own: a fault that is left out shifts nothing of what else is drawn.
        self._rng = Random(ring.world.rng.getrandbits(64))
        self._number = 0
        self.happened: list[int] = []
        self._hung: list[SimProcess] = []
        self._next_at_step = 0
        self._rounds = 0
        self.is_on = False

    def begin(self) -> None:
        """Begin a storm, of some kinds of faults: what one hides another storm shows."""
        self.is_on = True
        self._kinds = [kind for kind in self._may if self._rng.random() < _PRESENT]

    def look(self) -> None:
        """Let something go wrong if it is time for it."""
        world = self._world
        if not self.is_on or world.steps < self._next_at_step or not self._kinds:
            return
        self._next_at_step = world.steps + self._rng.randrange(*_GAP_STEPS)
        weights = [_WEIGHTS.get(kind, _OTHERS) for kind in self._kinds]
        kind = self._rng.choices(self._kinds, weights)[0]
        self._number += 1
        if self._only is None or self._number in self._only:
            self.happened.append(self._number)
            self._do(kind)

    def stop(self) -> None:
        """Make everything well again, but for what died."""
        self.is_on = False
        self._rounds += 1
        ring = self._ring
        self._operator.leave()
        ring.commit_faults = 0.0
        ring.network.late = 0.02
        ring.network.restore_all()
        for process in ring.processes.by_name.values():
            self._thaw(process)
        ring.invariants.texts.mended()

    def _do(self, kind: Kind) -> None:
        rng, ring = self._rng, self._ring
        living = [p for role in RING_ROLES for p in ring.processes.of(role) if p.stands]
        if kind in _ROLES or kind is Kind.KILL_NODE:
            self._kill(kind, living)
            return
        if kind in (Kind.FAIL_OVER, Kind.HANG):
            self._fail_over(living) if kind is Kind.FAIL_OVER else self._hang(living)
            return
        if kind in (Kind.DRAIN, Kind.REDEPLOY):
            self._world.step("fault", kind.value)
            self._operator.redeploy() if kind is Kind.REDEPLOY else self._operator.take_down(rng)
            return
        if not living:
            return
        role = rng.choice(sorted({process.role for process in living}))
        one = rng.choice([process for process in living if process.role is role])
        spoken_with = list(dict.fromkeys(end.peer.process for end in one.connections))
        other = rng.choice(spoken_with or [one])
        self._world.step("fault", f"{kind.value} {one.name} {other.name}")
        disturbed = ring.invariants.texts.disturbed
        match kind:
            case Kind.KILL_PROXY:
                self._kill_proxy()
            case Kind.STALL:
                self._stall([p for p in living if p.role is Role.REPLICA])
            case Kind.FREEZE:
                for_s = rng.choice((0.05, 0.5, 3.0, 8.0))
                disturbed([one.name], for_s)
                self._freeze(one, for_s)
            case Kind.CUT:
                disturbed([one.name, other.name], 1.0)
                for after_s in _CUTS_S:  # A call that is made again may be cut again.
                    self._world.later(after_s, lambda: ring.network.cut(one, other))
            case Kind.SILENCE:
                ring.network.silence(one, other)
                for_s = rng.choice((0.2, 2.0, 7.0))
                disturbed([one.name, other.name], for_s + 1.0)
                self._after(for_s, lambda: ring.network.restore(one, other))
            case Kind.CLOCK:
                one.loop.wall_offset_s += rng.choice((-30.0, -0.5, 0.5, 5.0))
                if abs(one.loop.wall_offset_s) > 40.0:
                    one.loop.wall_offset_s = 0.0
            case Kind.COMMIT:
                ring.commit_faults = 0.4
                for_s = rng.choice((0.1, 1.0, 3.0))
                disturbed([LEDGER], for_s)
                self._after(for_s, self._commits_work)
            case Kind.SLOW:
                ring.network.late = 0.5
                for_s = rng.choice((1.0, 3.0))
                disturbed([EVERYBODY], for_s)
                self._after(for_s, self._is_quick)

    def _kill(self, kind: Kind, living: list[SimProcess]) -> None:
        if kind is Kind.KILL_NODE:
            node_id = self._rng.choice(_NODES_KILLED)
            victims = [p for p in living if p.node_id == node_id]
        else:
            those = [p for p in living if p.role is _ROLES[kind]]
            victims = [self._rng.choice(those)] if those else []
        if not victims:
            self._next_at_step = self._world.steps + _SOON_STEPS
            return
        self._world.step("fault", f"{kind.value} {victims[0].name}")
        for victim in victims:
            self._ring.processes.kill(victim)

    def _hang(self, living: list[SimProcess]) -> None:
        """A carrier beside the registry does nothing any more, for ever: one at a time."""
        victims = [p for p in living if p.role is Role.CARRIER and p.node_id == NODES[0]]
        if not victims or any(not process.is_dead for process in self._hung):
            self._next_at_step = self._world.steps + _SOON_STEPS
            return
        victim = self._rng.choice(victims)
        self._world.step("fault", f"{Kind.HANG.value} {victim.name}")
        self._hung.append(victim)
        self._ring.invariants.hung[victim] = self._world.now_s
        self._ring.invariants.texts.disturbed([victim.name], NO_END_S)
        self._world.freeze(victim.loop)

    def _fail_over(self, living: list[SimProcess]) -> None:
        """The ledger's node is taken for dead, and lives: a second ledger is started on another node."""
        old = next((process for process in living if process.role is Role.LEDGER), None)
        if old is None:
            self._next_at_step = self._world.steps + _SOON_STEPS
            return
        self._world.step("fault", f"{Kind.FAIL_OVER.value} {old.node_id}")
        for_s = self._rng.choice((0.0, 0.5, 3.0, 8.0))
        # Who has asked the old one waits for it as long as it has patience.
        self._ring.invariants.texts.disturbed([EVERYBODY], for_s + PATIENCE_S["checkpoint"] + 1.0)
        self._ring.invariants.texts.disturbed([LEDGER], NO_END_S)
        self._freeze(old, for_s)
        other = next(node_id for node_id in NODES if node_id != old.node_id)
        self._ring.processes.start(old.name, Role.LEDGER, other)

    def _kill_proxy(self) -> None:
        proxy = self._ring.proxies.draw(self._rng.choice)
        if proxy is not None:
            self._ring.proxies.kill(proxy)

    def _commits_work(self) -> None:
        self._ring.commit_faults = 0.0

    def _is_quick(self) -> None:
        self._ring.network.late = 0.02

    def _freeze(self, process: SimProcess, for_s: float) -> None:
        if not process.loop.is_frozen:
            process.frozen_at_s = self._world.now_s
            self._world.freeze(process.loop)
            self._world.later(for_s, lambda: self._thaw(process))

    def _stall(self, replicas: list[SimProcess]) -> None:
        """Let a replica stand still for so long that the proxies end what waits for it."""
        if replicas:
            replica = self._rng.choice(replicas)
            self._freeze(replica, self._rng.choice(_STALLS_S))
            self._world.later(_PATIENCE_S, lambda: self._ring.proxies.give_up(replica))

    def _thaw(self, process: SimProcess) -> None:
        if process.loop.is_frozen and process not in self._hung:
            process.frozen_s += self._world.now_s - process.frozen_at_s
            process.thawed_at_s = self._world.now_s
            self._world.thaw(process.loop)

    def _after(self, delay_s: float, act: Callable[[], None]) -> None:
        """Mend it later, unless everything was mended meanwhile."""
        rounds = self._rounds
        self._world.later(delay_s, lambda: act() if rounds == self._rounds else None)
