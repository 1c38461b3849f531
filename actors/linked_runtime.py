"""The runtime as a replica has it: mirrors of what its readers read, and links to the carriers.

Which carriers there are, near or far, is the `Directory`'s business; so the same code is the runtime
on Ray and the one in memory. No Ray here.

It owns the mirrors and one channel per carrier it reads from; it owns no completion. Whatever it
loses (its process, a link, a channel) costs no completion anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from actors.accounts import Ledger
from actors.carrier import CarrierLink
from actors.channel import Mirror, MirrorSubscription
from actors.core.errors import (
    AdmissionError,
    CarrierBusy,
    CompletionNotFound,
    CompletionRuntimeError,
    Failure,
    FailureCode,
    NotCancellable,
    Overloaded,
    ReplayGap,
    RequestError,
)
from actors.core.events import (
    CancelSource,
    Charge,
    Event,
    Finished,
    FinishReason,
    Status,
    Usage,
)
from actors.core.readers import Departure
from actors.core.request import StartCommand
from actors.ledger import Balance, CompletionKey, Located, Principal, TeamLimits
from actors.record import CompletionRecord
from actors.runtime import (
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
from actors.settings import Settings

__all__ = ["CarrierLost", "Directory", "LinkedRuntime"]

_log = logging.getLogger(__name__)

_START_TRIES = 5
"""How many slots a start may find taken, by a race, before it says that we are overloaded."""

_LOSS_TIMEOUT_S = 30.0
"""How long readers of a dead actor wait for the store to say how its completions ended."""

_BUSY_PAUSE_S = 0.02
"""Before another slot is asked for when one was taken after all: carriers report about as often."""

_POLL_S = 0.1

_UNKNOWN_END = Finished(
    Status.FAILED,
    FinishReason.ERROR,
    None,
    Failure(FailureCode.COMPLETION_LOST, "The completion's owner is gone."),
    Usage(),
    Charge(),
)

T = TypeVar("T")


class CarrierLost(Exception):
    """The carrier's process is dead; what it carried is for the store to say."""


class Directory(Protocol):
    """Where the carriers are."""

    async def acquire(self) -> str:
        """Take a slot; return the name of the carrier that has it. It is owed a `release`.

        Raises: Overloaded: none came free within `admission_timeout_s`.
        """
        ...

    def release(self, actor: str, *, is_free: bool) -> None:
        """Give a slot back; `is_free` says that its completion has ended, or never began."""
        ...

    def lost(self, actor: str) -> None:
        """The carrier is dead: forget its slots."""
        ...

    async def link(self, actor: str) -> CarrierLink:
        """Return the link of that name. Raises: CarrierLost: there is no such carrier any more."""
        ...

    async def locate(self, key: CompletionKey) -> Located | None:
        """Return where the completion is; None when even the store has none."""
        ...

    async def rows(self) -> list[CompletionRow]:
        """Return the living completions with their running figures, from the carriers."""
        ...

    async def describe(self) -> dict[str, Any]: ...


