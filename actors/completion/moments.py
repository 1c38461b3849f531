"""When what happened to a completion, by its owner's wall clock: its timeline and its receipt.

The driver notes; nothing here decides anything, and no clock is read. All of it is one clock's word: a
request's own time would be another node's, and the two may be seconds apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.events import CancelSource
from actors.core.record import Receipt, Timeline

__all__ = ["Moments"]


@dataclass(slots=True)
class Moments:
    """Wall-clock seconds of what has happened so far; `cancel_requested_s` is when the cancel came here."""

    hold_placed_s: float | None = None
    dispatched_s: float | None = None
    opened_s: float | None = None
    first_token_s: float | None = None
    finished_s: float | None = None
    cancel_requested_s: float | None = None
    upstream_closed_s: float | None = None

    def timeline(self) -> Timeline:
        return Timeline(
            hold_placed_at_s=self.hold_placed_s,
            dispatched_at_s=self.dispatched_s,
            upstream_opened_at_s=self.opened_s,
            first_token_at_s=self.first_token_s,
            finished_at_s=self.finished_s,
        )

    def receipt(self, source: CancelSource | None) -> Receipt | None:
        """Return what a cancellation did; None where there was none."""
        requested_s = self.cancel_requested_s
        if source is None or requested_s is None:
            return None
        return Receipt(
            source=source,
            requested_at_s=requested_s,
            upstream_closed_at_s=self.upstream_closed_s,
        )
