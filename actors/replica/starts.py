"""How a replica starts a completion: a slot, a reader, then the carrier is asked.

A slot is this replica's until the completion that is in it has ended or has no reader here any more.
What became of it otherwise decides whether it can be used again at once: only a refusal proves that
nothing runs there. All else leaves it to the registry, which hears from the carrier what runs.
"""

from __future__ import annotations

import asyncio

from actors.core.errors import AdmissionError, CarrierBusy, RequestError
from actors.core.request import StartCommand
from actors.ports.directory import CarrierLost, Carriers
from actors.ports.ledger import Placed
from actors.ports.registry import Slot
from actors.ports.runtime import ReaderLeft, StartedCompletion, Subscription
from actors.replica.mirror import Mirror
from actors.replica.mirrors import Mirrors
from actors.replica.slots import Slots

__all__ = ["Starts"]

_BUSY_PAUSE_S = 0.05
"""Before another slot is asked for when one was taken after all: carriers report about as often."""


class Starts:
    """The starts of one replica.

    Args:
        channel: this replica's name, by which carriers know its readers.
        admission_timeout_s: how long a start looks for a carrier that takes it.
    """

    def __init__(
        self,
        slots: Slots,
        carriers: Carriers,
        mirrors: Mirrors,
        *,
        channel: str,
        admission_timeout_s: float,
    ) -> None:
        self._slots = slots
        self._carriers = carriers
        self._mirrors = mirrors
        self._channel = channel
        self._admission_timeout_s = admission_timeout_s
        self._leaving: set[asyncio.Task[None]] = set()
        self._slots_used: dict[tuple[str, str], Slot] = {}
        """By carrier and completion; this replica's to release."""

    async def start(self, command: StartCommand) -> StartedCompletion:
        """See `actors.ports.runtime.CompletionRuntime.start`."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._admission_timeout_s
        while True:
            slot = await self._slots.acquire(deadline_s=deadline_s)
            try:
                return await self._start_on(slot, command)
            except CarrierLost:
                self._slots.lost(slot.carrier)
                self._carriers.forget(slot.carrier)
            except CarrierBusy:
                self._slots.release(slot, is_free=False)
                if loop.time() + _BUSY_PAUSE_S > deadline_s:
                    raise
                await asyncio.sleep(_BUSY_PAUSE_S)
            except (AdmissionError, RequestError):
                self._slots.release(slot, is_free=True)
                raise
            except BaseException:
                self._slots.release(slot, is_free=False)
                raise

    def ended(self, mirror: Mirror) -> None:
        """The completion has ended, or nobody here reads it any more: its slot is given back, once."""
        slot = self._slots_used.pop((mirror.carrier, mirror.completion_id), None)
        if slot is not None:
            self._slots.release(slot, is_free=mirror.is_finished)

    async def aclose(self) -> None:
        """Wait for no start any more whose caller has left."""
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _start_on(self, slot: Slot, command: StartCommand) -> StartedCompletion:
        link = self._carriers.link(slot.carrier)
        starting = asyncio.ensure_future(link.start(command, self._channel))
        subscription = self._mirrors.starting(slot.carrier, command.completion_id, starting)
        try:
            placed = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A client that left may have left a completion behind. Its carrier is told only when it
            # has the completion: an actor's calls may overtake each other.
            leaving = asyncio.get_running_loop().create_task(_leave(starting, subscription))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            raise
        except BaseException:
            # Where it runs all the same, nobody will ever read it: that is a client that has left.
            await subscription.aclose(ReaderLeft.CLIENT_GONE)
            raise
        self._slots_used[slot.carrier, command.completion_id] = slot
        return StartedCompletion(subscription, placed.rate)


async def _leave(starting: asyncio.Future[Placed], subscription: Subscription) -> None:
    """End the subscription of a start that nobody waits for, when the start has ended."""
    try:
        await asyncio.wait({starting})
        starting.exception()  # Marked as seen: there is nobody to be told.
    except asyncio.CancelledError:
        starting.cancel()
        raise
    finally:
        await subscription.aclose(ReaderLeft.CLIENT_GONE)
