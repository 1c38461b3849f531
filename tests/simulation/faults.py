"""What goes wrong, and when: drawn from the seed, each kind of it can be switched off."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from tests.simulation.processes import Role, SimProcess
from tests.simulation.ring import Ring

__all__ = ["Faults", "Kind"]


class Kind(StrEnum):
    KILL_REPLICA = "kill-replica"
    KILL_REGISTRY = "kill-registry"
    KILL_CARRIER = "kill-carrier"
    KILL_LEDGER = "kill-ledger"
    FREEZE = "freeze"
    CUT = "cut"
    SILENCE = "silence"
    CLOCK = "clock"
    COMMIT = "commit"
    SLOW = "slow"


_PRESENT = 0.6
"""How likely a kind of fault is to be of a storm."""

_GAP_STEPS = (60, 190)
_OTHERS = 0.4
"""How often another fault comes beside a death of each role."""

_ROLES = {
    Kind.KILL_REPLICA: Role.REPLICA,
    Kind.KILL_REGISTRY: Role.REGISTRY,
    Kind.KILL_CARRIER: Role.CARRIER,
    Kind.KILL_LEDGER: Role.LEDGER,
}
_RING = (Role.REPLICA, Role.REGISTRY, Role.CARRIER, Role.LEDGER)


class Faults:
    """Args: kinds: which may happen at all."""

    def __init__(self, ring: Ring, kinds: frozenset[Kind]) -> None:
        self._ring = ring
        self._world = ring.world
        self._may = [kind for kind in Kind if kind in kinds]
        self._kinds: list[Kind] = []
        self._next_at_step = 0
        self._rounds = 0
        self.is_on = False

    def begin(self) -> None:
        """Begin a storm, of some kinds of faults: what one hides another storm shows."""
        self.is_on = True
        self._kinds = [kind for kind in self._may if self._world.chance(_PRESENT)]

    def look(self) -> None:
        """Let something go wrong if it is time for it."""
        world = self._world
        if not self.is_on or world.steps < self._next_at_step or not self._kinds:
            return
        self._next_at_step = world.steps + world.rng.randrange(*_GAP_STEPS)
        weights = [1.0 if kind in _ROLES else _OTHERS for kind in self._kinds]
        self._do(world.rng.choices(self._kinds, weights)[0])

    def stop(self) -> None:
        """Make everything well again, but for what died."""
        self.is_on = False
        self._rounds += 1
        ring = self._ring
        ring.commit_faults = 0.0
        ring.network.late = 0.02
        ring.network.restore_all()
        for process in ring.processes.by_name.values():
            self._thaw(process)

    def _do(self, kind: Kind) -> None:
        rng, ring = self._world.rng, self._ring
        if kind in _ROLES:
            living = [p for p in ring.processes.of(_ROLES[kind]) if p.stands]
            if living:
                victim = rng.choice(living)
                self._world.step("fault", f"{kind.value} {victim.name}")
                ring.processes.kill(victim)
            return
        living = [p for role in _RING for p in ring.processes.of(role) if p.stands]
        if len(living) < 2:
            return
        one, other = rng.sample(living, 2)
        self._world.step("fault", f"{kind.value} {one.name} {other.name}")
        match kind:
            case Kind.FREEZE:
                self._freeze(one, rng.choice((0.05, 0.5, 3.0, 8.0)))
            case Kind.CUT:
                ring.network.cut(one, other)
            case Kind.SILENCE:
                ring.network.silence(one, other)
                self._after(rng.choice((0.2, 2.0, 7.0)), lambda: ring.network.restore(one, other))
            case Kind.CLOCK:
                one.loop.wall_offset_s += rng.choice((-30.0, -0.5, 0.5, 5.0))
                if abs(one.loop.wall_offset_s) > 40.0:
                    one.loop.wall_offset_s = 0.0
            case Kind.COMMIT:
                ring.commit_faults = 0.4
                self._after(rng.choice((0.1, 1.0, 3.0)), self._commits_work)
            case Kind.SLOW:
                ring.network.late = 0.5
                self._after(1.0, self._is_quick)

    def _commits_work(self) -> None:
        self._ring.commit_faults = 0.0

    def _is_quick(self) -> None:
        self._ring.network.late = 0.02

    def _freeze(self, process: SimProcess, for_s: float) -> None:
        if not process.loop.is_frozen:
            process.frozen_at_s = self._world.now_s
            self._world.freeze(process.loop)
            self._world.later(for_s, lambda: self._thaw(process))

    def _thaw(self, process: SimProcess) -> None:
        if process.loop.is_frozen:
            process.frozen_s += self._world.now_s - process.frozen_at_s
            self._world.thaw(process.loop)

    def _after(self, delay_s: float, act: Callable[[], None]) -> None:
        """Mend it later, unless everything was mended meanwhile."""
        rounds = self._rounds
        self._world.later(delay_s, lambda: act() if rounds == self._rounds else None)
