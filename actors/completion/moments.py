"""When what happened to a completion, by the wall clock: what its timeline and its receipt are made of.

The driver notes; nothing here decides anything, and no clock is read.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from actors.core.events import CancelSource
from actors.core.record import Receipt, Timeline

__all__ = ["Moments"]


@dataclass
class Moments:
    """Wall-clock seconds of what has happened so far; `recent` are the latest segments, as (when, how
    many tokens there were then)."""

    hold_placed_s: float | None = None
    dispatched_s: float | None = None
    opened_s: float | None = None
    first_token_s: float | None = None
    finished_s: float | None = None
    cancel_requested_s: float | None = None
    upstream_closed_s: float | None = None
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=512))

    def timeline(self) -> Timeline:
        return Timeline(
            hold_placed_at_s=self.hold_placed_s,
            dispatched_at_s=self.dispatched_s,
            upstream_opened_at_s=self.opened_s,
            first_token_at_s=self.first_token_s,
            finished_at_s=self.finished_s,
        )

    def receipt(self, source: CancelSource | None, tokens_output: int) -> Receipt | None:
        """Return what a cancellation did; None where there was none."""
        requested_s = self.cancel_requested_s
        if source is None or requested_s is None:
            return None
        before = max((tokens for at, tokens in self.recent if at <= requested_s), default=0)
        return Receipt(
            source=source,
            requested_at_s=requested_s,
            upstream_closed_at_s=self.upstream_closed_s,
            tokens_after_request=tokens_output - before,
        )
