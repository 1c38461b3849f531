"""The ledger as a service on one event loop: everything that `actors.ports.accounts.Ledger` promises.

What changes something is an operation that travels in a group commit (`bookkeeping`); what only
reads runs in the store's reading threads and never waits for a commit. No Ray here, and no rule:
those are `actors.core.money.rules`'s and `bookkeeping`'s.

Durability: a call that changes something is answered after its commit. `Overloaded` means that the
ledger cannot say whether it was done. Every call may then be made again and does nothing twice, but
for a new key and for a grant without an id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from actors.core.errors import CompletionRuntimeError, Overloaded
from actors.core.record import CompletionRecord
from actors.core.request import IdempotencyKey
from actors.ledger import administration, deleting, placing, reads, settling, upkeep
from actors.ledger.accounts import LedgerAccounts, raised
from actors.ledger.books import Books
from actors.ledger.checks import check_placement, check_text
from actors.ledger.group_commit import BATCH_MAX, QUEUE_MAX, GroupCommit
from actors.ledger.made_again import sealed
from actors.ledger.settlement import PackedSettlement
from actors.ledger.store import Store
from actors.ledger.store.batch import Batch
from actors.ledger.writer import LedgerWriter, Operation
from actors.ports.ledger import (
    CompletionKey,
    HoldExtension,
    HoldPlacement,
    Located,
    Placed,
    Settlement,
)
from actors.ports.runtime import CompletionFilter, CompletionRow, RememberedCancellation
from actors.settings import Settings

__all__ = ["LedgerService", "Settled"]

_EVENTS_INLINE_MAX = 1_000
"""Records up to this length are encoded on the loop (some 2 ms); longer ones in a thread."""

_PASSES_MAX = 32
"""Passes of each kind in one housekeeping; the rest waits for the next."""

Settled = CompletionRecord | CompletionRuntimeError | None
"""What settling a completion came to; see `LedgerService.settle_many`."""


class LedgerService(LedgerAccounts):
    """The single writer of a store.

    Args:
        store: opened for this service, which closes it.
        clock: wall clock, seconds since 1970.
        batch_max, queue_max: see `group_commit`.
    """

    def __init__(
        self,
        store: Store,
        *,
        settings: Settings,
        clock: Callable[[], float],
        batch_max: int = BATCH_MAX,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        """Read the books. Blocks, and needs no running loop.

        Raises: what the store raises.
        """
        writer = LedgerWriter(store, now_s=clock)
        writer.load()
        super().__init__(
            writer,
            GroupCommit(writer.apply, batch_max=batch_max, queue_max=queue_max),
            reads.ReadingThreads(store),
        )
        self._store = store
        self._settings = settings
        self._clock = clock
        self._is_draining = False

    def __repr__(self) -> str:
        books = self._writer.books
        return f"<LedgerService open={len(books.open)} teams={len(books.teams)} {self._commits!r}>"

    # Holds.

    async def place(self, placement: HoldPlacement) -> Placed:
        """Place a hold durably; see `actors.ports.ledger.HoldLedger`.

        The same placement again, while its completion runs, is answered as the first time.
        """
        return raised((await self.place_many([placement]))[0])

    async def place_many(
        self, placements: Sequence[HoldPlacement]
    ) -> list[Placed | CompletionRuntimeError]:
        """Place holds in this order; return an answer or an error for each.

        Cancel: the holds may have been placed.
        """
        if self._is_draining:
            return [Overloaded("Midstream is shutting down.") for _ in placements]
        seal_key = self._store.seal_key
        return await self._commits.submit_many(
            [_placing(placement, seal_key) for placement in placements]
        )

    async def extend(self, extension: HoldExtension) -> int:
        """Extend an open hold durably; see `actors.ports.ledger.HoldLedger`."""
        return raised((await self.extend_many([extension]))[0])

    async def extend_many(
        self, extensions: Sequence[HoldExtension]
    ) -> list[int | CompletionRuntimeError]:
        """Extend holds in this order; return what is held then, or an error, for each.

        Cancel: they may have been extended.
        """
        return await self._commits.submit_many(
            [partial(placing.extend, extension=extension) for extension in extensions]
        )

    async def settle(self, settlement: Settlement) -> CompletionRecord:
        """Resolve a hold and keep the record; see `actors.ports.ledger.HoldLedger`.

        Raises:
            IllegalTransition: more is charged than was held, or the record is not terminal.
            CompletionNotFound: there is a charge, and never was a hold.
        """
        record = raised((await self.settle_many([settlement]))[0])
        assert record is not None, "Only a packed settlement is answered with None."
        return record

    async def settle_many(
        self, settlements: Sequence[Settlement | PackedSettlement]
    ) -> list[Settled]:
        """Settle in this order; return for each the record that stands, or an error.

        A packed settlement is answered with None where its own record stands, which spares the way
        back; it is what a carrier sends, so that encoding is not the single writer's work.
        Cancel: they may have been settled.
        """
        packed = [await self._packed(settlement) for settlement in settlements]
        outcomes = await self._commits.submit_many([self._settling(one) for one in packed])
        return [
            _stands(settlement, outcome)
            for settlement, outcome in zip(settlements, outcomes, strict=True)
        ]

    async def lose(self, actor: str) -> list[str]:
        """Fail the open completions of a dead actor; return their ids. Idempotent."""
        return await self._until_done(
            partial(settling.lose_actor, actor=actor, settings=self._settings), settling.LOST_MAX
        )

    async def lose_completions(self, completion_ids: list[str]) -> list[str]:
        """Fail those of these completions that are open; return their ids. Idempotent."""
        return await self._until_done(
            partial(settling.lose, completion_ids=completion_ids, settings=self._settings),
            settling.LOST_MAX,
        )

    # Completions.

    async def find(self, key: CompletionKey) -> Located | None:
        """Return where a completion is; None where it is unknown, deleted, or its record evicted."""
        return await self._reads.run(reads.find, key)

    async def find_by_id(self, completion_id: str) -> Located | None:
        """Return where a completion is; None where it is unknown or its record was evicted."""
        return await self._reads.run(reads.find_by_id, completion_id)

    async def record(self, completion_id: str) -> CompletionRecord:
        """Return the record of a settled completion.

        Raises: CompletionNotFound: unknown, still running, or its record was evicted.
        """
        return await self._reads.run(reads.record, completion_id)

    async def open_completions(self) -> list[Located]:
        """Return every completion that runs, as committed."""
        return await self._reads.run(reads.open_completions)

    async def find_started(self, key: CompletionKey, again: IdempotencyKey) -> Located | None:
        """Return the completion that this start is taken for, None where it starts anew.

        Args:
            key: its wire id is what the client chose, where it chose one.
        Raises: IdempotencyConflict, CompletionIdInUse: see `bookkeeping.made_again`.
        """
        seal = sealed(again, self._store.seal_key)
        return await self._reads.run(reads.find_started, key, seal, self._clock())

    async def list_completions(
        self, where: CompletionFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[CompletionRow], str | None]:
        """Return a page, newest first, and the cursor of the next, None at the end.

        Raises: InvalidRequest: the limit is not 1 to 1,000, or the cursor is not one of ours.
        """
        return await self._reads.run(reads.list_completions, where, limit, cursor)

    async def delete(self, key: CompletionKey) -> None:
        """Drop the content of a settled completion; a record without it stays.

        Raises:
            CompletionNotFound: unknown, or its content was dropped already.
            NotCancellable: it runs: cancel it first.
        """
        # Made by a reader: decoding a long record is not the single writer's work.
        remains = await self._reads.run(reads.remains, key)
        await self._commit(partial(deleting.delete, remains=remains))

    async def remember_cancellation(self, key: CompletionKey) -> RememberedCancellation:
        """Keep a cancellation for a completion that is yet to start.

        Raises:
            CompletionIdInUse: it has started meanwhile: cancel it.
            RateLimited: the team has as many waiting as it may.
            InvalidRequest: no completion can have such a name.
        """
        check_text(key.wire_id, "message_id")
        return await self._commit(partial(administration.remember_cancellation, key=key))

    # Upkeep.

    async def audit(self) -> dict[str, Any]:
        """Check balances, holds, completions and records against the journal; see `store.audit`."""
        return await self._reads.run(reads.audit)

    async def housekeeping(self) -> dict[str, int]:
        """Expire holds, evict records, remove old claims; return how many of each."""
        expire = partial(settling.expire, settings=self._settings)
        evict = partial(upkeep.remove_records, settings=self._settings)
        return {
            "expired": len(await self._until_done(expire, settling.LOST_MAX)),
            "evicted": await self._passes(evict, upkeep.PASS_MAX),
            "claims": await self._passes(upkeep.remove_claims, upkeep.PASS_MAX),
        }

    async def describe(self) -> dict[str, Any]:
        """Return counters: what is open, what waits, how much is kept."""
        books = self._writer.books
        return {
            "teams": len(books.teams),
            "completions_open": len(books.open),
            "records_bytes": books.records_bytes,
            "operations_waiting": self._commits.waiting,
            "operations": self._commits.operations,
            "batches": self._commits.batches,
            "is_draining": self._is_draining,
        }

    async def drain(self) -> None:
        """Refuse new holds; returns when what was asked before is committed. Idempotent.

        What runs may still be settled.
        """
        self._is_draining = True
        await self._commit(lambda _books, _batch: None)

    async def close(self) -> None:
        """Commit what waits, close the store and give back its lock. Idempotent."""
        await self._commits.aclose()
        await self._reads.aclose()
        await asyncio.to_thread(self._store.close)

    async def _packed(self, settlement: Settlement | PackedSettlement) -> Any:
        if isinstance(settlement, PackedSettlement):
            return settlement
        try:
            if len(settlement.record.events) <= _EVENTS_INLINE_MAX:
                return PackedSettlement.of(settlement)
            return await asyncio.to_thread(PackedSettlement.of, settlement)
        except CompletionRuntimeError as error:
            return error

    def _settling(self, packed: PackedSettlement | CompletionRuntimeError) -> Operation:
        if isinstance(packed, CompletionRuntimeError):
            return _refusing(packed)
        return partial(settling.settle, settled=packed, settings=self._settings)

    async def _until_done(
        self, operation: Callable[[Books, Batch], list[str]], pass_max: int
    ) -> list[str]:
        done: list[str] = []
        while True:
            found = await self._commit(operation)
            done += found
            if len(found) < pass_max:
                return done

    async def _passes(self, operation: Callable[[Books, Batch], int], pass_max: int) -> int:
        done = 0
        for _ in range(_PASSES_MAX):
            found = await self._commit(operation)
            done += found
            if found < pass_max:
                break
        return done


def _placing(placement: HoldPlacement, seal_key: bytes) -> Operation:
    try:
        check_placement(placement)
    except CompletionRuntimeError as error:
        return _refusing(error)
    if placement.idempotency is not None:
        again = sealed(placement.idempotency, seal_key)
        placement = replace(placement, idempotency=again)
    return partial(placing.place, placement=placement)


def _refusing(error: CompletionRuntimeError) -> Operation:
    """Return an operation that keeps its place among the others and does nothing."""

    def refuse(_books: Books, _batch: Batch) -> None:
        raise error

    return refuse


def _stands(settlement: Settlement | PackedSettlement, outcome: Any) -> Settled:
    if isinstance(outcome, CompletionRuntimeError):
        return outcome
    if outcome is not None:
        return CompletionRecord.from_bytes(outcome)
    return None if isinstance(settlement, PackedSettlement) else settlement.record
