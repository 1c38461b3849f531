"""The ledger from afar: holds and settlements go direct. All else is asked through Ray: it is rare."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from actors.cluster.calls import from_singleton
from actors.core.errors import ActorAway
from actors.core.record import CompletionRecord
from actors.core.request import IdempotencyKey
from actors.ports.ledger import (
    LIMITS_UNCHANGED,
    POLICY_UNCHANGED,
    Balance,
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
    TeamState,
)
from actors.rpc.client import DirectClient

__all__ = ["LEDGER_NAME", "RayLedger"]

LEDGER_NAME = "completion-ledger"

_PLACE_TIMEOUT_S = 10.0
"""How long a start waits for its hold. A settlement waits without: its driver needs it durable."""

_EXTEND_TIMEOUT_S = 5.0
"""How long an extension waits before it is asked for again."""


class RayLedger:
    """Forwards `actors.ports.ledger.Ledger` to the ledger actor.

    Args:
        read_timeout_s: calls that read are given up after as long. Those that move money are not,
            since they may have been made.
    """

    def __init__(self, handle: Any, *, read_timeout_s: float = 5.0) -> None:
        self._handle = handle
        self._read_timeout_s = read_timeout_s
        direct = DirectClient(lambda: from_singleton(handle.endpoint.remote()))
        self._call = direct.call

    async def place(self, placement: HoldPlacement) -> Placed:
        try:
            async with asyncio.timeout(_PLACE_TIMEOUT_S):
                return cast(Placed, await self._call("place", placement))
        except TimeoutError:
            # The hold may be there all the same: the registry finds that nobody carries it.
            raise ActorAway("The ledger did not answer in time.") from None

    async def extend(self, extension: HoldExtension) -> int:
        try:
            async with asyncio.timeout(_EXTEND_TIMEOUT_S):
                return cast(int, await self._call("extend", extension))
        except TimeoutError:
            raise ActorAway("The ledger did not answer in time.") from None

    async def settle(self, settlement: Settlement) -> CompletionRecord | None:
        return cast("CompletionRecord | None", await self._call("settle", settlement))

    async def find(self, key: CompletionKey) -> Located | None:
        return await self._read("find", key)

    async def find_by_id(self, completion_id: str) -> Located | None:
        return await self._read("find_by_id", completion_id)

    async def record(self, completion_id: str) -> CompletionRecord:
        return await self._read("record", completion_id)

    async def lose(self, actor: str) -> list[str]:
        return await self._ask("lose", actor)

    async def lose_completions(self, completion_ids: list[str]) -> list[str]:
        return await self._ask("lose_completions", completion_ids)

    async def open_completions(self) -> list[Located]:
        return await self._ask("open_completions")

    async def delete(self, key: CompletionKey) -> None:
        await self._ask("delete", key)

    async def remember_cancellation(self, key: CompletionKey) -> RememberedCancellation:
        return await self._ask("remember_cancellation", key)

    async def find_started(self, key: CompletionKey, again: IdempotencyKey) -> Located | None:
        return await self._read("find_started", key, again)

    async def authenticate(self, digests: list[str]) -> list[Principal | KeyRefusal]:
        return await self._read("authenticate", digests)

    async def draw_request(self, team: str) -> RateState | None:
        return await self._ask("draw_request", team)

    async def balance(self, team: str) -> Balance:
        return await self._read("balance", team)

    async def create_team(
        self,
        team: str,
        organization: str,
        *,
        credits_microcredits: int,
        limits: LimitsChange = LIMITS_UNCHANGED,
        policy: PolicyChange = POLICY_UNCHANGED,
    ) -> TeamState:
        return await self._ask(
            "create_team",
            team,
            organization,
            credits_microcredits=credits_microcredits,
            limits=limits,
            policy=policy,
        )

    async def create_key(self, team: str, name: str) -> IssuedKey:
        return await self._ask("create_key", team, name)

    async def list_keys(self, team: str | None) -> list[KeyRow]:
        return await self._ask("list_keys", team)

    async def revoke_key(self, key_id: str) -> None:
        await self._ask("revoke_key", key_id)

    async def grant_credits(
        self, team: str, amount_microcredits: int, grant_id: str | None = None
    ) -> Balance:
        return await self._ask("grant_credits", team, amount_microcredits, grant_id)

    async def list_completions(
        self, where: CompletionFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[CompletionRow], str | None]:
        return await self._read("list_completions", where, limit=limit, cursor=cursor)

    async def audit(self) -> dict[str, Any]:
        return await self._ask("audit")

    async def describe(self) -> dict[str, Any]:
        return await self._read("describe")

    async def _read(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Ask for what changes nothing: a host that is cut off neither answers nor breaks the call."""
        try:
            async with asyncio.timeout(self._read_timeout_s):
                return await self._ask(method, *args, **kwargs)
        except TimeoutError:
            raise ActorAway("The ledger did not answer in time.") from None

    async def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await from_singleton(getattr(self._handle, method).remote(*args, **kwargs))
