"""How heavy a body is, before anything parses it: counts at the speed of memory.

A parser holds the interpreter for as long as it works, and every stream of the process waits: what is
heavy is not parsed there, and what is absurd nowhere. The count takes characters in texts for structure
as well, so that it is never too low.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from actors.core.errors import InvalidRequest

__all__ = ["STRUCTURE_MAX", "Weight", "weigh", "weighing"]

_SCANNED_BYTES = 64 * 1024
"""A smaller body is light, whatever is in it."""

_HEAVY_BYTES = 1024 * 1024
_HEAVY_STRUCTURE = 50_000

STRUCTURE_MAX = 1_000_000

_STRUCTURAL = (b",", b":", b"[", b"{")

_PIECE_BYTES = 512 * 1024
"""What is counted before others may run: a millisecond or two."""


class Weight(Enum):
    """Where a body may be worked on."""

    LIGHT = "light"  # where it came: a few milliseconds at most
    MIDDLE = "middle"  # in a thread
    HEAVY = "heavy"  # in another process


def weigh(body: bytes) -> Weight:
    """Return it at once. Raises: as `weighing`."""
    return list(weighing(body))[-1]


def weighing(body: bytes) -> Iterator[Weight]:
    """Yield now and then, for others to run; the last is the body's weight.

    Raises: InvalidRequest: nothing that is meant as a request has so many members.
    """
    yield Weight.LIGHT
    if len(body) > _SCANNED_BYTES:
        structure = 0
        for start in range(0, len(body), _PIECE_BYTES):
            for character in _STRUCTURAL:
                structure += body.count(character, start, start + _PIECE_BYTES)
            if structure > STRUCTURE_MAX:
                raise InvalidRequest(
                    f"The request body has more than {STRUCTURE_MAX:,} members and items.",
                    reason="value_out_of_range",
                )
            yield Weight.MIDDLE
        yield _weight(body, structure)


def _weight(body: bytes, structure: int) -> Weight:
    if len(body) > _HEAVY_BYTES or structure > _HEAVY_STRUCTURE:
        return Weight.HEAVY
    return Weight.MIDDLE
