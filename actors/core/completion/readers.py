"""Who reads a completion, and what it means when nobody does any more.

A disconnect is not a cancel: a client has left only when a replica that is not draining saw it go.
Then the completion's policy applies at once, unless the client can come back by a key of its start.
That one, and a replica that dies, drains or loses its channel, which is not a client leaving, have
`grace_ns` to come back: the completion runs on before the policy applies. Readers are counted per channel,
which is one replica's connection to the owner of the completion.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Departure", "Readers"]


class Departure(Enum):
    """How a channel's last reader of this completion went."""

    CLIENT_GONE = "client_gone"
    LOST = "lost"


class Readers:
    """The channels that read one completion.

    Args:
        cancels_when_left: whether the policy is to cancel; False for `continue` and for background
            completions, which nobody's leaving ends.
        grace_ns: how long the completion waits for a reader after the last one was lost.
        outwaits: whether a client that has left may come back, and is waited for as long.
    """

    def __init__(self, *, cancels_when_left: bool, grace_ns: int, outwaits: bool = False) -> None:
        self._cancels_when_left = cancels_when_left
        self._outwaits = outwaits
        self._grace_ns = grace_ns
        self._channels: set[str] = set()
        self._deadline_ns: int | None = None

    def __len__(self) -> int:
        return len(self._channels)

    def __repr__(self) -> str:
        return f"<Readers {len(self._channels)}>"

    def attach(self, channel: str) -> None:
        self._channels.add(channel)
        self._deadline_ns = None

    def leave(self, channel: str, departure: Departure, *, now_ns: int) -> bool:
        """Take a channel off; return whether the completion must be cancelled now."""
        if channel not in self._channels:
            return False
        self._channels.discard(channel)
        if self._channels or not self._cancels_when_left:
            return False
        if departure is Departure.CLIENT_GONE and not self._outwaits:
            return True
        self._deadline_ns = now_ns + self._grace_ns
        return False

    def next_deadline_ns(self) -> int | None:
        return self._deadline_ns

    def handle_timer(self, *, now_ns: int) -> bool:
        """Return whether the grace has passed without a reader: then the policy applies."""
        if self._deadline_ns is None or now_ns < self._deadline_ns:
            return False
        self._deadline_ns = None
        return True
