"""What the tests of the store and of the ledger share: stores of both kinds, and completions."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import Failure, FailureCode
from actors.core.events import (
    BlockFinished,
    CancelSource,
    Charge,
    ChargeBasis,
    Finished,
    FinishReason,
    Started,
    Status,
    TextDelta,
    Usage,
)
from actors.core.record import CompletionHeader, CompletionRecord, Timeline
from actors.core.request import Dialect, IdempotencyKey, Prices
from actors.ledger.service import LedgerService
from actors.ledger.store import Store
from actors.ports.ledger import CompletionKey, HoldPlacement, LimitsChange, Settlement
from actors.settings import Settings

__all__ = [
    "HOLD",
    "STORES",
    "TEAM",
    "Clock",
    "Ledger",
    "at_once",
    "cancelled",
    "completed",
    "failed",
    "header",
    "key_of",
    "open_ledger",
    "store_url",
]

TEAM = "acme"
HOLD = 50_000
"""Micro-credits that a completion of these tests holds, unless it says otherwise."""

STORES = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgres", id="postgres", marks=pytest.mark.postgres),
]

_numbers = itertools.count()


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store: a SQLite file, then a PostgreSQL database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'midstream.db'}"
    url: str = request.getfixturevalue("postgres_server").create_database()
    return url


class Clock:
    """A wall clock that a test turns."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Ledger:
    """A service with one team that has a key, and shorthands for what tests do with it."""

    def __init__(self, service: LedgerService, clock: Clock) -> None:
        self.service = service
        self.clock = clock
        self.key_id = ""
        self.secret = ""

    async def make_team(self, team: str = TEAM, credits: int = 10 * HOLD, **limits: Any) -> str:
        """Create a team and a key; return the key's id."""
        await self.service.create_team(
            team,
            f"org_{team}",
            credits_microcredits=credits,
            limits=replace(LimitsChange(None, None), **limits),
        )
        key = await self.service.create_key(team, "test")
        if team == TEAM:
            self.key_id, self.secret = key.key_id, key.secret
        return key.key_id

    def placement(
        self,
        head: CompletionHeader,
        *,
        ttl_s: float = 900.0,
        key_id: str | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> HoldPlacement:
        return HoldPlacement(
            head, key_id or self.key_id, self.clock.now_s + ttl_s, idempotency=idempotency
        )

    async def place(self, head: CompletionHeader | None = None, **options: Any) -> CompletionHeader:
        """Place a hold; return its header."""
        head = head or header(created_at_s=self.clock.now_s)
        await self.service.place(self.placement(head, **options))
        return head

    async def find_started(self, again: IdempotencyKey, wire_id: str = "") -> str | None:
        """Return the id of the completion that a chat start of the team is taken for."""
        found = await self.service.find_started(CompletionKey(TEAM, Dialect.CHAT, wire_id), again)
        return None if found is None else found.completion_id

    async def place_all(self, placements: Sequence[HoldPlacement]) -> list[Any]:
        """Place holds in one commit; return an answer or an error for each."""
        return await at_once(*map(self.service.place, placements))

    async def settle(self, record: CompletionRecord) -> CompletionRecord:
        return await self.service.settle(Settlement.of(record)) or record

    async def balance(self, team: str = TEAM) -> tuple[int, int]:
        """Return (credits, held)."""
        balance = await self.service.balance(team)
        return balance.credits_microcredits, balance.held_microcredits

    async def check(self) -> dict[str, Any]:
        """Assert that the accounts are right, in memory and in the store; return the audit."""
        self.service._writer.memory.accounts.check()
        found = await self.service.audit()
        assert found["ok"], found
        return found


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    """Make the calls within one turn of the loop; return an answer or an error for each."""
    return await asyncio.gather(*calls, return_exceptions=True)


@asynccontextmanager
async def open_ledger(
    url: str, *, clock: Clock | None = None, store: Store | None = None, **settings: Any
) -> Any:
    """Open a `Ledger` on a store; close it at the end."""
    clock = clock or Clock()
    service = LedgerService(
        store or Store(url), settings=Settings().with_changes(**settings), clock=clock
    )
    try:
        yield Ledger(service, clock)
    finally:
        await service.close()


def header(**changes: Any) -> CompletionHeader:
    """Return the header of a new completion."""
    completion_id = f"cmp_{next(_numbers):026d}"
    base = CompletionHeader(
        completion_id=completion_id,
        wire_id=completion_id,
        team=TEAM,
        dialect=Dialect.CHAT,
        model="sim",
        provider="simulator",
        prices=Prices(75, 450),
        hold_microcredits=HOLD,
        prompt_tokens_estimated=12,
        created_at_s=1_800_000_000.0,
        actor="completion-1",
        node_id="node-1",
        pid=4242,
    )
    return replace(base, **changes)


def key_of(head: CompletionHeader) -> CompletionKey:
    return CompletionKey(head.team, head.dialect, head.wire_id)


def completed(head: CompletionHeader, tokens: int = 10) -> CompletionRecord:
    """Return the record of a completion that ended by itself after so many tokens."""
    return _record(head, tokens, Status.COMPLETED, FinishReason.LENGTH)


def cancelled(head: CompletionHeader, tokens: int = 4) -> CompletionRecord:
    return _record(
        head, tokens, Status.CANCELLED, FinishReason.CANCELLED, source=CancelSource.CLIENT_REQUEST
    )


def failed(head: CompletionHeader) -> CompletionRecord:
    error = Failure(FailureCode.UPSTREAM_TIMEOUT, "The provider was silent.")
    end = Finished(Status.FAILED, FinishReason.ERROR, None, error, Usage(), Charge())
    return CompletionRecord(head, (Started(12), end))


def _record(
    head: CompletionHeader,
    tokens: int,
    status: Status,
    finish_reason: FinishReason,
    source: CancelSource | None = None,
) -> CompletionRecord:
    text: Sequence[Any] = [TextDelta(0, f"word{n} ", 1) for n in range(tokens)]
    charge = Charge(
        input_microcredits=12 * 75,
        output_microcredits=tokens * 450,
        prompt_basis=ChargeBasis.COUNTED,
        output_basis=ChargeBasis.COUNTED,
    )
    end = Finished(status, finish_reason, source, None, Usage(12, tokens), charge)
    events = (Started(12), *text, BlockFinished(0, source is None), end)
    return CompletionRecord(head, events, Timeline(finished_at_s=1.0))
