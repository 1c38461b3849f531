"""Connections between two processes of a deploy, as the calls see them: frames, in order, or an end.

`actors.rpc.tcp` has the real one, which proves the deploy's token before it gives out a connection; the
simulation has one that delays and cuts. Whoever holds a connection closes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "Address",
    "Connection",
    "ConnectionLost",
    "ConnectionRefused",
    "FrameRefused",
    "Listener",
    "Transport",
]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process listens. What opens it, the deploy's token, each of ours has already."""

    host: str
    port: int


class ConnectionLost(Exception):
    """There is no connection, or not any more. What was sent may have arrived."""


class ConnectionRefused(ConnectionLost):
    """The process there is of another deploy or another version: nothing that we say reaches it."""


class FrameRefused(Exception):
    """This frame was not taken: it is too long, or too much waits to be written. The connection stands."""


class Connection(Protocol):
    """Frames in the order in which they were sent, each whole, or `ConnectionLost`."""

    def send(self, frame: bytes) -> None:
        """Send a frame at the end of this turn of the loop. Never waits.

        Raises: ConnectionLost. FrameRefused: it was not taken, and others may be.
        """
        ...

    async def drained(self) -> None:
        """Wait until little of what was sent still waits here. Raises: ConnectionLost."""
        ...

    async def receive(self) -> bytes:
        """Return the next frame. Raises: ConnectionLost. Cancel: no frame is lost."""
        ...

    async def aclose(self) -> None:
        """End the connection at once. Idempotent; whoever receives, here or there, is told so."""
        ...


class Listener(Protocol):
    @property
    def address(self) -> Address: ...

    async def aclose(self) -> None:
        """Take no more connections; those that were taken stand. Idempotent."""
        ...


class Transport(Protocol):
    """How this process reaches the others of its deploy, and they it."""

    async def connect(self, address: Address) -> Connection:
        """Raises: ConnectionLost: nobody is there. ConnectionRefused: who is there is none of ours."""
        ...

    async def listen(self, host: str, serve: Callable[[Connection], Awaitable[None]]) -> Listener:
        """Listen on a port that is free there; each connection is served in a task of its own.

        The connection is closed when `serve` returns.
        """
        ...
