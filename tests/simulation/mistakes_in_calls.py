"""Bugs to plant in calls, channels, upstreams, owners and verdicts; see `planted`."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import patch

from actors.completion.carrier import Carrier
from actors.completion.channel import ChannelSource
from actors.completion.driver import CompletionDriver
from actors.completion.upstream_pump import UpstreamPump
from actors.core.completion.transitions import HoldRefused
from actors.ports.transport import ConnectionLost
from actors.registry import draining
from actors.registry.deaths import Deaths
from actors.registry.locations import Locations
from actors.replica import mirrors
from actors.replica.mirrors import Mirrors
from actors.rpc.messages import CREDIT, STOP
from actors.rpc.serving import _Caller
from tests.simulation.mistakes import both, every

# Calls, channels and upstreams.


def unknown_call_hangs_up() -> Any:
    """An operation that there is not ends the connection, with the calls of all neighbours."""
    take = _Caller._take

    def hang_up(caller: _Caller, ask: Any) -> None:
        if ask.method not in (STOP, CREDIT) and ask.method not in caller._methods:
            raise ConnectionLost
        take(caller, ask)

    return patch.object(_Caller, "_take", hang_up)


def stream_left_open() -> Any:
    """A stream that is read no more is left to the garbage collector."""

    class LeftOpen:
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aenter__(self) -> Any:
            return self._stream

        async def __aexit__(self, *_error: Any) -> None:
            pass

    deliver, now = Mirrors._deliver, every(20)

    def reads_no_more(of: Mirrors, carrier: str, batch: Any) -> bool:
        return deliver(of, carrier, batch) and not now()

    return both(
        patch.object(mirrors, "aclosing", LeftOpen),
        patch.object(Mirrors, "_deliver", reads_no_more),
    )


def started_waits() -> Any:
    """`Started` waits for the first token, or the lease's end."""

    def mark(source: ChannelSource, completion_id: str) -> None:
        cursor, log = source._cursors.get(completion_id), source._owner.log_of(completion_id)
        if cursor is None or log is None or len(log) <= cursor + 1:
            return
        source._dirty[completion_id] = None
        if len(log) > 1 or log.finished is not None:
            source._wake.set()

    return patch.object(ChannelSource, "mark", mark)


def closing_is_cut() -> Any:
    """A closing that tells the provider to stop is cancelled by a second one."""
    close = UpstreamPump.close

    async def cut(pump: UpstreamPump) -> None:
        if pump._reading is not None:
            pump._reading.cancel()
        await close(pump)

    return patch.object(UpstreamPump, "close", cut)


# Owners and verdicts.


def no_verdict() -> Any:
    async def nothing(*_args: Any) -> None:
        pass

    return both(
        patch.object(Deaths, "lose", nothing), patch.object(Deaths, "find_orphans", nothing)
    )


def location_stays() -> Any:
    """What a dead carrier had stays located there."""
    return patch.object(Locations, "forget", lambda _locations, _carrier: None)


def lost_while_carried() -> Any:
    """Orphans are sought among what is open, by a look at who lives that is older."""

    async def find(deaths: Deaths) -> None:
        living = set(await deaths._cluster.living())
        await asyncio.sleep(2.0)
        opened = await deaths._ledger.open_completions()
        orphans = [one.completion_id for one in opened if one.actor not in living]
        if orphans:
            await deaths._ledger.lose_completions(sorted(orphans))

    return patch.object(Deaths, "find_orphans", find)


def place_fails() -> Any:
    """An exception that nobody foresaw, while the hold is placed."""
    place, now = CompletionDriver._place, every(30)

    async def fails(driver: CompletionDriver) -> None:
        if now():
            return
        await place(driver)

    return patch.object(CompletionDriver, "_place", fails)


def cancel_is_told_the_refusal() -> Any:
    """A cancel that waits for a hold which is then refused is answered with the refusal."""

    def refused(driver: CompletionDriver, error: Any) -> None:
        driver._feed(HoldRefused())
        driver._end(error, error)

    return patch.object(CompletionDriver, "_refused", refused)


def refused_is_not_told() -> Any:
    """A refusal is swallowed: whoever started waits for ever."""
    return patch.object(
        CompletionDriver, "_refused", lambda driver, _error: driver._feed(HoldRefused())
    )


# Drains.


def drain_takes_new() -> Any:
    """A carrier that drains says what it has, and goes on taking more."""
    drain = Carrier.drain

    async def takes(carrier: Carrier, *, cancels: bool) -> int:
        left = await drain(carrier, cancels=cancels)
        carrier._drains_until_s = 0.0
        return left

    return patch.object(Carrier, "drain", takes)


def drain_cancels() -> Any:
    """What runs is cancelled by the first order already."""
    drain = Carrier.drain

    async def at_once(carrier: Carrier, *, cancels: bool) -> int:
        return await drain(carrier, cancels=True)

    return patch.object(Carrier, "drain", at_once)


def drain_never_lapses() -> Any:
    """Whoever ordered it was killed, and nothing is started any more."""
    return patch.object(draining, "DRAIN_LEASE_S", 1e6)
