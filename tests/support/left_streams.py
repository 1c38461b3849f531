"""Sees which asynchronous generators are left to the garbage collector."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["left_streams"]


@contextmanager
def left_streams() -> Iterator[list[str]]:
    """Yield the names of those that are begun in here and dropped before they were closed.

    Use it inside a running event loop, which ends them as it would have.
    """
    left: list[str] = []
    begin, drop = hooks = sys.get_asyncgen_hooks()

    def dropped(stream: AsyncGenerator[Any, Any]) -> None:
        left.append(stream.__qualname__)
        if drop is not None:
            drop(stream)

    sys.set_asyncgen_hooks(begin, dropped)
    try:
        yield left
    finally:
        sys.set_asyncgen_hooks(*hooks)
