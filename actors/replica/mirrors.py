"""What a replica reads: a mirror per completion, and one channel per carrier that fills them.

It owns no completion: whatever is lost here (a link, a channel, this process) costs none anything. A
reader of a completion whose carrier died gets the end that the store has, or will have.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from actors.completion.channel import (
    ABSENT,
    CHANNEL_LEASE_S,
    ChannelBatch,
    Mirror,
    MirrorSubscription,
)
from actors.core.completion.readers import Departure
from actors.core.errors import (
    CompletionNotFound,
    CompletionRuntimeError,
    Failure,
    FailureCode,
    Overloaded,
)
from actors.core.events import Charge, Event, Finished, FinishReason, Status, Usage
from actors.core.record import CompletionRecord
from actors.ports.accounts import Ledger
from actors.ports.directory import CarrierLost, Directory
from actors.ports.runtime import ReaderLeft

__all__ = ["Mirrors", "settled_record"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_LOSS_TIMEOUT_S = 30.0
"""How long readers of a dead actor wait for the store to say how its completions ended."""

_POLL_S = 0.1

_UNKNOWN_END = Finished(
    Status.FAILED,
    FinishReason.ERROR,
    None,
    Failure(FailureCode.COMPLETION_LOST, "The completion's owner is gone."),
    Usage(),
    Charge(),
)


async def settled_record(ledger: Ledger, completion_id: str) -> CompletionRecord:
    """Return the stored record, waiting for one that is about to be settled or declared lost.

    Raises: CompletionNotFound: there is none, or it is still open after `_LOSS_TIMEOUT_S`.
    """
    deadline_s = time.monotonic() + _LOSS_TIMEOUT_S
    was_settled = False
    while True:
        try:
            return await ledger.record(completion_id)
        except CompletionNotFound:
            if was_settled or time.monotonic() > deadline_s:
                raise
        located = await ledger.find_by_id(completion_id)
        if located is None:
            raise CompletionNotFound
        # It may have been settled between the two answers: then the record is there now, or never.
        was_settled = located.is_settled
        if not was_settled:
            await asyncio.sleep(_POLL_S)


class Mirrors:
    """The mirrors of one replica.

    Args:
        channel: this replica's name, unique among all replicas that ever were.
        on_closed: called with the carrier and the mirror when its last reader has left.
        silence_timeout_s: a lease that brings nothing for so long, not even its end, has broken.
        loss_timeout_s: how long a ledger that is away is asked for the end of what a dead carrier had.
    """

    def __init__(
        self,
        directory: Directory,
        ledger: Ledger,
        *,
        channel: str,
        on_closed: Callable[[str, Mirror], None],
        silence_timeout_s: float = CHANNEL_LEASE_S + 5.0,
        loss_timeout_s: float = _LOSS_TIMEOUT_S,
    ) -> None:
        self._directory = directory
        self._ledger = ledger
        self._channel = channel
        self._on_closed = on_closed
        self._silence_timeout_s = silence_timeout_s
        self._loss_timeout_s = loss_timeout_s
        self._mirrors: dict[str, Mirror] = {}
        self._reading: dict[str, set[str]] = {}  # carrier -> completions read there
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def __contains__(self, completion_id: str) -> bool:
        return completion_id in self._mirrors

    def open(self, actor: str, completion_id: str) -> MirrorSubscription:
        """Subscribe to the mirror, and see to it that the actor's channel is read."""
        mirror = self._mirrors.get(completion_id)
        if mirror is None:
            mirror = self._mirrors[completion_id] = Mirror(completion_id)
            self._reading.setdefault(actor, set()).add(completion_id)
        if actor not in self._pumps:
            self._pumps[actor] = asyncio.get_running_loop().create_task(self._pump(actor))
        return MirrorSubscription(
            mirror, on_close=lambda closed, reason: self._left(actor, closed, reason)
        )

    async def join(self, actor: str, completion_id: str) -> MirrorSubscription | None:
        """Subscribe to a completion that runs already; who comes meanwhile waits for the same attach.

        Returns: None where its carrier has it no more; the store has its end, or will have.
        Raises: Overloaded: the carrier is out of reach.
        Cancel: nobody is left subscribed.
        """
        is_read = completion_id in self._mirrors
        subscription = self.open(actor, completion_id)
        mirror = self._mirrors[completion_id]
        if not is_read:
            mirror.attaching = self._spawn(self._attach(actor, completion_id))
        is_carried = False
        try:
            is_carried = mirror.attaching is None or await asyncio.shield(mirror.attaching)
        finally:
            if not is_carried:
                await subscription.aclose(ReaderLeft.DETACHED)
        return subscription if is_carried else None

    async def aclose(self) -> None:
        """Stop reading. The completions go on."""
        tasks = [*self._pumps.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _left(self, actor: str, mirror: Mirror, reason: ReaderLeft) -> None:
        if mirror.readers:
            return
        completion_id = mirror.completion_id
        self._mirrors.pop(completion_id, None)
        reading = self._reading.get(actor, set())
        reading.discard(completion_id)
        if not reading:
            self._reading.pop(actor, None)
        if not mirror.is_finished:
            gone = reason is ReaderLeft.CLIENT_GONE
            departure = Departure.CLIENT_GONE if gone else Departure.LOST
            self._spawn(self._detach(actor, completion_id, departure))
        self._on_closed(actor, mirror)

    async def _attach(self, actor: str, completion_id: str) -> bool:
        """Let the channel read the completion from its first event; False where it is not there."""
        try:
            link = await self._directory.link(actor)
            await link.attach(completion_id, self._channel, -1)
        except (CompletionNotFound, CarrierLost):
            return False
        return True

    async def _detach(self, actor: str, completion_id: str, departure: Departure) -> None:
        try:
            link = await self._directory.link(actor)
            if completion_id in self._mirrors:
                return  # Somebody came meanwhile, and must not be taken off.
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

    async def _read_lease(self, actor: str) -> None:
        """Read one lease of the channel; a link that is away for a moment is tried again."""
        now_s = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self._silence_timeout_s) as silence:
                link = await self._directory.link(actor)
                async for batch in link.channel(self._channel, self._cursors(actor)):
                    silence.reschedule(now_s() + self._silence_timeout_s)
                    self._deliver(batch)
        except CarrierLost:
            raise
        except TimeoutError:
            pass  # To a host that is cut off, a call neither ends nor breaks, not even afterwards.
        except CompletionRuntimeError:
            await asyncio.sleep(_POLL_S)
        except Exception:
            # A bug of ours must not leave the readers of a living completion waiting for ever.
            _log.exception("reading the channel of %s failed", actor)
            await asyncio.sleep(_POLL_S)

    def _cursors(self, actor: str) -> dict[str, int]:
        """Return what is read there, and the sequence of the last event that is here of each."""
        mirrors = (self._mirrors.get(completion_id) for completion_id in self._reading[actor])
        return {
            mirror.completion_id: len(mirror.events) - 1
            for mirror in mirrors
            if mirror is not None and not mirror.is_finished
        }

    def _deliver(self, batch: ChannelBatch) -> None:
        for completion_id, first, rows in batch:
            mirror = self._mirrors.get(completion_id)
            if mirror is None:
                continue
            if first == ABSENT:
                self._spawn(self._end_absent(mirror))
            elif not mirror.receive(first, rows):
                raise Overloaded("A batch is missing; the next lease sends it again.")

    async def _end_absent(self, mirror: Mirror) -> None:
        """End a mirror whose carrier has the completion no more; one that is on its way there waits."""
        if not mirror.events:
            located = await self._ledger.find_by_id(mirror.completion_id)
            if located is None or not located.is_settled:
                return
        await self._end_from_store(mirror)

    def _end_lost(self, actor: str) -> None:
        """Give every reader of a dead actor the end that the store has, or will have."""
        for completion_id in self._reading.pop(actor, ()):
            mirror = self._mirrors.get(completion_id)
            if mirror is not None and not mirror.is_finished:
                self._spawn(self._end_from_store(mirror))

    async def _end_from_store(self, mirror: Mirror) -> None:
        """Append the stored end; where none comes in time, an end that says it is lost."""
        try:
            events = await self._stored_events(mirror.completion_id)
        except CompletionRuntimeError:
            _log.warning("no end is known of %s", mirror.completion_id)
            events = (_UNKNOWN_END,)
        if not mirror.is_finished:
            have = len(mirror.events)
            mirror.extend(events[have:] if len(events) > have else events[-1:])

    async def _stored_events(self, completion_id: str) -> Sequence[Event]:
        """Return the stored log; a ledger that is away is asked again, for a bounded time.

        It may have died with the carrier, on the same host, and be back in a moment.

        Raises: CompletionNotFound: it has none. Overloaded: it stayed away.
        """
        deadline_s = time.monotonic() + self._loss_timeout_s
        while True:
            try:
                return (await settled_record(self._ledger, completion_id)).events
            except Overloaded:
                if time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(_POLL_S)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()  # Marked as seen: all may have left.
        if error is not None and not isinstance(error, CompletionRuntimeError):
            _log.error("reading failed", exc_info=error)
