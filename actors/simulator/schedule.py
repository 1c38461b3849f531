"""When the tokens of an answer are due.

The schedule is absolute: the token after k others is due at start + first_token_delay_s +
k / tokens_per_s, and whatever is due goes at once, so that lateness never adds up.
"""

from __future__ import annotations

import time

from actors.simulator.models import OUTPUT_TOKENS_MAX, SimulatedModel

__all__ = ["Schedule"]

EARLY_S = 0.001  # the event loop's timers may fire so much early; to wait again would spin


class Schedule:
    """When the tokens of an answer are due; it starts when it is made."""

    def __init__(self, model: SimulatedModel) -> None:
        self._start_s = time.monotonic() + model.first_token_delay_s
        self._tokens_per_s = model.tokens_per_s or 0.0
        self.is_unpaced = model.tokens_per_s is None

    def tokens_due(self) -> int:
        """Return how many tokens should have been sent by now."""
        elapsed_s = time.monotonic() + EARLY_S - self._start_s
        if elapsed_s < 0:
            return 0
        return OUTPUT_TOKENS_MAX if self.is_unpaced else int(elapsed_s * self._tokens_per_s) + 1

    def due_in_s(self, tokens_before: int) -> float:
        """Return how long the token after so many has still to wait, 0 when it is due."""
        offset_s = 0.0 if self.is_unpaced else tokens_before / self._tokens_per_s
        return max(0.0, self._start_s + offset_s - time.monotonic())
