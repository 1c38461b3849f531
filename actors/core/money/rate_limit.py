"""How often and how many at once: a team's request bucket, and the check of its open completions.

It owns the arithmetic of admission limits. It does not know what a request is, where limits are
kept, or what time it is: `now_s` is an argument.

Rules:

1. The bucket of a limit of N requests per minute holds N requests and is refilled evenly, so a
   rested team may send N at once and then one every 60/N seconds.
2. A draw either takes one request or changes nothing; a caller that waits `retry_after_s` after a
   refusal, and is alone, is admitted.
3. A clock that goes back refills nothing and takes nothing away.

The level is an integer: 1 request is `_REQUEST` units, and each microsecond brings N of them, so
nothing is lost to rounding at any N.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONCURRENCY_RETRY_AFTER_S", "BucketState", "RequestBucket", "is_within_concurrency"]

CONCURRENCY_RETRY_AFTER_S = 1.0
"""What a refusal for too many open completions advises: nobody knows when one ends."""

_REQUEST = 60_000_000


@dataclass(frozen=True, slots=True)
class BucketState:
    """The bucket after a draw.

    Args:
        is_admitted: False changes nothing.
        remaining: whole requests that could be drawn at once now.
        reset_at_s: when it would be full again if nobody drew.
        retry_after_s: 0.0 where it was admitted.
    """

    is_admitted: bool
    limit: int
    remaining: int
    reset_at_s: float
    retry_after_s: float = 0.0


class RequestBucket:
    """A token bucket that starts full."""

    __slots__ = ("_level", "_updated_us", "limit")

    def __init__(self, limit: int, *, now_s: float) -> None:
        """Args: limit: requests per minute, at least 1."""
        assert limit >= 1, "A limit of none at all is no bucket."
        self.limit = limit
        self._level = limit * _REQUEST
        self._updated_us = _microseconds(now_s)

    def __repr__(self) -> str:
        return f"<RequestBucket {self._level // _REQUEST}/{self.limit}>"

    def draw(self, now_s: float) -> BucketState:
        """Take one request, or say when one can be taken."""
        self._refill(now_s)
        # One microsecond's refill is lent: a float of the wall clock may be read that much early.
        if self._level + self.limit < _REQUEST:
            return self._state(now_s, retry_after_us=-(-(_REQUEST - self._level) // self.limit))
        self._level -= _REQUEST
        return self._state(now_s)

    def give_back(self) -> None:
        """Undo a draw: what it was for did not come about."""
        self._level = min(self._level + _REQUEST, self.limit * _REQUEST)

    def peek(self, now_s: float) -> BucketState:
        """Return the bucket as it stands, as if a request had just been admitted."""
        self._refill(now_s)
        return self._state(now_s)

    def _refill(self, now_s: float) -> None:
        now_us = _microseconds(now_s)
        if now_us > self._updated_us:
            refilled = self._level + (now_us - self._updated_us) * self.limit
            self._level = min(refilled, self.limit * _REQUEST)
        self._updated_us = now_us

    def _state(self, now_s: float, *, retry_after_us: int = 0) -> BucketState:
        missing = self.limit * _REQUEST - self._level
        return BucketState(
            is_admitted=retry_after_us == 0,
            limit=self.limit,
            remaining=max(self._level, 0) // _REQUEST,
            reset_at_s=now_s + missing / self.limit / 1e6,
            retry_after_s=retry_after_us / 1e6,
        )


def is_within_concurrency(completions_open: int, limit: int | None) -> bool:
    """Return whether one more completion may be opened; None is no limit."""
    return limit is None or completions_open < limit


def _microseconds(time_s: float) -> int:
    return round(time_s * 1e6)
