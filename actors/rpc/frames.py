"""What both ends of a direct connection share: its address, its frames, and how they are written."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum

import aiohttp

__all__ = ["CLOSE_TIMEOUT_S", "HEARTBEAT_S", "STOP", "UNBOUNDED", "Endpoint", "Kind", "Outbox"]

STOP = "STOP"
"""In place of a method: the stream of that number is not read any more."""

HEARTBEAT_S = 10.0
"""How often each side asks whether the other is there; half of it without an answer ends the connection."""

CLOSE_TIMEOUT_S = 0.1

UNBOUNDED = 0
"""What a message may weigh: its sender is one of ours, and bounds the bodies and logs that it sends."""


class Kind(IntEnum):
    """What a frame to the caller is."""

    ANSWER = 0
    ERROR = 1
    ITEM = 2
    END = 3


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a process listens, and what opens it."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Endpoint({self.url})"


class Outbox:
    """What waits to be written to one socket; what comes while one message is written is the next."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._frames: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None

    def put(self, frame: bytes) -> None:
        self._frames.append(frame)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def drained(self) -> None:
        """Wait until all that was put has been written, or never will be. Cancel: it is written."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write(self) -> None:
        try:
            while self._frames:
                frames, self._frames = self._frames, []
                await self._send(pickle.dumps(frames))
        except (OSError, RuntimeError, aiohttp.ClientError):
            self._frames.clear()  # It is closed: whoever reads it learns so, and tells the rest.
        finally:
            self._writing = None
