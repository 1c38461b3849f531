"""Starting a completion for a client that may leave before the start is answered."""

from __future__ import annotations

import asyncio

from actors.core.errors import CompletionRuntimeError
from actors.core.request import DisconnectPolicy, StartCommand
from actors.ports.runtime import CompletionRuntime, ReaderLeft, StartedCompletion
from serve_app.http.background import Background
from serve_app.http.client_watch import ClientWatch

__all__ = ["start_watched"]


async def start_watched(
    runtime: CompletionRuntime, command: StartCommand, watch: ClientWatch, background: Background
) -> StartedCompletion:
    """Start the completion.

    Raises: what `CompletionRuntime.start` raises.
    Cancel: a client that left gives its start up, unless its policy is to continue, it asked for a
        background completion, or it may come back by its start's key; in every other case the start
        goes on, and its subscription is closed with the true reason.
    """
    starting = background.spawn(runtime.start(command))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        reason = ReaderLeft.DETACHED
        try:
            reason = await watch.departure()
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
        raise


async def _give_up(starting: asyncio.Task[StartedCompletion], reason: ReaderLeft) -> None:
    """End the subscription of a start that nobody waits for any more."""
    try:
        started = await starting
    except (CompletionRuntimeError, asyncio.CancelledError):
        return
    await started.subscription.aclose(reason)
