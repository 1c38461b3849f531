"""Providers as a driver sees them, open, read in batches, close at once, and as keepers of responses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from actors.core.native import NativeAnswer, NativeCall
from actors.core.request import StartCommand
from actors.core.upstream import UpstreamBatch

__all__ = ["NativeProviders", "Provider", "UpstreamStream"]


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


class NativeProviders(Protocol):
    """Providers that can be asked about responses they keep."""

    async def ask(self, provider: str, call: NativeCall) -> NativeAnswer:
        """Make a call.

        Raises:
            UnknownProvider: nothing of that name is configured.
            NativeUnsupported: the provider has no such operation.
            CompletionNotFound: the provider has no such response.
            UpstreamError: the provider refused, failed or was silent.
        Cancel: the call may have been made.
        """
        ...
