"""A start that is given up if its client leaves before it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from actors.core.errors import CompletionRuntimeError
from actors.core.request import DisconnectPolicy, StartCommand
from actors.ports.runtime import CompletionRuntime, ReaderLeft, StartedCompletion
from serve_app.http.background import Background
from serve_app.http.client_watch import ClientWatch

__all__ = ["start_watched"]


async def start_watched(
    runtime: CompletionRuntime, command: StartCommand, watch: ClientWatch, background: Background
) -> StartedCompletion:
    """Start it, and give the start up if its client leaves.

    Raises: what `CompletionRuntime.start` raises.
    Cancel: the start goes on, and its subscription is closed with the true reason, where the client's
        policy is to continue, it asked for a background completion, may come back by its start's key,
        or did not leave by itself.
    """
    starting = background.spawn(runtime.start(command))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await background.finish(_leave(starting, command, watch.departure(), background))
        raise


async def _leave(
    starting: asyncio.Task[StartedCompletion],
    command: StartCommand,
    departure: Coroutine[Any, Any, ReaderLeft],
    background: Background,
) -> None:
    reason = ReaderLeft.DETACHED
    try:
        reason = await departure
    finally:
        request = command.request
        cancels = (
            request.on_disconnect is DisconnectPolicy.CANCEL
            and not request.background
            and not command.outwaits_its_reader
        )
        if cancels and reason is ReaderLeft.CLIENT_GONE:
            starting.cancel()
        background.spawn(_give_up(starting, reason))


async def _give_up(starting: asyncio.Task[StartedCompletion], reason: ReaderLeft) -> None:
    """End the subscription of a start that nobody waits for any more."""
    try:
        started = await starting
    except (CompletionRuntimeError, asyncio.CancelledError):
        return
    await started.subscription.aclose(reason)
