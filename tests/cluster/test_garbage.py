"""Garbage in long-lived processes: what stands is spared, and what comes later is still found."""

from __future__ import annotations

import gc
import weakref

from actors.cluster.garbage import spare_what_stands


class _Ring:
    def __init__(self) -> None:
        self.itself = self


def test_what_stands_is_spared_and_later_cycles_are_found() -> None:
    spare_what_stands()
    assert gc.get_freeze_count() > 1_000
    ring = _Ring()
    found = weakref.ref(ring)
    del ring
    kept: list[list[int]] = []
    while found() is not None and len(kept) < 1_000_000:
        kept.append([])
    assert found() is None
