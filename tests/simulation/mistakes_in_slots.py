"""Bugs to plant in slots, and in what waits for them; see `planted`."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any
from unittest.mock import patch

from actors.completion.carrier import Carrier
from actors.completion.reporter import Reporter
from actors.core.errors import Overloaded, Unauthenticated
from actors.registry import pool
from actors.registry.pool import CarrierState
from actors.registry.waiters import Waiters
from actors.replica import starts
from actors.replica.mirror import Mirror
from actors.replica.slot_leases import SlotLeases, Wish
from actors.replica.slots import Slots
from actors.replica.starts import Starts
from serve_app.http.authentication import Authenticator, secret_of
from tests.simulation.mistakes import both, every

# Slots.


def cancelled_keeps_slot() -> Any:
    """A start that is cancelled in the turn in which it is handed a slot loses the slot."""

    def withdraw(leases: SlotLeases, wish: Any, *, now_s: float) -> None:
        leases._waiting.pop(wish, None)

    return patch.object(SlotLeases, "withdraw", withdraw)


def dead_slots_stay() -> Any:
    """Slots of a dead carrier are handed on."""
    return patch.object(SlotLeases, "forget", lambda _leases, _carrier: None)


def slot_not_returned() -> Any:
    ended = Starts.ended

    def forget(of: Starts, mirror: Mirror) -> None:
        if not mirror.completion_id.endswith("7_1"):
            ended(of, mirror)

    return patch.object(Starts, "ended", forget)


def slot_returned_twice() -> Any:
    put_back, now = SlotLeases.put_back, every(20)

    def twice(leases: SlotLeases, slot: Any, *, now_s: float) -> None:
        put_back(leases, slot, now_s=now_s)
        if now():
            put_back(leases, slot, now_s=now_s)

    return patch.object(SlotLeases, "put_back", twice)


def leased_twice() -> Any:
    return patch.object(CarrierState, "taken", property(lambda state: 0))


def carrier_takes_all() -> Any:
    """A carrier takes what it is given, past its maximum.

    Leases end too soon here, so that it is given more at all; that alone breaks nothing.
    """
    begin = Carrier._begin

    def always(carrier: Carrier, command: Any, channel: str) -> Any:
        slots_max, carrier._slots_max = carrier._slots_max, 10_000
        try:
            return begin(carrier, command, channel)
        finally:
            carrier._slots_max = slots_max

    return both(patch.object(Carrier, "_begin", always), patch.object(pool, "LEASE_S", 0.05))


def renewing_ends() -> Any:
    """The renewing of leases ends for ever at an exception of somebody else's."""
    renew, now = Slots._renew, every(20)

    async def dies(slots: Slots) -> bool:
        if now():
            await asyncio.get_running_loop().create_future()
        return await renew(slots)

    return patch.object(Slots, "_renew", dies)


def maybe_running_is_free() -> Any:
    """A carrier that is away said nothing, and its slot is taken for free: the start may be running."""
    return patch.object(starts, "RequestError", Overloaded)


def starts_wait_without_bound() -> Any:
    def wish(leases: SlotLeases) -> Wish:
        made = Wish()
        leases._waiting[made] = None
        return made

    return patch.object(SlotLeases, "wish", wish)


def waiters_without_bound() -> Any:
    def add(waiters: Waiters, waiter: Any) -> None:
        before = waiters._waiters.pop(waiter.ask.replica, None)
        if before is not None and before.is_waiting:
            before.served.set_exception(Overloaded("The replica has asked again."))
        waiters._waiters[waiter.ask.replica] = waiter

    return patch.object(Waiters, "add", add)


def news_without_bound() -> Any:
    return patch.object(Reporter, "_changed", lambda reporter: reporter._news.set())


def keys_wait_without_bound() -> Any:
    async def principal(keys: Authenticator, headers: Any) -> Any:
        keys._waiting += 1
        try:
            digest = hashlib.sha256(secret_of(headers).encode()).hexdigest()
            await asyncio.shield(keys._answer_of(digest))
        finally:
            keys._waiting -= 1
        raise Unauthenticated("The API key is not valid.", reason="invalid")

    return patch.object(Authenticator, "principal", principal)
