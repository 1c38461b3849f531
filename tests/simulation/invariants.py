"""What must hold after every step, kept up with every change instead of looked up; and what is left at rest.

The books here are a fold over the journal entries that were committed, independent of the ledger's own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

from actors.completion.carrier import Carrier
from actors.completion.driver import CompletionDriver
from actors.core.completion.machine import Completion
from actors.core.completion.transitions import TRANSITIONS, CancelRequested
from actors.core.errors import LedgerBusy, OtherDeploy, Overloaded
from actors.core.events import CancelSource, Event, Finished
from actors.core.money.journal import Entry, EntryKind
from actors.core.record import CompletionRecord
from actors.core.request import StartCommand
from actors.ledger.service import LedgerService
from actors.ledger.store.transaction import Transaction
from actors.ports.carrier import DRAIN_LEASE_S
from actors.ports.registry import REGISTRY_NAME, Slot
from actors.registry.pool import Pool
from actors.registry.service import RegistryService
from actors.replica.slots import Slots
from actors.replica.starts import Starts
from tests.simulation.bounds import lowered, passed
from tests.simulation.process_loop import ProcessLoop
from tests.simulation.processes import Role, SimProcess
from tests.simulation.reader_book import ReaderBook
from tests.simulation.strangers import spoiling
from tests.simulation.texts import LEDGER, Texts
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.ring import Ring

__all__ = ["Invariants"]

_VERDICT_S_MAX = 120.0
"""How long a completion may be without an owner while faults go on."""

_HUNG_S_MAX = 17.0
"""How long a carrier may hang beside a registry that is well."""

_LOOK_EVERY = 64

_UNCLAIMED_S_MAX = 40.0
"""A lease, and however long the registry and the replica may not have spoken with one another."""


class Invariants:
    """Told of what happens by hooks in the product's own classes; see `watching`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ring: Ring
        self.transitions: Counter[tuple[Any, type]] = Counter()
        self.completions: Counter[str] = Counter()  # resolved holds, by kind
        self.credits: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.placed: dict[str, tuple[str, int]] = {}  # open holds: team, amount
        self.resolved: dict[str, int] = {}
        self.owners: dict[str, tuple[SimProcess, CompletionDriver]] = {}
        self.unowned: dict[str, float] = {}  # open holds that nobody carries, since when
        self.terminals: dict[str, Finished] = {}
        self.logs: dict[str, Any] = {}
        self.texts = Texts(world, self)
        self.hung: dict[SimProcess, float] = {}  # carriers, since when
        self.starting: Counter[SimProcess] = Counter()  # starts under way, by replica
        self.started_with: dict[int, tuple[Slot, str]] = {}  # what each slot was last used for
        self.readers = ReaderBook(world, self.broken)
        self._unclaimed_since_s: dict[tuple[str, str], float] = {}
        self._pending: list[Entry] = []
        self._exempt = {"free"}
        self._looks = 0
        self.drains_until_s: WeakKeyDictionary[Carrier, float] = WeakKeyDictionary()
        self.shuts_down_until_s = 0.0  # what runs may be cancelled: somebody ordered it

    def broken(self, message: str) -> None:
        self.world.trouble.append(message)

    # Hooks.

    @contextmanager
    def watching(self) -> Iterator[None]:
        add_entries, handle = Transaction.add_entries, Completion.handle
        lease, start_on, release = Pool.lease, Starts._start_on, Slots.release
        drain_one, drain = Carrier.drain, RegistryService.drain

        def add(transaction: Transaction, journal: list[Entry]) -> None:
            self._pending += journal
            add_entries(transaction, journal)

        def handled(completion: Completion, input: Any, *, now_ns: int) -> Any:
            before, length = completion.stream, len(completion.log)
            was_finished = completion.log.finished is not None
            is_shut_down = input == CancelRequested(CancelSource.SHUTDOWN)
            if is_shut_down and self.world.now_s > self.shuts_down_until_s:
                self.broken("a shutdown that nobody ordered cancels what runs")
            effects = handle(completion, input, now_ns=now_ns)
            if len(completion.log) != length:
                self.texts.grew(completion.log)
            if (before, type(input)) in TRANSITIONS:
                self.transitions[before, type(input)] += 1
            if before.is_terminal and completion.stream is not before:
                self.broken(f"a terminal state changed: {before} to {completion.stream}")
            if was_finished and len(completion.log) != length:
                self.broken("a log grew after its end")
            return effects

        def leased(pool: Pool, ask: Any, *, shared: int, now_s: float) -> Any:
            before = {state.name: sum(state.leased.values()) for state in pool.carriers}
            slots = lease(pool, ask, shared=shared, now_s=now_s)
            self._check_leases(pool, before)
            return slots

        async def told(carrier: Carrier, *, cancels: bool) -> int:
            left = await drain_one(carrier, cancels=cancels)
            self.drains_until_s[carrier] = asyncio.get_running_loop().time() + DRAIN_LEASE_S
            return left

        async def draining(registry: RegistryService, *, cancels: bool) -> int:
            left = await drain(registry, cancels=cancels)
            self.drained(registry, left)
            return left

        def starting(starts: Starts, slot: Slot, command: StartCommand) -> Any:
            self.started_with[id(slot)] = slot, command.completion_id
            return start_on(starts, slot, command)

        def released(slots: Slots, slot: Slot, *, is_free: bool) -> None:
            self._slot_released(slot, is_free=is_free)
            release(slots, slot, is_free=is_free)

        hooks: tuple[tuple[type, str, Any], ...] = (
            (Carrier, "drain", told),
            (RegistryService, "drain", draining),
            (Starts, "_start_on", starting),
            (Slots, "release", released),
            (Pool, "lease", leased),
            (Transaction, "add_entries", add),
            (Completion, "handle", handled),
        )
        self.world.after_turn.append(self.after_turn)
        with ExitStack() as stack:
            for place, name, hook in hooks:
                stack.enter_context(patch.object(place, name, hook))
            stack.enter_context(self.texts.watching())
            stack.enter_context(self.readers.watching())
            stack.enter_context(spoiling(self))
            stack.enter_context(lowered())
            yield

    # Money.

    def committed(self, is_kept: bool) -> None:
        """A transaction ended: what it wrote stands, or never was."""
        entries, self._pending = self._pending, []
        self.texts.committed(is_kept)
        if not is_kept:
            return
        for entry in entries:
            self._fold(entry)
        for team in {entry.team for entry in entries}:
            self._check_team(team)

    def _fold(self, entry: Entry) -> None:
        team, amount, hold = entry.team, entry.amount_microcredits, entry.hold_id
        match entry.kind:
            case EntryKind.GRANT:
                self.credits[team] += amount
                return
            case EntryKind.PLACE:
                assert hold is not None
                if hold in self.placed or hold in self.resolved:
                    self.broken(f"{hold} was placed twice")
                self.placed[hold] = (team, amount)
                self.held[team] += amount
                if hold not in self.owners:
                    self.unowned[hold] = self.world.now_s
                return
        assert hold is not None
        if hold not in self.placed:
            self.broken(f"{entry.kind.value} of {hold}, whose hold was resolved or never was")
            return
        _, before = self.placed[hold]
        if entry.kind is EntryKind.EXTEND:
            self.placed[hold] = (team, before + amount)
            self.held[team] += amount
            return
        if entry.kind is EntryKind.POST:
            if amount > before:
                self.broken(f"{hold} was charged {amount}, and {before} was held")
            self.credits[team] -= amount
        elif amount != before:
            self.broken(f"{amount} of {before} came back of {hold}")
        if entry.kind is EntryKind.VOID and self._runs(hold):
            self.broken(f"{hold} was given up while {self.owners[hold][0].name} carries it")
        self.held[team] -= before
        del self.placed[hold]
        self.unowned.pop(hold, None)
        self.resolved[hold] = amount if entry.kind is EntryKind.POST else 0
        self.completions[entry.kind.value] += 1

    def _runs(self, completion_id: str) -> bool:
        """Whether a living carrier has it and its stream has not ended."""
        process, driver = self.owners.get(completion_id, (None, None))
        if process is None or driver is None or process.is_dead:
            return False
        return not driver.completion.stream.is_terminal

    def _check_team(self, team: str) -> None:
        row = self.ring.store.balance_row(team)
        ours = (self.credits[team], self.held[team])
        if row != ours:
            self.broken(f"the books of {team} say {row}, the entries {ours}")
        if team not in self._exempt and not 0 <= ours[1] <= ours[0]:
            self.broken(f"{team} holds {ours[1]} of {ours[0]}")

    def ledger_stands(self, service: LedgerService) -> None:
        self._pending = []
        self.texts.mended(LEDGER)

    # Owners.

    def began(self, process: SimProcess, driver: CompletionDriver) -> None:
        completion_id = driver.header.completion_id
        self.owners[completion_id] = (process, driver)
        if self._drains(process):
            self.broken(f"{completion_id} begins at {process.name}, that drains")
        self.logs[completion_id] = driver.completion.log
        self.unowned.pop(completion_id, None)

    def freed(self, process: SimProcess, driver: CompletionDriver) -> None:
        completion_id = driver.header.completion_id
        self.owners.pop(completion_id, None)
        if completion_id in self.placed:
            self.unowned[completion_id] = self.world.now_s
            refusal = driver._placed.exception() if driver._placed.done() else None
            if isinstance(refusal, Overloaded) and not isinstance(
                refusal, LedgerBusy | OtherDeploy
            ):
                self.broken(f"{process.name} let go of {completion_id}, whose hold is open")

    def died(self, process: SimProcess) -> None:
        carried = [c for c, (p, _) in self.owners.items() if p is process]
        self.texts.died(process, carried)
        for completion_id in carried:
            del self.owners[completion_id]
            if completion_id in self.placed:
                self.unowned[completion_id] = self.world.now_s

    def is_ended(self, process: SimProcess) -> None:
        """The registry ends a carrier."""
        if process.stands and process.service.running and process not in self.hung:
            self.broken(f"{process.name} is ended, and carries {process.service!r}")

    def drained(self, registry: RegistryService, left: int) -> None:
        """The registry has told its carriers to drain, and says how many completions are not over."""
        for state in registry._pool.carriers if not left else ():
            process = self.ring.processes.by_name.get(state.name)
            if process and process.stands and self._drains(process) and process.service.running:
                self.broken(f"a drain says that nothing runs, and {process.service!r} does")

    def _drains(self, process: SimProcess) -> bool:
        return process.loop.time() < self.drains_until_s.get(process.service, 0.0)

    # Readers.

    def read(self, completion_id: str, first: int, events: Sequence[Event]) -> None:
        """A reader got these events; the first of them is number `first` of what it read."""
        log = self.logs.get(completion_id)
        if log is None:
            self.broken(f"{completion_id} is read, and nobody ever began it")
            return
        if not events:
            self.broken(f"a reader of {completion_id} was woken for nothing")
        *before, last = events
        if any(isinstance(event, Finished) for event in before):
            self.broken(f"{completion_id} goes on after its end")
        theirs = before if isinstance(last, Finished) else events
        if self.texts.read(completion_id, first, events):
            theirs = []
        if theirs and tuple(log.read_after(first - 1, len(theirs))) != tuple(theirs):
            self.broken(f"a reader of {completion_id} read from {first} what is not in the log")
        if isinstance(last, Finished):
            self.ended(completion_id, last)

    def ended(self, completion_id: str, end: Finished) -> None:
        """Somebody was told that it ended so."""
        known = self.terminals.setdefault(completion_id, end)
        if known != end:
            self.broken(f"{completion_id} ended twice: {known} and {end}")
        charged = self.resolved.get(completion_id)
        if charged is None:
            self.broken(f"{completion_id} was told as ended before it was settled")
        elif end.charge.total_microcredits != charged:
            self.broken(
                f"{completion_id} says {end.charge.total_microcredits}, and was charged {charged}"
            )
        if end.usage.completion_tokens > self.ring.told[completion_id]:
            self.broken(f"{completion_id} counts more tokens than its provider sent")

    def record(self, completion_id: str, record: CompletionRecord) -> None:
        if record.header.completion_id != completion_id:
            self.broken(f"{completion_id} was asked for, {record.header.completion_id} given")
        if record.finished is not None:
            self.ended(completion_id, record.finished)

    def forget(self, completion_id: str) -> None:
        """Nobody asks for it any more."""
        self.logs.pop(completion_id, None)
        self.texts.forget(completion_id)
        self.terminals.pop(completion_id, None)
        self.readers.forget(completion_id)

    # After each turn.

    def after_turn(self, loop: ProcessLoop) -> None:
        process = self.ring.processes.by_loop.get(loop)
        if process is None or process.is_dead or process.service is None:
            return
        if process.role is Role.REPLICA:
            self._check_slots(process)
        elif process.role is Role.CARRIER:
            self._check_carrier(process.name, process.service)
        if (bound := passed(process)) is not None:
            self.broken(f"{process.name}: {bound}")
        self._looks += 1
        if self._looks % _LOOK_EVERY == 0:
            self._check_verdicts()
            self._check_hung()
            if process.role is Role.REGISTRY:
                self._check_claims(process)

    def _check_claims(self, process: SimProcess) -> None:
        """What the registry has leased, a replica holds; or it was silent, and is heard of no more."""
        now_s, unclaimed = self.world.now_s, {}
        for state in process.service._pool.carriers:
            for name, count in state.leased.items():
                replica = self.ring.processes.by_name.get(name)
                runtime = replica.service if replica is not None else None
                if runtime is None or runtime._slots._leases._held[state.name] < count:
                    unclaimed[name, state.name] = now_s
        before = self._unclaimed_since_s
        self._unclaimed_since_s = {key: before.get(key, now_s) for key in unclaimed}
        for (name, carrier), since_s in self._unclaimed_since_s.items():
            if now_s - since_s > _UNCLAIMED_S_MAX:
                self.broken(f"{name} has slots of {carrier} for the registry, and does not know it")

    def _check_carrier(self, name: str, carrier: Carrier) -> None:
        if len(carrier._running) > self.ring.settings.slots_max:
            self.broken(f"{name} carries {len(carrier._running)}")
        for source in carrier._channels.values():
            if source._dirty and not source._wake.is_set() and source._started_wait is None:
                self.broken(f"{name} has news for a reader, and nothing will send it")

    def _check_slots(self, process: SimProcess) -> None:
        runtime = process.service
        leases = runtime._slots._leases
        held, idle = leases._held, leases._idle
        used = runtime._starts._slots_used
        in_use = sum(held.values()) - len(idle)
        known = len(used) + self.starting[process] + len(runtime._starts._leaving)
        if in_use > known:
            self.broken(f"{process.name} lost a slot: {in_use} in use, {known} known")
        if in_use < 0:
            self.broken(f"{process.name} has more idle slots than it holds")
        counts: dict[str, int] = {}
        for slot in used.values():
            counts[slot.carrier] = counts.get(slot.carrier, 0) + 1
        for slot, _ in idle:
            counts[slot.carrier] = counts.get(slot.carrier, 0) + 1
        for carrier, count in counts.items():
            if count > held.get(carrier, count):
                self.broken(f"{process.name} has {count} slots of {carrier} for {held[carrier]}")

    def _slot_released(self, slot: Slot, *, is_free: bool) -> None:
        """A slot that is said to be free is: what was started with it has ended, or never began."""
        _, completion_id = self.started_with.pop(id(slot), (None, None))
        if not is_free or completion_id is None or completion_id in self.resolved:
            return
        if self._runs(completion_id) and self.owners[completion_id][0].name == slot.carrier:
            self.broken(f"a slot of {slot.carrier} is free, and {completion_id} runs in it")

    def _check_leases(self, pool: Pool, before: dict[str, int]) -> None:
        """Where slots were granted there was room for them.

        What replicas say that they hold may be more than there is: the registry was away, or took one for
        dead that was only slow. It grants nothing on top of that, and the carrier refuses.
        """
        for state in pool.carriers:
            leased = sum(state.leased.values())
            if leased > before[state.name] and leased > max(state.slots_max, state.slots):
                self.broken(f"{leased} slots of {state.name} are leased, of {state.slots_max}")

    def _check_verdicts(self) -> None:
        now_s = self.world.now_s
        for completion_id, since_s in self.unowned.items():
            if now_s - since_s > _VERDICT_S_MAX:
                self.broken(f"{completion_id} is open and nobody's for {_VERDICT_S_MAX} s")
                return

    def _check_hung(self) -> None:
        registry = self.ring.processes.by_name.get(REGISTRY_NAME)
        for process, since_s in tuple(self.hung.items()):
            if process.is_dead:
                del self.hung[process]
            elif registry is None or not registry.stands or registry.born_at_s + 6.0 > since_s:
                continue  # A new one looks for it longer.
            elif self.world.now_s - since_s > _HUNG_S_MAX and self.texts.was_calm(
                REGISTRY_NAME, self.world.now_s, _HUNG_S_MAX
            ):
                self.broken(f"{process.name} hangs and is not ended")

    # At rest.

    def left_over(self) -> list[str]:
        """Return what is still held, waited for or remembered, although nothing runs."""
        left: list[str] = []
        processes = self.ring.processes
        if self.placed:
            left.append(f"open holds: {sorted(self.placed)[:3]}")
        for replica in processes.of(Role.REPLICA):
            if not replica.stands:
                left.append(f"{replica.name} does not stand")
                continue
            runtime = replica.service
            leases = runtime._slots._leases
            if leases._held or leases._idle or leases._waiting:
                left.append(f"{replica.name}: {leases!r}")
            if runtime._mirrors._reading:
                left.append(f"{replica.name}: {runtime._mirrors!r}")
            if runtime._starts._slots_used:
                left.append(f"{replica.name} uses slots: {runtime._starts._slots_used}")
        for carrier in processes.of(Role.CARRIER):
            if carrier.stands:
                inner = carrier.service
                if inner._drivers or inner._running:
                    left.append(f"{carrier.name}: {inner!r} {sorted(inner._drivers)[:2]}")
        for registry in processes.of(Role.REGISTRY):
            if not registry.stands:
                left.append("no registry")
                continue
            service = registry.service
            if registry.loop.time() < service._drain._until_s:
                left.append("the registry drains")
            for state in service._pool.carriers:
                if state.leased or state.running:
                    left.append(f"the registry has {state}")
            located = len(service._locations)
            if located:
                left.append(f"the registry still locates {located}")
        return left

    def audit(self, found: dict[str, Any]) -> None:
        if not found["ok"]:
            self.broken(f"the audit says {found}")
