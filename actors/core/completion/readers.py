"""Who reads a completion, and what it means when nobody does any more.

A disconnect is not a cancel. Two questions are answered here, and nothing is waited for:

- What the end of one reader was (`departure_of`): its client has left, or it was lost. A replica asks.
- What the last reader's end does to the completion (`Readers`): its owner asks.

    a reader is there --CLIENT_GONE--> the policy applies, at once
                      --LOST---------> it is awaited for `grace_ns`; then the policy applies
    it is awaited     --attach-------> a reader is there

Who comes may be another than the one that was lost: so for the grace after any loss nobody's leaving ends
the completion. One whose client can come back by a key of its start (`outwaits`) is awaited even where
that client left. Readers are counted per channel, which is one replica's connection to the owner.
"""

from __future__ import annotations

from enum import Enum
from itertools import product

__all__ = ["Departure", "ProxyLife", "ReaderEnd", "Readers", "Witness", "departure_of"]


class Departure(Enum):
    """How a channel's last reader of this completion went."""

    CLIENT_GONE = "client_gone"
    LOST = "lost"


class ReaderEnd(Enum):
    """What a replica saw of a reader's end."""

    DISCONNECT = "disconnect"  # `http.disconnect`
    BROKEN = "broken"  # its channel to the proxy failed
    INTERRUPTED = "interrupted"  # the server ended the request: its timeout, its stop
    TOOK_NOTHING = "took nothing"  # what was written for it stood still for too long


class Witness(Enum):
    """In what state the replica was that saw it."""

    WELL = "well"
    DRAINING = "draining"
    STALLED = "stalled"  # stopped or starved until a moment ago: much ended while it could not look


class ProxyLife(Enum):
    """What became of the proxy's worker that carried the request, a moment after the reader's end."""

    LIVES = "lives"
    GONE = "gone"
    NONE = (
        "none"  # there is none: the connection was the client's own, or the proxy tells of its end
    )


_LEFT = frozenset(
    product((ReaderEnd.DISCONNECT,), (Witness.WELL,), (ProxyLife.LIVES, ProxyLife.NONE))
)
"""All else is a fault of ours, or may be one."""


def departure_of(end: ReaderEnd, witness: Witness, proxy: ProxyLife) -> Departure:
    return Departure.CLIENT_GONE if (end, witness, proxy) in _LEFT else Departure.LOST


class Readers:
    """The channels that read one completion.

    Args:
        cancels_when_left: whether the policy is to cancel; False for `continue` and for background
            completions, which nobody's leaving ends.
        grace_ns: how long the completion waits for a reader that was lost.
        outwaits: whether a client that has left may come back, and is waited for as long.
    """

    def __init__(self, *, cancels_when_left: bool, grace_ns: int, outwaits: bool = False) -> None:
        self._cancels_when_left = cancels_when_left
        self._outwaits = outwaits
        self._grace_ns = grace_ns
        self._channels: set[str] = set()
        self._awaited_until_ns: int | None = None  # None: none was lost, or the policy has applied

    def __len__(self) -> int:
        return len(self._channels)

    def __repr__(self) -> str:
        return f"<Readers {len(self._channels)}>"

    def attach(self, channel: str) -> None:
        self._channels.add(channel)

    def leave(self, channel: str, departure: Departure, *, now_ns: int) -> bool:
        """Take a channel off; return whether the completion must be cancelled now."""
        if channel not in self._channels:
            return False
        self._channels.discard(channel)
        if departure is Departure.LOST or self._outwaits:
            self._awaited_until_ns = now_ns + self._grace_ns
        return self._is_left(now_ns)

    def next_deadline_ns(self) -> int | None:
        is_waiting = self._cancels_when_left and not self._channels
        return self._awaited_until_ns if is_waiting else None

    def handle_timer(self, *, now_ns: int) -> bool:
        """Return, once, whether the grace has passed without a reader: then the policy applies."""
        if self._awaited_until_ns is None or not self._is_left(now_ns):
            return False
        self._awaited_until_ns = None
        return True

    def _is_left(self, now_ns: int) -> bool:
        is_awaited = self._awaited_until_ns is not None and now_ns < self._awaited_until_ns
        return self._cancels_when_left and not self._channels and not is_awaited
