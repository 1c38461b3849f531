"""What must hold of texts: what readers were shown is in the record, also where the owner died.

Two rules are for what is lost, each where nothing else stood in the way just then (`disturbed` is told what
does): a replica that lives and mirrors it has all of its mirror in the record; and what was in the log for
longer than a checkpoint takes is there although nobody else had it. A third is for all: a record's events
are the log's, and whoever read to the end has read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

from actors.core.completion.event_log import EventLog
from actors.core.events import BlockFinished, Event, Finished
from actors.core.record import CompletionRecord
from actors.core.request import Retention
from actors.ledger.losing import HOLD_EXPIRED, OWNER_DIED
from actors.ledger.store.transaction import Transaction
from actors.ports.ledger import Checkpoint, Settlement
from tests.simulation.processes import Role, SimProcess
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.invariants import Invariants

__all__ = ["EVERYBODY", "LEDGER", "NO_END_S", "Texts"]

LEDGER = "completion-ledger"
EVERYBODY = "*"

_HEARD_S = 1.2
"""A witness that could speak for so long before the verdict was heard."""

_KEPT_S = 3.0
"""A checkpoint a second, one that meets a full queue, and the way there."""

_SETTLES_S = 1.5
"""Until the record of what has ended is there."""

NO_END_S = 1e9
_MENDED_S = 0.3
"""What was broken may take so long to be as before."""


class Texts:
    """Args: invariants: whose owners and logs these are the texts of."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self.world = world
        self.seen: Counter[str] = Counter()  # how often each rule was held to
        self._all = invariants
        self._disturbed: list[tuple[float, float, str]] = []
        # When each log had how many events.
        self._grew: WeakKeyDictionary[EventLog, list[tuple[float, int]]] = WeakKeyDictionary()
        self._deaths: dict[str, tuple[SimProcess, float]] = {}  # owners', by completion
        self._witnesses: dict[str, list[tuple[SimProcess, Any]]] = {}
        self._lost: dict[str, tuple[Event, ...]] = {}  # the records of what was lost
        self._kept: dict[str, int] = {}  # events at the ledger; of a commit that failed, too
        self._pending: list[Settlement] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        add, keep = Transaction.add_record, Transaction.add_checkpoint

        def added(transaction: Transaction, settled: Settlement, *args: Any, **kwargs: Any) -> None:
            self._pending.append(settled)
            add(transaction, settled, *args, **kwargs)

        def kept(transaction: Transaction, stretch: Checkpoint) -> None:
            self._kept[stretch.completion_id] = stretch.first + stretch.count
            keep(transaction, stretch)

        with (
            patch.object(Transaction, "add_record", added),
            patch.object(Transaction, "add_checkpoint", kept),
        ):
            yield

    def disturbed(self, names: Iterable[str], for_s: float) -> None:
        """These processes do not do, or hear, what they should for so long."""
        now_s = self.world.now_s
        self._disturbed = [one for one in self._disturbed if one[1] > now_s - 20.0]
        self._disturbed += [(now_s, now_s + for_s, name) for name in names]

    def mended(self, name: str | None = None) -> None:
        """That process works again; all do where none is named."""
        end_s = self.world.now_s + _MENDED_S
        self._disturbed = [
            (since_s, min(to_s, end_s) if name in (None, whose) else to_s, whose)
            for since_s, to_s, whose in self._disturbed
        ]

    def grew(self, log: EventLog) -> None:
        self._grew.setdefault(log, []).append((self.world.now_s, len(log)))

    def died(self, process: SimProcess, carried: Iterable[str]) -> None:
        if process.role is Role.LEDGER:
            self.disturbed([LEDGER], NO_END_S)
        for completion_id in carried:
            self._deaths[completion_id] = process, self.world.now_s
            self._witnesses[completion_id] = list(self._mirrors(process.name, completion_id))

    def forget(self, completion_id: str) -> None:
        for known in (self._deaths, self._witnesses, self._lost, self._kept):
            known.pop(completion_id, None)

    def _mirrors(self, carrier: str, completion_id: str) -> Iterator[tuple[SimProcess, Any]]:
        for replica in self._all.ring.processes.of(Role.REPLICA):
            if replica.stands:
                read = replica.service._mirrors._reading.get(carrier, {})
                if completion_id in read:
                    yield replica, read[completion_id]

    # Records.

    def committed(self, is_kept: bool) -> None:
        settled, self._pending = self._pending, []
        for one in settled if is_kept else ():
            self._check(CompletionRecord.from_bytes(one.body))

    def _check(self, record: CompletionRecord) -> None:
        completion_id, log = record.header.completion_id, self._log(record)
        end = record.finished
        if log is None or end is None:
            return
        if record.header.retention is Retention.RECEIPT:
            if len(record.events) > 1:
                self._all.broken(f"{completion_id} is written down, and may not be")
            return
        kept = _common(record.events, log)
        rest = record.events[kept:-1]
        if any(not isinstance(event, BlockFinished) or event.is_complete for event in rest):
            self._all.broken(f"the record of {completion_id} has what is not in the log: {rest}")
        if end.error in (OWNER_DIED, HOLD_EXPIRED):
            if completion_id in self._deaths:
                self._lost[completion_id] = record.events
                self._check_witnesses(completion_id, kept)
                self._check_checkpoints(completion_id, kept)
            return
        if kept < len(log):
            self._all.broken(f"{completion_id} is settled with {kept} of {len(log)} events")
        self._check_was_kept(completion_id)

    def _check_witnesses(self, completion_id: str, kept: int) -> None:
        now_s = self.world.now_s
        owner, _ = self._deaths[completion_id]
        if not owner.is_known_dead:
            return
        for replica, mirror in self._witnesses[completion_id]:
            events = [event for event in mirror.events if not isinstance(event, Finished)]
            is_read = mirror.readers > 0 and bool(events)  # Else nobody was shown any of it.
            if replica.is_dead or not is_read:
                continue
            if not self.was_calm(replica.name, now_s, _HEARD_S):
                continue
            self.seen["witnessed"] += 1
            if len(events) > kept:
                self._all.broken(
                    f"{replica.name} mirrors {len(events)} events of {completion_id}, "
                    f"and {kept} of them are in its record"
                )

    def _check_checkpoints(self, completion_id: str, kept: int) -> None:
        owner, died_at_s = self._deaths[completion_id]
        if not self.was_calm(owner.name, died_at_s, _KEPT_S):
            return
        grown = self._grew.get(self._all.logs[completion_id], ())
        old = [count for at_s, count in grown if at_s <= died_at_s - _KEPT_S]
        if old and old[-1] > 1:
            self.seen["checkpointed"] += 1
            if old[-1] > kept:
                self._all.broken(
                    f"{completion_id} had {old[-1]} events for {_KEPT_S} s when its owner died, "
                    f"and {kept} of them are in its record"
                )

    def _check_was_kept(self, completion_id: str) -> None:
        """What ends well was kept as well, as long as it ran."""
        owner, now_s = self._all.owners.get(completion_id, (None, None))[0], self.world.now_s
        since_s = _KEPT_S + _SETTLES_S
        if owner is None or owner.is_dead or not self.was_calm(owner.name, now_s, since_s):
            return
        grown = self._grew.get(self._all.logs[completion_id], ())
        old = [count for at_s, count in grown if at_s <= now_s - since_s]
        if old and old[-1] > 1:
            self.seen["kept"] += 1
            if old[-1] > self._kept.get(completion_id, 0):
                self._all.broken(
                    f"{completion_id} had {old[-1]} events for {since_s} s, "
                    f"and {self._kept.get(completion_id, 0)} of them were kept"
                )

    def was_calm(self, name: str, until_s: float, for_s: float) -> bool:
        return not any(
            since_s < until_s and to_s > until_s - for_s and whose in (name, LEDGER, EVERYBODY)
            for since_s, to_s, whose in self._disturbed
        )

    def _log(self, record: CompletionRecord) -> tuple[Event, ...] | None:
        log = self._all.logs.get(record.header.completion_id)
        if log is None:
            return None
        events = log.read_after(-1, len(log))
        return tuple(event for event in events if not isinstance(event, Finished))

    # Readers.

    def read(self, completion_id: str, first: int, events: Sequence[Event]) -> bool:
        """Whether a reader that got these, from `first` on, got the record of a loss.

        One that had been shown more than could be saved is told the end alone.
        """
        lost = self._lost.get(completion_id)
        if lost is None or not isinstance(events[-1], Finished):
            return False
        log = self._all.logs[completion_id]
        if _common(lost, log.read_after(-1, len(log))) >= first:
            if tuple(events) != lost[first:]:
                self._all.broken(f"a reader of {completion_id} did not read what is recorded")
        elif any(not isinstance(event, BlockFinished | Finished) for event in events):
            self._all.broken(f"a reader of {completion_id} was told more than there is")
        return True


def _common(one: Sequence[Event], other: Sequence[Event]) -> int:
    count = 0
    for ours, theirs in zip(one, other, strict=False):
        if ours != theirs:
            break
        count += 1
    return count
