"""The completions of one dialect that there are: read, cancel and delete one. `create` makes them.

The dialect is an argument. Everything here is the same for all of them: who calls, in which order things
are checked, how a completion is found and shown. What one does otherwise than the others it overrides in a
subclass of its own; the methods with one underscore are there for that.

A cancel or a delete that was accepted is carried out, even if its client does not wait for the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from actors.core.errors import CompletionIdInUse, CompletionNotFound
from actors.core.events import CancelSource
from actors.core.ids import is_client_name
from actors.core.record import CompletionRecord
from actors.ports.ledger import CompletionKey, Principal
from actors.ports.runtime import RememberedCancellation, Subscription
from serve_app.dialects.base import (
    DeletingDialect,
    DialectRules,
    RawHeaders,
    Reply,
    Snapshot,
    StreamCall,
    render,
)
from serve_app.dialects.midstream_headers import remembers_if_absent
from serve_app.http.event_stream import (
    EventStream,
    Opening,
    RecordSubscription,
    StreamOptions,
    StreamReading,
)
from serve_app.http.exchange import Exchange
from serve_app.http.route import Shell

__all__ = ["CompletionEndpoints", "work_on_log"]

_WIRE_ID_LENGTH_MAX = 256
"""A longer id was never given out; nobody is asked for it."""

_LARGE_LOG_EVENTS = 20_000
"""Above it, folding moves off the event loop: others' streams go on."""

T = TypeVar("T")


class CompletionEndpoints:
    """The handlers of a dialect's read, cancel and delete routes."""

    def __init__(self, shell: Shell, dialect: DialectRules) -> None:
        self._shell = shell
        self._dialect = dialect

    async def read(self, exchange: Exchange) -> None:
        """Answer with the record as it stands, or with its frames."""
        principal = await self._principal(exchange)
        wanted = self._dialect.parse_read(exchange.call())
        key = self._key(exchange, principal)
        record = await self._shell.runtime.get(key)
        if wanted is None:
            await self._reply_record(exchange, record)
        else:
            await self._replay(exchange, key, record, wanted)

    async def cancel(self, exchange: Exchange) -> None:
        """Cancel, and answer when the completion is settled. A request body is not read."""
        principal = await self._principal(exchange)
        remembers = remembers_if_absent(exchange.headers)
        key = self._key(exchange, principal)
        work = self._remember(key) if remembers else self._cancel(key)
        await exchange.reply(await self._shell.background.finish(work))

    async def delete(self, exchange: Exchange) -> None:
        """Drop the content, of a completion that runs after it was cancelled and settled."""
        principal = await self._principal(exchange)
        key = self._key(exchange, principal)
        await exchange.reply(await self._shell.background.finish(self._delete(key)))

    # Who calls, and for which completion.

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

    # What is shown of it.

    async def _reply_record(self, exchange: Exchange, record: CompletionRecord) -> None:
        """Answer with a completion as it stands."""
        await exchange.json(200, self._dialect.body(await self._shown(record)))

    async def _shown(self, record: CompletionRecord) -> Snapshot:
        return await work_on_log(Snapshot.of, record)

    async def _replay(
        self, exchange: Exchange, key: CompletionKey, record: CompletionRecord, wanted: StreamCall
    ) -> None:
        """Send the frames after the cursor: those there are, and while it runs those to come."""
        subscription: Subscription = RecordSubscription(record)
        if record.finished is None:
            subscription = await self._shell.runtime.subscribe(key)
        async with StreamReading(subscription, exchange.watch(), self._shell.background) as reading:
            encoder = self._dialect.encoder(record.header, request_id=exchange.request_id)
            options = self._options(Opening.AT_ONCE, frames_skipped=wanted.after + 1)
            await EventStream(exchange, reading, encoder, options).run()

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
            stall_s=settings.reader_stall_s,
            notice=notice,
            frames_skipped=frames_skipped,
        )

    # How it ends.

    async def _cancel(self, key: CompletionKey) -> Reply:
        answer = await self._shell.runtime.cancel(key, CancelSource.CLIENT_REQUEST)
        return self._dialect.cancelled(answer)

    async def _delete(self, key: CompletionKey) -> Reply:
        dialect = self._dialect
        assert isinstance(dialect, DeletingDialect), "Who has the route, answers it."
        await self._shell.runtime.delete(key)
        return dialect.deleted(key.wire_id)

    async def _remember(self, key: CompletionKey) -> Reply:
        """Cancel; where there is nothing to cancel yet, keep the cancellation for its start."""
        try:
            return await self._cancel(key)
        except CompletionNotFound:
            if not is_client_name(key.wire_id):
                raise  # No completion can ever have this name.
        remembered: RememberedCancellation | None = None
        with contextlib.suppress(CompletionIdInUse):
            remembered = await self._shell.runtime.ledger.remember_cancellation(key)
        try:
            # It may have started between the two; one that starts from now on is born cancelled.
            return await self._cancel(key)
        except CompletionNotFound:
            if remembered is None:
                raise
            value = {
                "id": remembered.wire_id,
                "object": "midstream.cancellation",
                "status": "remembered",
                "expires_at": int(remembered.expires_at_s),
            }
            return Reply(202, render(value))


async def work_on_log(work: Callable[[CompletionRecord], T], record: CompletionRecord) -> T:
    """Do the work on a record, in a thread where its log is large."""
    is_large = len(record.events) > _LARGE_LOG_EVENTS
    return await asyncio.to_thread(work, record) if is_large else work(record)
