"""Where ids come from: this process's clock and the kernel's random numbers."""

from __future__ import annotations

import os
import time

from actors.core.ids import format_ulid

__all__ = ["new_ulid"]


def new_ulid() -> str:
    """Return a ULID of now; 80 random bits make two of the same millisecond distinct."""
    return format_ulid(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big"))
