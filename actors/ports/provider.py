"""The upstream as a driver sees it: open, read in batches, close at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from actors.core.request import StartCommand
from actors.core.upstream import UpstreamBatch

__all__ = ["Provider", "UpstreamStream"]


class UpstreamStream(Protocol):
    """One request to a provider."""

    async def connect(self) -> None:
        """Send the request; returns when the provider answered 2xx.

        Raises:
            UpstreamError: after at most two retries, on connect errors, 429 and 503 alone.
        Cancel: the connection is closed by `aclose`, which the caller owes in every case.
        """
        ...

    def batches(self) -> AsyncIterator[UpstreamBatch]:
        """Yield what each segment brought; ends after a batch with `is_end` or `failure`.

        A broken connection is a batch with a failure, never an exception.
        """
        ...

    async def aclose(self) -> None:
        """Close the TCP connection now, unless the answer was read to its end: then keep it. Idempotent."""
        ...


class Provider(Protocol):
    def open(self, command: StartCommand) -> UpstreamStream:
        """Prepare a request; nothing is sent before `connect`."""
        ...
