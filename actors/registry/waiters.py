"""Who waits for a slot, in the order they came, and from when on each of them shares. No I/O.

A replica waits once, for as many slots as it wants: its next call takes the place of the one before.
So there are no more waiters than replicas, and `SLOTS_MAX` bounds what they want together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from actors.core.errors import Overloaded
from actors.registry.pool import SlotAsk

__all__ = ["SLOTS_MAX", "Waiter", "Waiters"]

SLOTS_MAX = 10_000
"""Slots that are waited for; who wants one more is told at once that we are overloaded."""


@dataclass(slots=True)
class Waiter:
    """`served` is done when slots were leased for it, which `Pool.lease` then gives again."""

    ask: SlotAsk
    shares_at_s: float
    served: asyncio.Future[None]

    @property
    def is_waiting(self) -> bool:
        return not self.served.done()


class Waiters:
    def __init__(self) -> None:
        self._waiters: dict[str, Waiter] = {}  # by replica, the longest waiting first

    def __iter__(self) -> Iterator[Waiter]:
        return iter([waiter for waiter in self._waiters.values() if waiter.is_waiting])

    @property
    def slots(self) -> int:
        """How many slots are waited for."""
        return sum(waiter.ask.count for waiter in self)

    def add(self, waiter: Waiter) -> None:
        """Raises: Overloaded: too many slots are waited for."""
        replica = waiter.ask.replica
        before = self._waiters.pop(replica, None)
        if before is not None and before.is_waiting:
            before.served.set_exception(Overloaded("The replica has asked again."))
        if self.slots + waiter.ask.count > SLOTS_MAX:
            raise Overloaded("Too many requests wait for an actor.", retry_after_s=5.0)
        self._waiters[replica] = waiter

    def remove(self, waiter: Waiter) -> None:
        if self._waiters.get(waiter.ask.replica) is waiter:
            del self._waiters[waiter.ask.replica]

    def refuse(self, why: Callable[[], Overloaded]) -> None:
        """Tell all who wait."""
        for waiter in self:
            waiter.served.set_exception(why())
