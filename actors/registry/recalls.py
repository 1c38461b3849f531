"""What replicas are asked to give back since others wait: one word to each until it has answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

__all__ = ["Recalls"]


class _Listener:
    """A replica that hears what is recalled. `count` is what it was not told yet; 0 is nothing."""

    def __init__(self) -> None:
        self.count = 0
        self.has_news = asyncio.Event()
        self.is_asked = False
        self.is_replaced = False


class Recalls:
    def __init__(self) -> None:
        self._listeners: dict[str, _Listener] = {}

    async def of(self, replica: str) -> AsyncIterator[int]:
        """Yield how many slots are wanted each time; a later call takes the place of this one."""
        before = self._listeners.get(replica)
        if before is not None:
            before.is_replaced = True
            before.has_news.set()
        listener = self._listeners[replica] = _Listener()
        try:
            while True:
                await listener.has_news.wait()
                if listener.is_replaced:
                    return
                listener.has_news.clear()
                yield listener.count
        finally:
            if self._listeners.get(replica) is listener:
                del self._listeners[replica]

    def recall(self, replica: str, count: int) -> None:
        """Ask a replica, where it listens and was not asked since it spoke last."""
        listener = self._listeners.get(replica)
        if listener is not None and not listener.is_asked:
            listener.is_asked = True
            listener.count = count
            listener.has_news.set()

    def renewed(self, replica: str) -> None:
        """The replica has said what it holds: it may be asked again."""
        listener = self._listeners.get(replica)
        if listener is not None:
            listener.is_asked = False
