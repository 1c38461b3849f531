"""The ledger from afar: holds and settlements go direct, those of one loop turn as one call.

What a process wants within one turn of its loop is one commit's work, and each caller gets its own
answer back. All else is asked through Ray: it is rare.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from actors.cluster.calls import from_singleton
from actors.core.errors import ActorAway, CompletionRuntimeError, Overloaded
from actors.core.record import CompletionRecord
from actors.core.request import IdempotencyKey
from actors.ledger.settlement import PackedSettlement
from actors.ports.ledger import (
    POLICY_UNCHANGED,
    Balance,
    CompletionKey,
    HoldExtension,
    HoldPlacement,
    LimitsChange,
    Located,
    Placed,
    PolicyChange,
    Principal,
    RateState,
    Settlement,
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
from actors.rpc.client import DirectClient

__all__ = ["LEDGER_NAME", "Gathered", "RayLedger"]

LEDGER_NAME = "completion-ledger"

_BATCH_MAX = 256
"""Calls of one batch; more in one loop turn make more batches."""

_PLACE_TIMEOUT_S = 10.0
"""How long a start waits for its hold. A settlement waits without: its driver needs it durable."""

_EXTEND_TIMEOUT_S = 5.0
"""How long an extension waits before it is asked for again."""

A = TypeVar("A")
R = TypeVar("R")


class Gathered(Generic[A, R]):
    """Gathers the calls of one loop turn into one.

    Args:
        send: takes the arguments of all of them, returns an awaitable of as many results, each the
            answer or the exception for that caller.
    """

    def __init__(self, send: Callable[[list[A]], Any]) -> None:
        self._send = send
        self._waiting: list[tuple[A, asyncio.Future[R]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def call(self, argument: A) -> R:
        """Cancel: the call may have been made all the same."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((argument, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._flush)
        return await future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), _BATCH_MAX):
            task = asyncio.get_running_loop().create_task(
                self._run(waiting[start : start + _BATCH_MAX])
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[tuple[A, asyncio.Future[R]]]) -> None:
        results: list[Any]
        try:
            results = await self._send([argument for argument, _ in batch])
        except CompletionRuntimeError as error:
            results = [error] * len(batch)
        except Exception:
            results = [Overloaded("The call could not be made.")] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)


class RayLedger:
    """Forwards `actors.ports.accounts.Ledger` to the ledger actor.

    Args:
        read_timeout_s: calls that read are given up after as long. Those that move money are not,
            since they may have been made.
    """

    def __init__(self, handle: Any, *, read_timeout_s: float = 5.0) -> None:
        self._handle = handle
        self._read_timeout_s = read_timeout_s
        direct = DirectClient(lambda: from_singleton(handle.endpoint.remote()))
        self._placements: Gathered[HoldPlacement, Placed] = Gathered(
            lambda batch: direct.call("place_many", batch)
        )
        self._extensions: Gathered[HoldExtension, int] = Gathered(
            lambda batch: direct.call("extend_many", batch)
        )
        self._settlements: Gathered[PackedSettlement, CompletionRecord | None] = Gathered(
            lambda batch: direct.call("settle_many", batch)
        )

    async def place(self, placement: HoldPlacement) -> Placed:
        try:
            async with asyncio.timeout(_PLACE_TIMEOUT_S):
                return await self._placements.call(placement)
        except TimeoutError:
            # The hold may be there all the same: the registry finds that nobody carries it.
            raise ActorAway("The ledger did not answer in time.") from None

    async def extend(self, extension: HoldExtension) -> int:
        try:
            async with asyncio.timeout(_EXTEND_TIMEOUT_S):
                return await self._extensions.call(extension)
        except TimeoutError:
            raise ActorAway("The ledger did not answer in time.") from None

    async def settle(self, settlement: Settlement) -> CompletionRecord:
        # Packed here: encoding the record is not the single writer's work.
        stands = await self._settlements.call(PackedSettlement.of(settlement))
        return settlement.record if stands is None else stands

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

    async def authenticate(self, digest: str) -> Principal:
        return await self._read("authenticate", digest)

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
        limits: TeamLimits | LimitsChange,
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
