"""How often a process that lives for long looks for garbage in cycles.

By default Python looks after every 700 objects that were made and still live, a few times in each request,
and at times through all there is: Ray, the libraries and every stream, some 100 ms in which none goes on.
"""

from __future__ import annotations

import gc

__all__ = ["spare_what_stands"]

_THRESHOLDS = (10_000, 20, 20)


def spare_what_stands() -> None:
    """Never look again through what a process has when it is ready, and seldom through the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