class LinkedRuntime:
    """See `actors.runtime.CompletionRuntime`, which this implements.

    Args:
        channel: this replica's name, unique among all replicas that ever were.
    """

    def __init__(
        self, directory: Directory, ledger: Ledger, *, settings: Settings, channel: str
    ) -> None:
        self._directory = directory
        self._ledger = ledger
        self._settings = settings
        self._channel = channel
        self._mirrors: dict[str, Mirror] = {}
        self._reading: dict[str, set[str]] = {}  # carrier -> completions read there
        self._with_slot: set[str] = set()  # completions whose slot is this replica's to release
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

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
        requested_at_s = time.time()
        return await self._cancel(await self._locate(key), source, requested_at_s)

    async def remember_cancellation(self, key: CompletionKey) -> RememberedCancellation:
        return await self._ledger.remember_cancellation(key)

    async def find_idempotent(
        self, team: str, key: str, fingerprint: str
    ) -> CompletionRecord | None:
        return await self._ledger.find_idempotent(team, key, fingerprint)

    # Accounts and administration.

    async def authenticate(self, secret: str) -> Principal:
        return await self._ledger.authenticate(hashlib.sha256(secret.encode()).hexdigest())

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
        requested_at_s = time.time()
        return await self._cancel(await self._locate_id(completion_id), source, requested_at_s)

    async def create_team(
        self, team: str, organization: str, *, credits_microcredits: int, limits: TeamLimits
    ) -> None:
        await self._ledger.create_team(
            team, organization, credits_microcredits=credits_microcredits, limits=limits
        )

    async def create_key(self, team: str, name: str) -> IssuedKey:
        return await self._ledger.create_key(team, name)

    async def list_keys(self, team: str | None) -> list[KeyRow]:
        return await self._ledger.list_keys(team)

    async def revoke_key(self, key_id: str) -> None:
        await self._ledger.revoke_key(key_id)

    async def grant_credits(self, team: str, amount_microcredits: int) -> Balance:
        return await self._ledger.grant_credits(team, amount_microcredits)

    async def audit(self) -> dict[str, Any]:
        return await self._ledger.audit()

    async def describe(self) -> dict[str, Any]:
        return await self._directory.describe()

    async def aclose(self) -> None:
        """Stop reading. The completions go on."""
        tasks = [*self._pumps.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Starting.

    async def _start_on(self, actor: str, command: StartCommand) -> StartedCompletion:
        link = await self._directory.link(actor)
        subscription = self._open(actor, command.completion_id)
        try:
            placed = await link.start(command, self._channel)
        except BaseException as error:
            # A caller that was cancelled is a client that may have left a completion behind.
            was_cancelled = isinstance(error, asyncio.CancelledError)
            await subscription.aclose(
                ReaderLeft.CLIENT_GONE if was_cancelled else ReaderLeft.FINISHED
            )
            raise
        self._with_slot.add(command.completion_id)
        return StartedCompletion(subscription, placed.rate)

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
            record = await self._at_carrier(
                located, lambda link: link.record(located.completion_id)
            )
            if record is not None:
                return record
        return await self._settled_record(located.completion_id, _LOSS_TIMEOUT_S)

    async def _settled_record(self, completion_id: str, timeout_s: float) -> CompletionRecord:
        """Return the stored record, waiting for one that is about to be settled or declared lost."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return await self._ledger.record(completion_id)
            except CompletionNotFound:
                located = await self._ledger.find_by_id(completion_id)
                if located is None or located.is_settled or time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(_POLL_S)

    # Cancelling.

    async def _cancel(
        self, located: Located, source: CancelSource, requested_at_s: float
    ) -> CancelAnswer:
        if located.is_settled:
            return await self._terminal_answer(located)
        try:
            async with asyncio.timeout(self._settings.cancel_timeout_s):
                answer = await self._at_carrier(
                    located,
                    lambda link: link.cancel(located.completion_id, source, requested_at_s),
                )
        except (TimeoutError, Overloaded):
            raise NotCancellable("The completion's owner did not answer in time.") from None
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

    # Reading.

    async def _subscribe(self, located: Located) -> Subscription:
        completion_id = located.completion_id
        if located.is_settled:
            return await self._replay(completion_id)
        known = completion_id in self._mirrors
        subscription = self._open(located.actor, completion_id)
        if not known:
            attached = await self._at_carrier(
                located, lambda link: self._attach(link, completion_id)
            )
            if attached is None:
                await subscription.aclose(ReaderLeft.FINISHED)
                return await self._replay(completion_id)
        return subscription

    async def _attach(self, link: CarrierLink, completion_id: str) -> bool:
        await link.attach(completion_id, self._channel, -1)
        return True

    async def _replay(self, completion_id: str) -> Subscription:
        record = await self._settled_record(completion_id, _LOSS_TIMEOUT_S)
        mirror = Mirror(completion_id)
        mirror.extend(record.events)
        return MirrorSubscription(mirror, on_close=lambda _mirror, _reason: None)

    def _open(self, actor: str, completion_id: str) -> MirrorSubscription:
        """Subscribe to this replica's mirror, and see to it that the actor's channel is read."""
        mirror = self._mirrors.get(completion_id)
        if mirror is None:
            mirror = self._mirrors[completion_id] = Mirror(completion_id)
            self._reading.setdefault(actor, set()).add(completion_id)
        if actor not in self._pumps:
            task = asyncio.get_running_loop().create_task(self._pump(actor))
            self._pumps[actor] = task
        return MirrorSubscription(
            mirror, on_close=lambda closed, reason: self._left(actor, closed, reason)
        )

    def _left(self, actor: str, mirror: Mirror, reason: ReaderLeft) -> None:
        if mirror.readers:
            return
        completion_id = mirror.completion_id
        self._mirrors.pop(completion_id, None)
        if completion_id in self._with_slot:
            self._with_slot.remove(completion_id)
            self._directory.release(actor, is_free=mirror.is_finished)
        reading = self._reading.get(actor, set())
        reading.discard(completion_id)
        if not reading:
            self._reading.pop(actor, None)
        if not mirror.is_finished:
            departure = (
                Departure.CLIENT_GONE if reason is ReaderLeft.CLIENT_GONE else Departure.LOST
            )
            self._spawn(self._detach(actor, completion_id, departure))

    async def _detach(self, actor: str, completion_id: str, departure: Departure) -> None:
        try:
            link = await self._directory.link(actor)
            await link.detach(completion_id, self._channel, departure)
        except (CarrierLost, CompletionRuntimeError):
            pass  # The channel's lease tells the carrier the same, only later.

    async def _pump(self, actor: str) -> None:
        """Read the actor's channel, lease after lease, while anybody here reads something there."""
        try:
            while self._reading.get(actor):
                await self._read_lease(actor)
        except CarrierLost:
            self._directory.lost(actor)
            self._end_lost(actor)
        finally:
            del self._pumps[actor]
        if self._reading.get(actor) and actor not in self._pumps:
            # Somebody came between the last look and here.
            self._pumps[actor] = asyncio.get_running_loop().create_task(self._pump(actor))

    async def _read_lease(self, actor: str) -> None:
        """Read one lease of the channel; a link that is away for a moment is tried again."""
        try:
            link = await self._directory.link(actor)
            async for batch in link.channel(self._channel):
                await self._deliver(link, batch)
        except CompletionRuntimeError:
            await asyncio.sleep(_POLL_S)

    async def _deliver(
        self, link: CarrierLink, batch: Sequence[tuple[str, int, list[list[Any]]]]
    ) -> None:
        for completion_id, first, rows in batch:
            mirror = self._mirrors.get(completion_id)
            if mirror is not None and not mirror.receive(first, rows):
                try:
                    await link.attach(completion_id, self._channel, len(mirror.events) - 1)
                except (CompletionNotFound, ReplayGap):
                    self._spawn(self._end_from_store(mirror))

    def _end_lost(self, actor: str) -> None:
        """Give every reader of a dead actor the end that the store has, or will have."""
        for completion_id in self._reading.pop(actor, ()):
            mirror = self._mirrors.get(completion_id)
            if mirror is not None and not mirror.is_finished:
                self._spawn(self._end_from_store(mirror))

    async def _end_from_store(self, mirror: Mirror) -> None:
        """Append the stored end; after `_LOSS_TIMEOUT_S` without one, an end that says it is lost."""
        try:
            record = await self._settled_record(mirror.completion_id, _LOSS_TIMEOUT_S)
            events: Sequence[Event] = record.events
        except CompletionRuntimeError:
            _log.warning("no end is known of %s", mirror.completion_id)
            events = (_UNKNOWN_END,)
        if not mirror.is_finished:
            have = len(mirror.events)
            mirror.extend(events[have:] if len(events) > have else events[-1:])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
