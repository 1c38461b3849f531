"""What a replica reads: a mirror per completion, and one channel per carrier that fills them.

It owns no completion: whatever is lost here (a link, a channel, this process) costs none anything. A
reader of a completion that its carrier has no more gets the end that the store has, or will have. No end
is ever made up here: where the store has none, or does not say, the reader is told so by an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, TypeVar, cast

from actors.core.completion.partial_log import closings
from actors.core.completion.readers import Departure
from actors.core.errors import (
    CompletionNotFound,
    CompletionRuntimeError,
    Overloaded,
)
from actors.core.events import Event, Finished, Status
from actors.ports.carrier import ABSENT, CHANNEL_LEASE_S, ChannelBatch
from actors.ports.directory import CarrierLost, Carriers
from actors.ports.ledger import Ledger
from actors.ports.runtime import ReaderLeft
from actors.replica.mirror import Mirror, MirrorSubscription
from actors.replica.records import LOSS_TIMEOUT_S, POLL_S, settled_record
from actors.replica.testimony import testify

__all__ = ["Mirrors"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ATTACH_TIMEOUT_S = 5.0
"""A carrier that takes longer to let a reader in is out of reach."""

_NO_WORD = "How the completion ended is not known yet."


class Mirrors:
    """The mirrors of one replica.

    Args:
        channel: this replica's name, unique among all replicas that ever were.
        on_ended: called with a mirror when its end has come, and when its last reader has left; so
            once or twice.
        on_lost: called with each carrier that turns out to be dead.
        reader_grace_s: how long a reader that was lost is awaited, though others leave.
        silence_timeout_s: a lease that brings nothing for so long, not even its end, has broken.
        loss_timeout_s: how long a ledger that is away is asked for the end of what a dead carrier had.
    """

    def __init__(
        self,
        carriers: Carriers,
        ledger: Ledger,
        *,
        channel: str,
        on_ended: Callable[[Mirror], None],
        on_lost: Callable[[str], None],
        reader_grace_s: float,
        silence_timeout_s: float = CHANNEL_LEASE_S + 5.0,
        loss_timeout_s: float = LOSS_TIMEOUT_S,
    ) -> None:
        self._carriers = carriers
        self._ledger = ledger
        self._channel = channel
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._reader_grace_s = reader_grace_s
        self._silence_timeout_s = silence_timeout_s
        self._loss_timeout_s = loss_timeout_s
        self._reading: dict[str, dict[str, Mirror]] = {}  # by carrier and completion
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Mirrors {sum(map(len, self._reading.values()))} of {len(self._pumps)} carriers>"

    def __contains__(self, completion_id: str) -> bool:
        return any(completion_id in mirrors for mirrors in self._reading.values())

    def open(self, carrier: str, completion_id: str) -> MirrorSubscription:
        """Subscribe to the mirror, and see to it that the carrier's channel is read."""
        mirrors = self._reading.setdefault(carrier, {})
        mirror = mirrors.get(completion_id)
        if mirror is None:
            mirror = mirrors[completion_id] = Mirror(completion_id, carrier)
        if carrier not in self._pumps:
            self._pumps[carrier] = asyncio.get_running_loop().create_task(self._pump(carrier))
        return MirrorSubscription(mirror, on_close=self._left)

    def starting(
        self, carrier: str, completion_id: str, start: asyncio.Future[Any]
    ) -> MirrorSubscription:
        """Subscribe to a completion that is on its way to the carrier, until that start is answered."""
        subscription = self.open(carrier, completion_id)
        mirror = self._reading[carrier][completion_id]
        mirror.is_starting = True

        def answered(_start: asyncio.Future[Any]) -> None:
            mirror.is_starting = False

        start.add_done_callback(answered)
        return subscription

    async def join(self, carrier: str, completion_id: str) -> MirrorSubscription | None:
        """Subscribe to a completion that runs already; who comes meanwhile waits for the same attach.

        Returns: None where its carrier has it no more; the store has its end, or will have.
        Raises: Overloaded: the carrier is out of reach.
        Cancel: nobody is left subscribed.
        """
        is_read = completion_id in self._reading.get(carrier, {})
        subscription = self.open(carrier, completion_id)
        mirror = self._reading[carrier][completion_id]
        if not is_read:
            mirror.attaching = self._spawn(self._attach(carrier, completion_id))
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

    # Coming and going.

    def _left(self, mirror: Mirror, reason: ReaderLeft) -> None:
        now_s = asyncio.get_running_loop().time()
        if reason is ReaderLeft.DETACHED:
            mirror.lost_at_s = now_s
        if mirror.readers:
            return
        self._drop(mirror)
        # One that was lost a moment ago may come back: the owner waits for it, whoever left since.
        is_awaited = now_s - mirror.lost_at_s < self._reader_grace_s
        departure = Departure.LOST if is_awaited else Departure.CLIENT_GONE
        if not mirror.is_over:
            self._spawn(self._detach(mirror.carrier, mirror.completion_id, departure))
        self._on_ended(mirror)

    def _drop(self, mirror: Mirror) -> None:
        """Read it no more, and let nobody join it. Idempotent."""
        mirrors = self._reading.get(mirror.carrier, {})
        if mirrors.get(mirror.completion_id) is mirror:
            del mirrors[mirror.completion_id]
        if not mirrors:
            self._reading.pop(mirror.carrier, None)

    async def _attach(self, carrier: str, completion_id: str) -> bool:
        """Let the channel read the completion from its first event; False where it is not there."""
        try:
            async with asyncio.timeout(_ATTACH_TIMEOUT_S):
                await self._carriers.link(carrier).attach(completion_id, self._channel, -1)
        except (CompletionNotFound, CarrierLost):
            return False
        except TimeoutError:
            raise Overloaded("The completion's owner did not answer in time.") from None
        return True

    async def _detach(self, carrier: str, completion_id: str, departure: Departure) -> None:
        if completion_id in self._reading.get(carrier, {}):
            return  # Somebody came meanwhile, and must not be taken off.
        try:
            await self._carriers.link(carrier).detach(completion_id, self._channel, departure)
        except (CarrierLost, CompletionRuntimeError):
            pass  # The channel's lease tells the carrier the same, only later.

    # Reading.

    async def _pump(self, carrier: str) -> None:
        """Read the carrier's channel, lease after lease, while anybody here reads something there."""
        try:
            while self._reading.get(carrier):
                await self._read_lease(carrier)
        except CarrierLost:
            self._on_lost(carrier)
            for mirror in self._reading.get(carrier, {}).values():
                self._end_soon(mirror)
        finally:
            del self._pumps[carrier]

    async def _read_lease(self, carrier: str) -> None:
        """Read one lease of the channel; a link that is away for a moment is tried again."""
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        try:
            async with asyncio.timeout(self._silence_timeout_s) as silence:
                link = self._carriers.link(carrier)
                stream = link.channel(self._channel, self._cursors(carrier))
                async with aclosing(cast("AsyncGenerator[ChannelBatch, None]", stream)) as batches:
                    async for batch in batches:
                        silence.reschedule(now_s() + self._silence_timeout_s)
                        if not self._deliver(carrier, batch):
                            break  # A batch is missing; the next lease sends it again.
        except CarrierLost:
            raise
        except TimeoutError:
            await self._look(carrier)
        except CompletionRuntimeError:
            pass
        except Exception:
            # A bug of ours must not leave the readers of a living completion waiting for ever.
            _log.exception("reading the channel of %s failed", carrier)
        if now_s() - began_s < POLL_S:
            await asyncio.sleep(POLL_S)  # What ended at once is not opened again at once.

    async def _look(self, carrier: str) -> None:
        """Ask whether a silent carrier is dead: one that hung until it was ended breaks no connection, and
        to a host that is cut off a call neither ends nor breaks.

        Raises: CarrierLost.
        """
        with suppress(TimeoutError, CompletionRuntimeError):
            async with asyncio.timeout(self._silence_timeout_s):
                await self._carriers.look(carrier)

    def _cursors(self, carrier: str) -> dict[str, int]:
        """Return what is read there, and the sequence of the last event that is here of each."""
        return {
            completion_id: len(mirror.events) - 1
            for completion_id, mirror in self._reading[carrier].items()
            if not mirror.is_over
        }

    def _deliver(self, carrier: str, batch: ChannelBatch) -> bool:
        """Fill the mirrors; False where events in between are missing."""
        mirrors = self._reading.get(carrier, {})
        for completion_id, first, events in batch:
            mirror = mirrors.get(completion_id)
            if mirror is None:
                continue
            if first == ABSENT:
                if not mirror.is_starting:  # Else it is on its way there.
                    self._end_soon(mirror)
            elif not mirror.receive(first, events):
                return False
            elif mirror.is_finished:
                self._on_ended(mirror)
        return True

    # Ends that the carrier does not tell.

    def _end_soon(self, mirror: Mirror) -> None:
        if not (mirror.is_over or mirror.is_ending):
            mirror.is_ending = True
            self._spawn(self._end_from_store(mirror))

    async def _end_from_store(self, mirror: Mirror) -> None:
        """Append the end that the store has, or say by an error that it has none, or does not tell."""
        have = len(mirror.events)
        if have:
            await testify(self._ledger, mirror, timeout_s=self._loss_timeout_s)
        events: Sequence[Event] = ()
        error: CompletionRuntimeError = Overloaded(_NO_WORD)
        try:
            events = await self._stored_events(mirror.completion_id)
        except CompletionNotFound as absent:
            error = absent  # Its hold was refused, so it never was; or it was deleted since.
        except CompletionRuntimeError:
            _log.warning("no end is known of %s", mirror.completion_id)
        except Exception:
            # A reader must not wait for ever, whatever it is that the store answered.
            _log.exception("the end of %s could not be read", mirror.completion_id)
        mirror.is_ending = False
        if mirror.is_over or (not events and len(mirror.events) > have):
            return  # The carrier has it after all.
        if events:
            mirror.extend(_what_is_left(mirror.events, events))
        else:
            self._drop(mirror)
            mirror.break_off(error)
        self._on_ended(mirror)

    async def _stored_events(self, completion_id: str) -> Sequence[Event]:
        """Return the stored log; a ledger that is away is asked again, for a bounded time.

        It may have died with the carrier, on the same host, and be back in a moment.

        Raises: CompletionNotFound: it has none. Overloaded: it stayed away, or has no end yet.
        """
        now_s = asyncio.get_running_loop().time
        deadline_s = now_s() + self._loss_timeout_s
        find = partial(self._ledger.find_by_id, completion_id)
        while True:
            try:
                return (await settled_record(self._ledger, find)).events
            except Overloaded:
                if now_s() > deadline_s:
                    raise
            await asyncio.sleep(POLL_S)

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


def _what_is_left(mirrored: Sequence[Event], stored: Sequence[Event]) -> Sequence[Event]:
    """Return what a reader of the mirror has still to be told of a log that ended so.

    Where the store may not have the text, or has less of it than was mirrored, that is the end alone.
    """
    have = len(mirrored)
    if list(stored[:have]) == list(mirrored):
        return stored[have:]
    (end,) = stored[-1:]
    is_cut = isinstance(end, Finished) and end.status is Status.FAILED
    return (*closings(mirrored), end) if is_cut else (end,)
