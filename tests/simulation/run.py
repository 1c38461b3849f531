"""A run: storms of faults with clients in them, and between two storms a rest in which all must settle."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from actors.core.completion.transitions import TRANSITIONS
from tests.simulation.clients import Clients, Traffic
from tests.simulation.faults import Faults, Kind
from tests.simulation.invariants import Invariants
from tests.simulation.planted import planted
from tests.simulation.processes import Role
from tests.simulation.ring import Ring
from tests.simulation.world import Broken, World

__all__ = ["Outcome", "run", "transition_name"]

_STORM_STEPS = (1_500, 6_000)
_FEW_CLIENTS = 10
"""A storm with no more than these is a third as long: little happens at once."""

_SETTLE_S_MAX = 200.0
_REST_S_MAX = 120.0

_EXPECTED_LOGS = (
    "were not committed",  # the store was told to fail
    "planned:",
)


@dataclass
class Outcome:
    """What a run came to; `failure` is None where everything held."""

    seed: int
    steps: int
    failure: str | None
    trace: str
    seconds: float
    counted: dict[str, int] = field(default_factory=dict)
    completions: dict[str, int] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    transitions: dict[str, int] = field(default_factory=dict)
    transitions_missing: list[str] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    rests: int = 0
    texts: dict[str, int] = field(default_factory=dict)
    faults: list[int] = field(default_factory=list)


class _Run:
    def __init__(
        self,
        seed: int,
        steps: int,
        kinds: frozenset[Kind],
        clients: int | None,
        faults: frozenset[int] | None,
    ) -> None:
        self.world = World(seed)
        self.steps = steps
        self.invariants = Invariants(self.world)
        self.ring = Ring(self.world, self.invariants)
        self.invariants.ring = self.ring
        self.invariants.readers.network = self.ring.network
        self.faults = Faults(self.ring, kinds, faults)
        self.clients = Clients(self.ring)
        self.clients_max = clients
        self.rests = 0
        self.world.after_turn.append(lambda _loop: self.faults.look())

    def go(self) -> None:
        world, ring = self.world, self.ring
        ring.start()
        self._until("the ring stands", self._stands, 60.0)
        while world.steps < self.steps:
            self._storm()
            self._rest()

    def _storm(self) -> None:
        world = self.world
        self.clients.traffic = Traffic.drawn(world.rng, self.clients_max)
        self.clients.is_open = True
        self.faults.begin()
        steps = world.rng.randrange(*_STORM_STEPS)
        steps = steps // 3 if self.clients.traffic.clients <= _FEW_CLIENTS else steps
        end = min(world.steps + steps, self.steps)
        world.run(lambda: world.steps >= end)

    def _rest(self) -> None:
        self.clients.is_open = False
        self.faults.stop()
        active = self.clients.active
        self._until(
            lambda: f"clients wait for ever: {dict(list(active.items())[:5])}",
            lambda: not active,
            _SETTLE_S_MAX,
        )
        self._until(
            lambda: f"left over at rest: {self.invariants.left_over()[:3]}",
            lambda: not self.invariants.left_over(),
            _REST_S_MAX,
        )
        self._audit()
        self.invariants.started_with.clear()  # Of slots that were lost nobody tells.
        self.world.bury()
        if self.world.trouble:
            raise Broken(self.world.trouble[0])
        self.rests += 1

    def end(self) -> None:
        """Let nothing of it live on: what is swept up later would speak to whoever runs then."""
        for loop in list(self.ring.processes.by_loop):
            self.world.kill(loop)
        self.world.bury()

    def _stands(self) -> bool:
        processes = self.ring.processes
        roles = (Role.LEDGER, Role.REGISTRY, Role.REPLICA)
        return all(any(p.stands for p in processes.of(role)) for role in roles)

    def _until(self, what: Any, is_so: Any, within_s: float) -> None:
        """Run until it is so, looking twice a second of the world's time."""
        deadline_s = self.world.now_s + within_s
        while not is_so():
            if self.world.now_s > deadline_s:
                raise Broken(what() if callable(what) else f"not in time: {what}")
            self._pass(0.5)

    def _pass(self, seconds: float) -> None:
        end_s = self.world.now_s + seconds
        self.world.later(seconds, _nothing)
        self.world.run(lambda: self.world.now_s >= end_s)

    def _audit(self) -> None:
        from actors.ledger.store.audit import audit

        with self.ring.store.read() as connection:
            found = audit(connection)
        self.invariants.audit(found)
        if self.world.trouble:
            raise Broken(self.world.trouble[0])


def run(
    seed: int,
    steps: int,
    *,
    kinds: frozenset[Kind] = frozenset(Kind),
    clients: int | None = None,
    plant: str | None = None,
    faults: frozenset[int] | None = None,
    log: Any = None,
) -> Outcome:
    """Run so many steps, or until something is broken.

    Args:
        kinds: faults that may happen.
        clients: how many there are at once at the most; None leaves it to chance.
        faults: numbers of the faults that happen; None is all.
        plant: a bug of `planted` to put into the product.
        log: called with a line per step.
    """
    import time

    began_s = time.perf_counter()
    one = _Run(seed, steps, kinds, clients, faults)
    one.world.log = log
    failure = None
    # The bug first: it is of the product, and what watches that watches it as well.
    with one.world.clocks(), planted(plant), one.invariants.watching(), _logs(one.world):
        try:
            one.go()
        except Broken as broken:
            failure = str(broken)
        one.end()
        outcome = _outcome(one, failure, time.perf_counter() - began_s)
        world = one.world
        one.__dict__.clear()
        world.forget_all()
    return outcome


def _outcome(one: _Run, failure: str | None, seconds: float) -> Outcome:
    world, invariants = one.world, one.invariants
    taken = invariants.transitions
    return Outcome(
        seed=world.seed,
        steps=world.steps,
        failure=failure,
        trace=world.trace,
        seconds=seconds,
        counted=dict(world.counted),
        completions=dict(invariants.completions),
        deaths={role.value: n for role, n in one.ring.processes.deaths.items() if n},
        transitions={transition_name(pair): taken[pair] for pair in TRANSITIONS if taken[pair]},
        transitions_missing=[transition_name(pair) for pair in TRANSITIONS if not taken[pair]],
        refusals=dict(one.clients.errors),
        rests=one.rests,
        texts=dict(invariants.texts.seen),
        faults=one.faults.happened,
    )


def transition_name(pair: tuple[Any, type]) -> str:
    """Return how a key of `TRANSITIONS` is printed."""
    return f"{pair[0].value} + {pair[1].__name__}"


def _nothing() -> None:
    pass


@contextmanager
def _logs(world: World) -> Iterator[None]:
    """An error that the product logs is one that nobody meant to happen."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            text = f"{record.name}: {record.getMessage()}: {error!r}"
            if world.is_burying:
                return
            if not any(word in text for word in _EXPECTED_LOGS):
                world.trouble.append(f"logged as an error: {text}")

    roots = [logging.getLogger(name) for name in ("actors", "serve_app")]
    listener = Listener(logging.ERROR)
    was = [root.propagate for root in roots]
    for root in roots:
        root.addHandler(listener)
        root.propagate = False
    try:
        yield
    finally:
        for root, propagates in zip(roots, was, strict=True):
            root.removeHandler(listener)
            root.propagate = propagates
