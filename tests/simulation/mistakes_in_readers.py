"""Bugs to plant in what the end of a reader means; see `planted`."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from actors.core.completion.readers import (
    Departure,
    ProxyLife,
    ReaderEnd,
    Readers,
    Witness,
    departure_of,
)
from serve_app.http import leaving, watched_start
from serve_app.http.leaving import StallClock
from tests.simulation.mistakes import every


def dead_proxy_is_leaving() -> Any:
    """Whatever a proxy closes as it dies counts as its clients' leaving."""

    def judged(end: ReaderEnd, witness: Witness, _proxy: ProxyLife) -> Departure:
        return departure_of(end, witness, ProxyLife.LIVES)

    return patch.object(leaving, "departure_of", judged)


def stall_is_leaving() -> Any:
    """What a replica finds closed when it wakes counts as its clients' leaving."""
    return patch.object(StallClock, "has_stalled", lambda _clock: False)


def lost_is_not_awaited() -> Any:
    """A replica that dies or is cut off takes what is read there with it."""
    leave = Readers.leave

    def gone(readers: Readers, channel: str, _departure: Departure, *, now_ns: int) -> bool:
        return leave(readers, channel, Departure.CLIENT_GONE, now_ns=now_ns)

    return patch.object(Readers, "leave", gone)


def back_in_vain() -> Any:
    """The wait for a reader goes on although one has come."""

    def handle_timer(readers: Readers, *, now_ns: int) -> bool:
        until_ns = readers._awaited_until_ns
        if until_ns is None or now_ns < until_ns:
            return False
        readers._awaited_until_ns = None
        return readers._cancels_when_left

    return patch.object(Readers, "handle_timer", handle_timer)


def given_up_start_is_read_on() -> Any:
    """A start that is answered after its client has gone keeps its reader, and so its slot."""
    give_up, now = watched_start._give_up, every(5)

    async def forgets(starting: Any, reason: Any) -> None:
        if not now():
            await give_up(starting, reason)

    return patch.object(watched_start, "_give_up", forgets)
