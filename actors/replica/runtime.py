"""The runtime as a replica has it: finds, reads and cancels completions, wherever they run.

Where a completion runs is the registry's guess and the store's word. A guess may be old: whoever is not
where it was looked for is looked up in the store, which alone says that there is none. How completions
start is `actors.replica.starts`', what is read of them `actors.replica.mirrors`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from actors.core.errors import (
    ActorAway,
    CompletionNotFound,
    CompletionRuntimeError,
    NotCancellable,
    OtherDeploy,
    Overloaded,
    UnknownProvider,
)
from actors.core.events import CancelSource
from actors.core.native import NativeAnswer, NativeCall
from actors.core.record import CompletionRecord
from actors.core.request import IdempotencyKey, StartCommand
from actors.ports.carrier import CarrierLink
from actors.ports.directory import CarrierLost, Carriers
from actors.ports.ledger import (
    CompletionKey,
    Ledger,
    Located,
)
from actors.ports.provider import NativeProviders
from actors.ports.registry import Registry
from actors.ports.runtime import (
    CancelAnswer,
    CancelOutcome,
    CompletionFilter,
    CompletionRow,
    StartedCompletion,
    Subscription,
)
from actors.replica.mirror import Mirror, MirrorSubscription
from actors.replica.mirrors import Mirrors
from actors.replica.records import settled_record
from actors.replica.slots import Slots
from actors.replica.starts import Starts
from actors.settings import Settings

__all__ = ["ReplicaRuntime"]

_LOCATE_TIMEOUT_S = 0.1
"""After as long the store is asked instead of the registry, which answers within a few milliseconds: one
that is being restarted answers in a second or two, and a cancel does not wait for that."""

_ASK_AGAIN_S = 0.05
"""Before a carrier that is away is asked again: it takes a moment to tell a dead one from a busy one."""

_NO_ANSWER = "The completion's owner did not answer in time."

T = TypeVar("T")

Find = Callable[[], Awaitable[Located | None]]


@dataclass(frozen=True, slots=True)
class _Sought:
    """A completion that is looked for: `locate` is quick and may be out of date, `find` asks the store."""

    locate: Find
    find: Find


class ReplicaRuntime:
    """See `actors.ports.runtime.CompletionRuntime`, which this implements.

    Args:
        replica: its name, unique among all replicas that ever were; carriers know its readers by it.
        node_id: where it runs; carriers near it are preferred.
        native: the providers that keep responses; None where there are none.
        simulator_url: what `describe` tells of it.
    """

    def __init__(
        self,
        carriers: Carriers,
        registry: Registry,
        ledger: Ledger,
        *,
        settings: Settings,
        replica: str,
        node_id: str,
        native: NativeProviders | None = None,
        simulator_url: str | None = None,
    ) -> None:
        self._carriers = carriers
        self._registry = registry
        self.ledger: Ledger = ledger
        self._settings = settings
        self._native = native
        self._simulator_url = simulator_url
        self._slots = Slots(registry, replica=replica, node_id=node_id)
        self._mirrors = Mirrors(
            carriers,
            ledger,
            channel=replica,
            on_ended=self._ended,
            on_lost=self._lost,
            reader_grace_s=settings.reader_grace_s,
        )
        self._starts = Starts(
            self._slots,
            carriers,
            self._mirrors,
            channel=replica,
            admission_timeout_s=settings.admission_timeout_s,
        )

    # Completions.

    async def start(self, command: StartCommand) -> StartedCompletion:
        return await self._starts.start(command)

    async def subscribe(self, key: CompletionKey) -> Subscription:
        return await self._subscribe(self._by_key(key))

    async def get(self, key: CompletionKey) -> CompletionRecord:
        return await self._record(self._by_key(key))

    async def cancel(self, key: CompletionKey, source: CancelSource) -> CancelAnswer:
        return await self._cancel(self._by_key(key), source)

    async def delete(self, key: CompletionKey) -> None:
        sought = self._by_key(key)
        async with self._within_cancel_timeout():
            located = await _found(sought.locate)
            if not located.is_settled:
                await self._cancel_found(sought, located, CancelSource.CLIENT_REQUEST)
            await self.ledger.delete(key)

    async def find_started(
        self, key: CompletionKey, again: IdempotencyKey
    ) -> CompletionRecord | None:
        located = await self.ledger.find_started(key, again)
        if located is None:
            return None
        return await self._record_of(
            located, partial(self.ledger.find_by_id, located.completion_id)
        )

    async def native(self, provider: str, call: NativeCall) -> NativeAnswer:
        if self._native is None:
            raise UnknownProvider(provider)
        return await self._native.ask(provider, call)

    # Administration.

    async def list_completions(
        self, where: CompletionFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[CompletionRow], str | None]:
        rows, following = await self.ledger.list_completions(where, limit=limit, cursor=cursor)
        if all(row.status != "running" for row in rows):
            return rows, following
        living = {row.id: row for row in await self._registry.rows()}
        return [living.get(row.id, row) for row in rows], following

    async def get_by_id(self, completion_id: str) -> CompletionRecord:
        return await self._record(self._by_id(completion_id))

    async def subscribe_by_id(self, completion_id: str) -> Subscription:
        return await self._subscribe(self._by_id(completion_id))

    async def cancel_by_id(self, completion_id: str, source: CancelSource) -> CancelAnswer:
        return await self._cancel(self._by_id(completion_id), source)

    async def describe(self) -> dict[str, Any]:
        pool, ledger = await asyncio.gather(self._registry.describe(), self.ledger.describe())
        return {"simulator": self._simulator_url, "pool": pool, "ledger": ledger}

    async def aclose(self) -> None:
        """Stop reading, and give the slots back. The completions go on."""
        await self._starts.aclose()
        await self._mirrors.aclose()
        await self._slots.aclose()

    # Slots.

    def _ended(self, mirror: Mirror) -> None:
        self._starts.ended(mirror)

    def _lost(self, carrier: str) -> None:
        self._slots.lost(carrier)
        self._carriers.forget(carrier)

    # Finding.

    def _by_key(self, key: CompletionKey) -> _Sought:
        return _Sought(partial(self._locate, key), partial(self.ledger.find, key))

    def _by_id(self, completion_id: str) -> _Sought:
        find = partial(self.ledger.find_by_id, completion_id)
        return _Sought(find, find)

    async def _locate(self, key: CompletionKey) -> Located | None:
        try:
            async with asyncio.timeout(_LOCATE_TIMEOUT_S):
                return await self._registry.locate(key)
        except (TimeoutError, CompletionRuntimeError):
            # The registry is a cache: while it is away, the store knows as much.
            return await self.ledger.find(key)

    async def _at_carrier(
        self, located: Located, ask: Callable[[CarrierLink], Awaitable[T]]
    ) -> T | None:
        """Ask the carrier; None when the completion is not there any more, so the store must know."""
        try:
            return await ask(self._carriers.link(located.actor))
        except (CompletionNotFound, CarrierLost):
            return None

    # Reading.

    async def _subscribe(self, sought: _Sought) -> Subscription:
        located = await _found(sought.locate)
        if located.completion_id in self._mirrors:
            # Its carrier is not asked, who would know that it has ended: it may be deleted since.
            with suppress(Overloaded):
                located = await _found(sought.find)
        if not located.is_settled:
            subscription = await self._mirrors.join(located.actor, located.completion_id)
            if subscription is not None:
                return subscription
        record = await settled_record(self.ledger, sought.find)
        mirror = Mirror(record.header.completion_id)
        mirror.extend(record.events)
        return MirrorSubscription(mirror, on_close=lambda _mirror, _reason: None)

    async def _record(self, sought: _Sought) -> CompletionRecord:
        return await self._record_of(await _found(sought.locate), sought.find)

    async def _record_of(self, located: Located, find: Find) -> CompletionRecord:
        record = None if located.is_settled else await self._running_record(located)
        return record or await settled_record(self.ledger, find)

    async def _running_record(self, located: Located) -> CompletionRecord | None:
        try:
            async with asyncio.timeout(self._settings.cancel_timeout_s):
                while True:
                    try:
                        return await self._at_carrier(
                            located, lambda link: link.record(located.completion_id)
                        )
                    except Overloaded:
                        await asyncio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            # A host that is cut off neither answers nor breaks the call, for a minute.
            raise Overloaded(_NO_ANSWER) from None

    # Cancelling.

    async def _cancel(self, sought: _Sought, source: CancelSource) -> CancelAnswer:
        """Find it and stop it, within `cancel_timeout_s` in all: whoever it is that does not answer."""
        async with self._within_cancel_timeout():
            located = await _found(sought.locate)
            return await self._cancel_found(sought, located, source)

    @asynccontextmanager
    async def _within_cancel_timeout(self) -> AsyncIterator[None]:
        """Raises: NotCancellable: the time is over."""
        try:
            async with asyncio.timeout(self._settings.cancel_timeout_s):
                yield
        except TimeoutError:
            raise NotCancellable(_NO_ANSWER) from None

    async def _cancel_found(
        self, sought: _Sought, located: Located, source: CancelSource
    ) -> CancelAnswer:
        if located.is_settled:
            return await self._terminal_answer(located)
        try:
            answer = await self._at_carrier(
                located, lambda link: link.cancel(located.completion_id, source)
            )
        except (ActorAway, OtherDeploy):
            raise NotCancellable(_NO_ANSWER) from None
        return answer or await self._answer_of_absent(sought)

    async def _answer_of_absent(self, sought: _Sought) -> CancelAnswer:
        """Say what a cancel found whose completion was not with its carrier."""
        located = await _found(sought.find)
        if located.is_settled:
            return await self._terminal_answer(located)
        raise NotCancellable("The completion's owner is lost; it is being settled.")

    async def _terminal_answer(self, located: Located) -> CancelAnswer:
        record = await self.ledger.record(located.completion_id)
        return CancelAnswer(CancelOutcome.TERMINAL, record)


async def _found(look: Find) -> Located:
    """Raises: CompletionNotFound."""
    located = await look()
    if located is None:
        raise CompletionNotFound
    return located
