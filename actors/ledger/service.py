"""The ledger as a service on one event loop: everything that `actors.ports.ledger.Ledger` promises.

What changes something is a change that travels in a group commit; what only reads runs in the
reading threads and never waits for a commit. No Ray here, and no rule: those are
`actors.core.money.rules`'s and the changes'.

Durability: a call that changes something is answered after its commit. The methods of the port are
described there; what is said here is beyond it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from actors.core.errors import Failure, LedgerBusy, Overloaded
from actors.core.record import CompletionRecord
from actors.core.request import IdempotencyKey
from actors.ledger import (
    administration,
    checkpointing,
    deleting,
    losing,
    placing,
    reads,
    settling,
    upkeep,
)
from actors.ledger.checks import (
    check_billing_mode,
    check_limits,
    check_name,
    check_placement,
    check_text,
)
from actors.ledger.group_commit import BATCH_MAX, QUEUE_MAX, GroupCommit
from actors.ledger.made_again import sealed
from actors.ledger.memory import Memory
from actors.ledger.store.accounts import TeamRow
from actors.ledger.store.store import Database
from actors.ledger.store.transaction import Transaction
from actors.ledger.writer import Change, LedgerWriter
from actors.ports.ledger import (
    LIMITS_UNCHANGED,
    POLICY_UNCHANGED,
    Balance,
    Checkpoint,
    CompletionFilter,
    CompletionKey,
    CompletionRow,
    HoldExtension,
    HoldPlacement,
    IssuedKey,
    KeyRefusal,
    KeyRow,
    LimitsChange,
    Located,
    Placed,
    PolicyChange,
    Principal,
    RateState,
    RememberedCancellation,
    Settlement,
    TeamLimits,
    TeamState,
)
from actors.ports.threads import Threads
from actors.settings import Settings

__all__ = ["LedgerService"]

_READ_IN_VAIN_MAX = 10
"""How often what a loss needs is read again, where more of it was kept meanwhile, before another tries it."""

_PASSES_MAX = 32
"""Passes of each kind in one housekeeping; the rest waits for the next."""

R = TypeVar("R")


class LedgerService:
    """The single writer of a store; implements `actors.ports.ledger.Ledger`.

    Args:
        store: opened for this service, which closes it.
        clock: wall clock, seconds since 1970.
        threads: makes the thread that writes and those that read.
        token_hex: makes what nobody can guess, of so many bytes: the secrets of keys.
        batch_max, queue_max: see `group_commit`.
        identity: what else `describe` says: process and node.
    """

    def __init__(
        self,
        store: Database,
        *,
        settings: Settings,
        clock: Callable[[], float],
        threads: Threads = ThreadPoolExecutor,
        token_hex: Callable[[int], str] = secrets.token_hex,
        batch_max: int = BATCH_MAX,
        queue_max: int = QUEUE_MAX,
        identity: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Load what is kept in memory. Blocks, and needs no running loop.

        Raises: what the store raises.
        """
        self._writer = LedgerWriter(store, now_s=clock)
        self._writer.load()
        self._writing = threads(1, "ledger-writer")
        self._commits: GroupCommit[Change] = GroupCommit(
            self._writer.apply, self._writing, batch_max=batch_max, queue_max=queue_max
        )
        self._reads = reads.ReadingThreads(store, threads)
        self._store = store
        self._settings = settings
        self._clock = clock
        self._token_hex = token_hex
        self._identity = identity
        self._is_draining = False
        self._is_closed = False

    def __repr__(self) -> str:
        memory = self._writer.memory
        return (
            f"<LedgerService open={len(memory.open)} teams={len(memory.teams)} {self._commits!r}>"
        )

    @property
    def fenced(self) -> Exception | None:
        """Why this ledger has to end: a later one has its store. None as long as it is this one's."""
        return self._writer.fenced

    # Holds.

    async def place(self, placement: HoldPlacement) -> Placed:
        if self._is_draining:
            raise LedgerBusy("Midstream is shutting down.")
        check_placement(placement)
        if placement.idempotency is not None:
            again = sealed(placement.idempotency, self._store.seal_key)
            placement = replace(placement, idempotency=again)
        return await self._commit(partial(placing.place, placement=placement))

    async def extend(self, extension: HoldExtension) -> int:
        return await self._commit(partial(placing.extend, extension=extension))

    async def settle(self, settlement: Settlement) -> CompletionRecord | None:
        change = partial(settling.settle, settled=settlement, settings=self._settings)
        standing = await self._commit(change)
        if standing is None:
            return None
        return await self._reads.compute(CompletionRecord.from_bytes, standing)

    async def checkpoint(self, actor: str, stretches: list[Checkpoint]) -> dict[str, int]:
        change = partial(checkpointing.checkpoint, actor=actor, stretches=stretches)
        return await self._commit(partial(change, settings=self._settings))

    async def lose(self, actor: str) -> list[str]:
        return await self._lose(partial(losing.of_actor, actor=actor), losing.OWNER_DIED)

    async def lose_completions(self, completion_ids: list[str]) -> list[str]:
        whose = partial(losing.those, completion_ids=completion_ids)
        return await self._lose(whose, losing.OWNER_DIED)

    # What became of completions.

    async def find(self, key: CompletionKey) -> Located | None:
        return await self._reads.run(reads.find, key)

    async def find_by_id(self, completion_id: str) -> Located | None:
        return await self._reads.run(reads.find_by_id, completion_id)

    async def find_started(self, key: CompletionKey, again: IdempotencyKey) -> Located | None:
        """See the port, and `made_again` for which start is the same."""
        seal = sealed(again, self._store.seal_key)
        return await self._reads.run(reads.find_started, key, seal, self._clock())

    async def record(self, completion_id: str) -> CompletionRecord:
        return await self._reads.run(reads.record, completion_id)

    async def open_completions(self) -> list[Located]:
        return await self._reads.run(reads.open_completions)

    async def list_completions(
        self, where: CompletionFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[CompletionRow], str | None]:
        return await self._reads.run(reads.list_completions, where, limit, cursor)

    async def delete(self, key: CompletionKey) -> None:
        # Made by a reader: decoding a long record is not the single writer's work.
        remains = await self._reads.run(reads.remains, key)
        await self._commit(partial(deleting.delete, remains=remains))

    async def remember_cancellation(self, key: CompletionKey) -> RememberedCancellation:
        check_text(key.wire_id, "message_id")
        return await self._commit(partial(administration.remember_cancellation, key=key))

    # Teams, keys and credit.

    async def authenticate(self, digests: list[str]) -> list[Principal | KeyRefusal]:
        return [self._writer.memory.principal(digest) for digest in digests]

    async def draw_request(self, team: str) -> RateState | None:
        return await self._commit(partial(placing.draw_request, team=team))

    async def balance(self, team: str) -> Balance:
        return await self._reads.run(reads.balance, team)

    async def create_team(
        self,
        team: str,
        organization: str,
        *,
        credits_microcredits: int,
        limits: LimitsChange = LIMITS_UNCHANGED,
        policy: PolicyChange = POLICY_UNCHANGED,
        billing_mode: str | None = None,
    ) -> TeamState:
        """See the port.

        Args: billing_mode: None is metered for a new team, and what it is for one that exists.
        """
        check_name(team, "team")
        check_name(organization, "organization")
        return await self._commit(
            partial(
                administration.create_team,
                team=team,
                organization=organization,
                limits=check_limits(limits),
                policy=policy,
                billing_mode=None if billing_mode is None else check_billing_mode(billing_mode),
                credits_microcredits=credits_microcredits,
            )
        )

    async def create_key(self, team: str, name: str) -> IssuedKey:
        check_text(name, "name", length_min=0)
        secret = f"al_live_{self._token_hex(32)}"
        change = partial(administration.create_key, team=team, name=name, secret=secret)
        return await self._commit(change)

    async def list_keys(self, team: str | None) -> list[KeyRow]:
        return await self._reads.run(reads.list_keys, team)

    async def revoke_key(self, key_id: str) -> None:
        await self._commit(partial(administration.revoke_key, key_id=key_id))

    async def grant_credits(
        self, team: str, amount_microcredits: int, grant_id: str | None = None
    ) -> Balance:
        if grant_id is not None:
            check_text(grant_id, "grant_id")
        return await self._commit(
            partial(
                administration.grant_credits,
                team=team,
                amount_microcredits=amount_microcredits,
                grant_id=grant_id or f"grant_{self._token_hex(12)}",
            )
        )

    async def ensure_demo(
        self, team: str, organization: str, credits_microcredits: int, key_digest: str
    ) -> None:
        """Create the demo team once, with its credits, and see that the key is one of its keys."""
        await self._commit(
            partial(
                administration.ensure_demo,
                row=TeamRow(team, organization, TeamLimits()),
                credits_microcredits=credits_microcredits,
                key_digest=key_digest,
            )
        )

    # The ledger itself.

    async def audit(self) -> dict[str, Any]:
        return await self._reads.run(reads.audit)

    async def housekeeping(self) -> dict[str, int]:
        """Give a sign of life, expire holds, evict records, remove old claims; return how many of each."""
        await self._commit(upkeep.give_sign)
        evict = partial(upkeep.remove_records, settings=self._settings)
        return {
            "expired": len(await self._lose(losing.due, losing.HOLD_EXPIRED)),
            "evicted": await self._passes(evict, upkeep.PASS_MAX),
            "claims": await self._passes(upkeep.remove_claims, upkeep.PASS_MAX),
        }

    async def describe(self) -> dict[str, Any]:
        memory = self._writer.memory
        return {
            **self._identity,
            "teams": len(memory.teams),
            "completions_open": len(memory.open),
            "records_bytes": memory.records_bytes,
            "changes_waiting": self._commits.waiting,
            "changes": self._commits.changes,
            "batches": self._commits.batches,
            "is_draining": self._is_draining,
        }

    async def drain(self) -> None:
        """Refuse new holds; returns when what was asked before is committed. Idempotent.

        What runs may still be settled.
        """
        self._is_draining = True
        await self._commit(lambda _memory, _transaction: None)

    async def close(self) -> None:
        """Commit what waits, close the store and give back its lock. Idempotent."""
        await self._commits.aclose()
        await self._reads.aclose()
        if not self._is_closed:
            self._is_closed = True
            closing = asyncio.get_running_loop().run_in_executor(self._writing, self._store.close)
            self._writing.shutdown(wait=False)
            await closing

    async def _commit(self, change: Callable[[Memory, Transaction], R]) -> R:
        """Make one change in the next commit. Cancel: it is made all the same."""
        outcome: R = await self._commits.submit(change)
        return outcome

    async def _lose(
        self, whose: Callable[[Memory, float], list[str]], failure: Failure
    ) -> list[str]:
        """Fail what `whose` finds to be open, again and again until that is nothing more.

        Raises: Overloaded: what is read of their logs is never what is kept.
        """
        lost: list[str] = []
        in_vain = 0
        read: dict[str, losing.KeptRecord] = {}

        def change(memory: Memory, transaction: Transaction) -> losing.Losses:
            return losing.lose(
                memory,
                transaction,
                completion_ids=whose(memory, transaction.now_s),
                failure=failure,
                read=read,
                settings=self._settings,
            )

        while True:
            losses = await self._commit(change)
            lost += losses.lost
            in_vain = 0 if losses.lost else in_vain + 1
            if losses.unread:
                if in_vain > _READ_IN_VAIN_MAX:
                    raise Overloaded("What is kept of the logs could not be read.")
                unread = losses.unread[: losing.READ_MAX]
                read = await self._reads.run(losing.read_kept, unread, failure, self._clock())
            elif not losses.has_more:
                return lost

    async def _passes(self, change: Callable[[Memory, Transaction], int], pass_max: int) -> int:
        done = 0
        for _ in range(_PASSES_MAX):
            found = await self._commit(change)
            done += found
            if found < pass_max:
                break
        return done
