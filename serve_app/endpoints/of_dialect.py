"""What every endpoint of one dialect does: it knows its caller, finds a completion's key, shows a record.

The dialect is an argument. What one does otherwise than the others it overrides here, in a subclass of
its own; the methods with one underscore are there for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from actors.core.errors import CompletionNotFound
from actors.core.record import CompletionRecord
from actors.ports.ledger import CompletionKey, Principal
from serve_app.dialects.base import DialectRules, RawHeaders, Snapshot
from serve_app.http.event_stream import Opening, StreamOptions
from serve_app.http.exchange import Exchange
from serve_app.http.route import Shell

__all__ = ["DialectEndpoints", "work_on_log"]

_WIRE_ID_LENGTH_MAX = 256
"""A longer id was never given out; nobody is asked for it."""

_LARGE_LOG_EVENTS = 20_000
"""Above it, folding moves off the event loop: others' streams go on."""

T = TypeVar("T")


class DialectEndpoints:
    """Base of the endpoints that create, read and cancel."""

    def __init__(self, shell: Shell, dialect: DialectRules) -> None:
        self._shell = shell
        self._dialect = dialect

    async def _principal(self, exchange: Exchange) -> Principal:
        """Return whose key the call has, once the headers that all routes share are right.

        Raises: Unauthenticated, InvalidRequest.
        """
        principal = await self._shell.authenticator.principal(exchange.headers)
        self._dialect.check(exchange.call())
        return principal

    async def _draw(self, principal: Principal) -> None:
        """Take a request from the team's bucket, for a call that starts nothing and costs work.

        Raises: RateLimited.
        """
        if principal.limits.requests_per_minute is not None:
            await self._shell.runtime.ledger.draw_request(principal.team)

    def _key(self, exchange: Exchange, principal: Principal) -> CompletionKey:
        """Return the key of the completion that the path names.

        Raises: CompletionNotFound: nothing can have this id, so nobody is asked.
        """
        return self._key_of(exchange.path("id"), principal)

    def _key_of(self, wire_id: str, principal: Principal) -> CompletionKey:
        """Raises: CompletionNotFound: nothing can have this id, so nobody is asked."""
        if len(wire_id) > _WIRE_ID_LENGTH_MAX or not wire_id.isprintable():
            raise CompletionNotFound
        return CompletionKey(principal.team, self._dialect.name, wire_id)

    async def _reply_record(self, exchange: Exchange, record: CompletionRecord) -> None:
        """Answer with a completion as it stands."""
        shown = await self._shown(record)
        await exchange.json(200, self._dialect.body(shown))

    async def _shown(self, record: CompletionRecord) -> Snapshot:
        return await work_on_log(Snapshot.of, record)

    def _options(
        self,
        opening: Opening,
        *,
        headers: RawHeaders = (),
        notice: bytes = b"",
        frames_skipped: int = 0,
    ) -> StreamOptions:
        settings = self._shell.settings
        return StreamOptions(
            headers=headers,
            keep_alive=self._dialect.keep_alive,
            opening=opening,
            headers_after_s=settings.headers_after_s,
            keep_alive_s=settings.keep_alive_s,
            notice=notice,
            frames_skipped=frames_skipped,
        )


async def work_on_log(work: Callable[[CompletionRecord], T], record: CompletionRecord) -> T:
    """Do the work on a record, in a thread where its log is large."""
    is_large = len(record.events) > _LARGE_LOG_EVENTS
    return await asyncio.to_thread(work, record) if is_large else work(record)
