"""The runtime as a replica has it, over links to the carriers.

Which carriers there are, near or far, is the `Directory`'s business; so the same code is the runtime
on Ray and the one in memory. No Ray here.

It starts, finds, cancels and administers; what it reads is `actors.replica.mirrors`'.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from actors.completion.carrier import CarrierLink
from actors.completion.channel import Mirror, MirrorSubscription
from actors.core.errors import (
    AdmissionError,
    CarrierBusy,
    CompletionNotFound,
    NotCancellable,
    Overloaded,
    RequestError,
)
from actors.core.events import (
    CancelSource,
)
from actors.core.native import NativeAnswer, NativeCall
from actors.core.record import CompletionRecord
from actors.core.request import IdempotencyKey, StartCommand
from actors.ports.accounts import Ledger
from actors.ports.directory import CarrierLost, Directory
from actors.ports.ledger import (
    POLICY_UNCHANGED,
    Balance,
    CompletionKey,
    LimitsChange,
    Located,
    Placed,
    PolicyChange,
    Principal,
    RateState,
    TeamLimits,
    TeamState,
)
from actors.ports.runtime import (
    CancelAnswer,
    CancelOutcome,
    CompletionFilter,
    CompletionRow,
    IssuedKey,
    KeyRow,
    ReaderLeft,
    RememberedCancellation,
    StartedCompletion,
    Subscription,
)
from actors.replica.mirrors import Mirrors, settled_record
from actors.settings import Settings
from actors.upstream.native_responses import NativeProviders, NoNativeProviders

__all__ = ["LinkedRuntime"]

_START_TRIES = 5
"""How many slots a start may find taken, by a race, before it says that we are overloaded."""

_BUSY_PAUSE_S = 0.05
"""Before another slot is asked for when one was taken after all: carriers report about as often."""

_ASK_AGAIN_S = 0.05
"""Before a carrier that is away is asked again: Ray takes a moment to tell a dead actor from a busy one."""

_FORGET_POLL_S = 0.01
"""Between looks at whether a deleted completion can still be found."""

_NO_ANSWER = "The completion's owner did not answer in time."

T = TypeVar("T")


class LinkedRuntime:
    """See `actors.ports.runtime.CompletionRuntime`, which this implements.

    Args:
        channel: this replica's name, unique among all replicas that ever were.
        native: asks providers about responses that they keep; None asks nobody.
    """

    def __init__(
        self,
        directory: Directory,
        ledger: Ledger,
        *,
        settings: Settings,
        channel: str,
        native: NativeProviders | None = None,
    ) -> None:
        self._directory = directory
        self._ledger = ledger
        self._settings = settings
        self._channel = channel
        self._native = native or NoNativeProviders()
        self._mirrors = Mirrors(directory, ledger, channel=channel, on_closed=self._closed)
        self._leaving: set[asyncio.Future[None]] = set()
        self._with_slot: set[str] = set()  # completions whose slot is this replica's to release

    # Completions.

    async def start(self, command: StartCommand) -> StartedCompletion:
        for _ in range(_START_TRIES):
            actor = await self._directory.acquire()
            try:
                return await self._start_on(actor, command)
            except CarrierLost:
                self._directory.lost(actor)
            except CarrierBusy:
                self._directory.release(actor, is_free=False)
                await asyncio.sleep(_BUSY_PAUSE_S)
            except (AdmissionError, RequestError):
                self._directory.release(actor, is_free=True)
                raise
            except BaseException:
                self._directory.release(actor, is_free=False)
                raise
        raise Overloaded("No actor is free.")

    async def subscribe(self, key: CompletionKey) -> Subscription:
        return await self._subscribe(await self._locate(key))

    async def get(self, key: CompletionKey) -> CompletionRecord:
        return await self._record(await self._locate(key))

    async def cancel(self, key: CompletionKey, source: CancelSource) -> CancelAnswer:
        return await self._cancel(self._locate(key), source)

    async def delete(self, key: CompletionKey) -> None:
        try:
            async with asyncio.timeout(self._settings.cancel_timeout_s):
                await self._delete(key)
        except TimeoutError:
            raise NotCancellable(_NO_ANSWER) from None

    async def remember_cancellation(self, key: CompletionKey) -> RememberedCancellation:
        return await self._ledger.remember_cancellation(key)

    async def find_started(
        self, key: CompletionKey, again: IdempotencyKey
    ) -> CompletionRecord | None:
        located = await self._ledger.find_started(key, again)
        return None if located is None else await self._record(located)

    async def native(self, provider: str, call: NativeCall) -> NativeAnswer:
        return await self._native.ask(provider, call)

    # Accounts and administration.

    async def authenticate(self, secret: str) -> Principal:
        return await self._ledger.authenticate(hashlib.sha256(secret.encode()).hexdigest())

    async def draw_request(self, team: str) -> RateState | None:
        return await self._ledger.draw_request(team)

    async def balance(self, team: str) -> Balance:
        return await self._ledger.balance(team)

    async def list_completions(
        self, where: CompletionFilter, *, limit: int, cursor: str | None
    ) -> tuple[list[CompletionRow], str | None]:
        rows, following = await self._ledger.list_completions(where, limit=limit, cursor=cursor)
        if all(row.status != "running" for row in rows):
            return rows, following
        living = {row.id: row for row in await self._directory.rows()}
        return [living.get(row.id, row) for row in rows], following

    async def get_by_id(self, completion_id: str) -> CompletionRecord:
        return await self._record(await self._locate_id(completion_id))

    async def subscribe_by_id(self, completion_id: str) -> Subscription:
        return await self._subscribe(await self._locate_id(completion_id))

    async def cancel_by_id(self, completion_id: str, source: CancelSource) -> CancelAnswer:
        return await self._cancel(self._locate_id(completion_id), source)

    async def create_team(
        self,
        team: str,
        organization: str,
        *,
        credits_microcredits: int,
        limits: TeamLimits | LimitsChange,
        policy: PolicyChange = POLICY_UNCHANGED,
    ) -> TeamState:
        return await self._ledger.create_team(
            team,
            organization,
            credits_microcredits=credits_microcredits,
            limits=limits,
            policy=policy,
        )

    async def create_key(self, team: str, name: str) -> IssuedKey:
        return await self._ledger.create_key(team, name)

    async def list_keys(self, team: str | None) -> list[KeyRow]:
        return await self._ledger.list_keys(team)

    async def revoke_key(self, key_id: str) -> None:
        await self._ledger.revoke_key(key_id)

    async def grant_credits(
        self, team: str, amount_microcredits: int, grant_id: str | None = None
    ) -> Balance:
        return await self._ledger.grant_credits(team, amount_microcredits, grant_id)

    async def audit(self) -> dict[str, Any]:
        return await self._ledger.audit()

    async def describe(self) -> dict[str, Any]:
        return await self._directory.describe()

    async def aclose(self) -> None:
        """Stop reading. The completions go on."""
        await self._mirrors.aclose()

    # Starting.

    async def _start_on(self, actor: str, command: StartCommand) -> StartedCompletion:
        link = await self._directory.link(actor)
        subscription = self._mirrors.open(actor, command.completion_id)
        starting = asyncio.ensure_future(link.start(command, self._channel))
        try:
            placed = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A client that left may have left a completion behind. Its carrier is told only when it
            # has the completion: an actor's calls may overtake each other.
            self._leaving.add(leaving := asyncio.ensure_future(_leave(starting, subscription)))
            leaving.add_done_callback(self._leaving.discard)
            raise
        except BaseException:
            await subscription.aclose(ReaderLeft.FINISHED)
            raise
        self._with_slot.add(command.completion_id)
        return StartedCompletion(subscription, placed.rate)

    def _closed(self, actor: str, mirror: Mirror) -> None:
        """The last reader has left: a slot that this replica took for it is given back."""
        if mirror.completion_id in self._with_slot:
            self._with_slot.remove(mirror.completion_id)
            self._directory.release(actor, is_free=mirror.is_finished)

    # Finding.

    async def _locate(self, key: CompletionKey) -> Located:
        located = await self._directory.locate(key)
        if located is None:
            raise CompletionNotFound
        return located

    async def _locate_id(self, completion_id: str) -> Located:
        located = await self._ledger.find_by_id(completion_id)
        if located is None:
            raise CompletionNotFound
        return located

    async def _at_carrier(
        self, located: Located, ask: Callable[[CarrierLink], Awaitable[T]]
    ) -> T | None:
        """Ask the carrier; None when the completion is not there any more, so the store must know."""
        try:
            return await ask(await self._directory.link(located.actor))
        except (CompletionNotFound, CarrierLost):
            return None

    async def _record(self, located: Located) -> CompletionRecord:
        if not located.is_settled:
            record = await self._running_record(located)
            if record is not None:
                return record
        return await settled_record(self._ledger, located.completion_id)

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

    async def _cancel(self, finding: Awaitable[Located], source: CancelSource) -> CancelAnswer:
        """Find it and stop it, within `cancel_timeout_s` in all: whoever it is that does not answer."""
        requested_at_s = time.time()
        try:
            async with asyncio.timeout(self._settings.cancel_timeout_s):
                return await self._cancel_found(await finding, source, requested_at_s)
        except TimeoutError:
            raise NotCancellable(_NO_ANSWER) from None

    async def _cancel_found(
        self, located: Located, source: CancelSource, requested_at_s: float
    ) -> CancelAnswer:
        if located.is_settled:
            return await self._terminal_answer(located)
        try:
            answer = await self._at_carrier(
                located,
                lambda link: link.cancel(located.completion_id, source, requested_at_s),
            )
        except Overloaded:
            raise NotCancellable(_NO_ANSWER) from None
        if answer is not None:
            return answer
        return await self._answer_of_absent(located)

    async def _answer_of_absent(self, located: Located) -> CancelAnswer:
        """Say what a cancel found whose completion was not with its carrier."""
        now = await self._ledger.find_by_id(located.completion_id)
        if now is not None and now.is_settled:
            return await self._terminal_answer(located)
        raise NotCancellable("The completion's owner is lost; it is being settled.")

    async def _terminal_answer(self, located: Located) -> CancelAnswer:
        record = await self._ledger.record(located.completion_id)
        return CancelAnswer(CancelOutcome.TERMINAL, record)

    async def _delete(self, key: CompletionKey) -> None:
        located = await self._locate(key)
        if not located.is_settled:
            await self._cancel_found(located, CancelSource.CLIENT_REQUEST, time.time())
        await self._ledger.delete(key)
        # Who remembers where it ran forgets it a moment later; until then it could still be read.
        while True:
            if await self._directory.locate(key) is None:
                return
            await asyncio.sleep(_FORGET_POLL_S)

    # Reading.

    async def _subscribe(self, located: Located) -> Subscription:
        if not located.is_settled:
            subscription = await self._mirrors.join(located.actor, located.completion_id)
            if subscription is not None:
                return subscription
        return await self._replay(located.completion_id)

    async def _replay(self, completion_id: str) -> Subscription:
        record = await settled_record(self._ledger, completion_id)
        mirror = Mirror(completion_id)
        mirror.extend(record.events)
        return MirrorSubscription(mirror, on_close=lambda _mirror, _reason: None)


async def _leave(starting: asyncio.Future[Placed], subscription: Subscription) -> None:
    """End the subscription of a start that nobody waits for, when the start has ended."""
    await asyncio.wait({starting})
    was_refused = starting.cancelled() or starting.exception() is not None
    await subscription.aclose(ReaderLeft.FINISHED if was_refused else ReaderLeft.CLIENT_GONE)
