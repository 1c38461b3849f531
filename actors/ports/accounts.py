"""Everything that the runtime asks of the ledger beside holds: the whole port of the ledger.

`ledger_service.LedgerService` implements it; `ray_ledger.RayLedger` forwards it to the ledger actor.
"""

from __future__ import annotations

from typing import Any, Protocol

from actors.core.record import CompletionRecord
from actors.core.request import IdempotencyKey
from actors.ports.ledger import (
    POLICY_UNCHANGED,
    Balance,
    CompletionKey,
    HoldLedger,
    LimitsChange,
    Located,
    PolicyChange,
    Principal,
    RateState,
    TeamLimits,
    TeamState,
)
from actors.ports.runtime import (
    CompletionFilter,
    CompletionRow,
    IssuedKey,
    KeyRow,
    RememberedCancellation,
)

__all__ = ["Ledger"]


class Ledger(HoldLedger, Protocol):
    """Every call may raise `Overloaded`: the ledger is away. See `actors.ports.runtime` for the rest."""

    async def find(self, key: CompletionKey) -> Located | None: ...

    async def find_by_id(self, completion_id: str) -> Located | None: ...

    async def record(self, completion_id: str) -> CompletionRecord:
        """Raises: CompletionNotFound: unknown, still running, or its content was dropped."""
        ...

    async def lose(self, actor: str) -> list[str]:
        """Fail the open completions of a dead actor; return their ids."""
        ...

    async def lose_completions(self, completion_ids: list[str]) -> list[str]: ...

    async def open_completions(self) -> list[Located]: ...

    async def delete(self, key: CompletionKey) -> None:
        """Drop the content of a settled completion; `find` by its key finds it no more.

        Raises:
            CompletionNotFound: unknown, or its content was dropped already.
            NotCancellable: it runs: cancel it first.
        """
        ...

    async def remember_cancellation(self, key: CompletionKey) -> RememberedCancellation: ...

    async def find_started(self, key: CompletionKey, again: IdempotencyKey) -> Located | None:
        """Return the completion that a start is taken for, None where it starts anew.

        Raises: IdempotencyConflict, CompletionIdInUse: the key or the id is another start's.
        """
        ...

    async def authenticate(self, digest: str) -> Principal: ...

    async def balance(self, team: str) -> Balance: ...

    async def draw_request(self, team: str) -> RateState | None: ...

    async def create_team(
        self,
        team: str,
        organization: str,
        *,
        credits_microcredits: int,
        limits: TeamLimits | LimitsChange,
        policy: PolicyChange = POLICY_UNCHANGED,
    ) -> TeamState: ...

    async def create_key(self, team: str, name: str) -> IssuedKey: ...

    async def list_keys(self, team: str | None) -> list[KeyRow]: ...

    async def revoke_key(self, key_id: str) -> None: ...

    async def grant_credits(
        self, team: str, amount_microcredits: int, grant_id: str | None = None
    ) -> Balance: ...

    async def list_completions(
        self, where: CompletionFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[CompletionRow], str | None]: ...

    async def audit(self) -> dict[str, Any]: ...

    async def describe(self) -> dict[str, Any]:
        """Return counters: what is open, what waits, how much is kept."""
        ...
