"""What `midstream up` does about what dies of what it started. Decides; does nothing.

    what is gone   for how long, with a Ray of its own / on a joined cluster   then
    the proxy      at once                                                     another takes its place
    the raylet     1 s / 1 s                                                   the instance gives up
    the GCS        1 s / 5 s                                                   the instance gives up

Gone is where nobody listens. What listens and does not answer is slow, stopped or cut off, which may pass:
Ray itself says when it has not. A GCS that others keep may be started again with what it had.

Without raylet or GCS nothing can be started, found or stopped any more, and every call waits without a
limit; so the instance ends what it started and ends, for systemd or Kubernetes to start it again.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import NamedTuple

from serve_app.instance.data_directory import InstanceError

__all__ = ["Measure", "Part", "RuntimeLost", "Supervisor"]


class Part(Enum):
    PROXY = "The proxy"
    RAYLET = "Ray's raylet"
    GCS = "Ray's GCS"


class Measure(Enum):
    BRING_BACK = "bring back"
    GIVE_UP = "give up"


class RuntimeLost(InstanceError):
    """What the instance runs on is gone."""

    exit_code = 3


class _Rule(NamedTuple):
    private_s: float
    joined_s: float
    measure: Measure


_RULES = {
    Part.RAYLET: _Rule(1.0, 1.0, Measure.GIVE_UP),
    Part.GCS: _Rule(1.0, 5.0, Measure.GIVE_UP),
    Part.PROXY: _Rule(0.0, 0.0, Measure.BRING_BACK),
}
"""The most serious first: the proxy is not brought back to a Ray that is gone."""

_AGAIN_S = (1.0, 2.0, 4.0, 8.0)
"""Until the proxy is brought back again, where that did not help; the last one from then on."""

_WELL_S = 30.0
"""A proxy that was there for so long is brought back at once again."""


class Supervisor:
    def __init__(self, *, is_private: bool) -> None:
        self._is_private = is_private
        self._gone_since_s: dict[Part, float] = {}
        self._tries = 0
        self._next_try_s = 0.0

    def look(self, gone: Collection[Part], now_s: float) -> tuple[Measure, Part] | None:
        """Take what is gone now; return what is to be done about which of it."""
        self._gone_since_s = {part: self._gone_since_s.get(part, now_s) for part in gone}
        if Part.PROXY not in gone and now_s >= self._next_try_s + _WELL_S:
            self._tries = 0
        for part, rule in _RULES.items():
            if part in gone and self._is_over(part, rule, now_s):
                return rule.measure, part
        return None

    def _is_over(self, part: Part, rule: _Rule, now_s: float) -> bool:
        patience_s = rule.private_s if self._is_private else rule.joined_s
        if now_s - self._gone_since_s[part] < patience_s:
            return False
        if rule.measure is Measure.BRING_BACK:
            if now_s < self._next_try_s:
                return False
            self._next_try_s = now_s + _AGAIN_S[min(self._tries, len(_AGAIN_S) - 1)]
            self._tries += 1
        return True
