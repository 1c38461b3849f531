"""The slots that a replica has leased: which are in use, which lie ready, which to let go. No I/O.

A slot that comes free is used for the next start at once, so a replica under load asks nobody. One
that lies unused for `IDLE_S` is let go, for other replicas to have.
"""

from __future__ import annotations

from collections import Counter

__all__ = ["SlotLeases"]

IDLE_S = 1.0


class SlotLeases:
    """Times are monotonic seconds.

    `given` counts all slots that were ever added; the registry needs it to tell a slot that was let
    go from one whose grant had not arrived yet.
    """

    def __init__(self) -> None:
        self.given = 0
        self._held: Counter[str] = Counter()
        self._idle: list[tuple[str, float]] = []  # the latest last

    def __repr__(self) -> str:
        return f"<SlotLeases {self._held.total()} held, {len(self._idle)} idle>"

    @property
    def held(self) -> dict[str, int]:
        """Slots by carrier, used and idle."""
        return dict(self._held)

    def add(self, carrier: str) -> None:
        """A slot was granted, and is used at once."""
        self.given += 1
        self._held[carrier] += 1

    def take(self) -> str | None:
        """Use an idle slot, the most recently used first; None if there is none."""
        return self._idle.pop()[0] if self._idle else None

    def put_back(self, carrier: str, *, now_s: float) -> None:
        """The slot's completion ended: it is ready for the next, unless its carrier is dead."""
        if carrier in self._held:
            self._idle.append((carrier, now_s))

    def let_go(self, carrier: str) -> None:
        """Give up a slot in use, of which it is not known whether it is free.

        One of a carrier that was forgotten meanwhile is gone already.
        """
        self._held[carrier] -= 1
        if self._held[carrier] <= 0:
            del self._held[carrier]

    def let_idle_go(self, *, now_s: float) -> None:
        """Give up what has been idle for too long."""
        stale = [carrier for carrier, since_s in self._idle if now_s - since_s >= IDLE_S]
        self._idle = [entry for entry in self._idle if now_s - entry[1] < IDLE_S]
        for carrier in stale:
            self.let_go(carrier)

    def forget(self, carrier: str) -> None:
        """The carrier is dead."""
        self._idle = [entry for entry in self._idle if entry[0] != carrier]
        self._held.pop(carrier, None)
