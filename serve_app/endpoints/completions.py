"""The endpoints of one dialect: create, read, cancel and delete a completion.

The dialect is an argument. Everything here and in the two bases is the same for all of them: who calls, in
which order things are checked, what happens when the client leaves.
"""

from __future__ import annotations

from actors.core.record import CompletionRecord
from actors.ports.ledger import CompletionKey
from actors.ports.runtime import Subscription
from serve_app.dialects.base import StreamCall
from serve_app.endpoints.cancel import CancellingEndpoints
from serve_app.endpoints.create import CreatingEndpoints
from serve_app.http.event_stream import EventStream, Opening, RecordSubscription, StreamReading
from serve_app.http.exchange import Exchange

__all__ = ["CompletionEndpoints"]


class CompletionEndpoints(CreatingEndpoints, CancellingEndpoints):
    """The handlers of one dialect."""

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

    async def _replay(
        self, exchange: Exchange, key: CompletionKey, record: CompletionRecord, wanted: StreamCall
    ) -> None:
        """Send the frames after the cursor: those there are, and while it runs those to come."""
        shell = self._shell
        subscription: Subscription = RecordSubscription(record)
        if record.finished is None:
            subscription = await shell.runtime.subscribe(key)
        watch = shell.watch(exchange)
        async with StreamReading(subscription, watch, shell.background) as reading:
            encoder = self._dialect.encoder(record.header, request_id=exchange.request_id)
            options = self._options(Opening.AT_ONCE, frames_skipped=wanted.after + 1)
            await EventStream(exchange, reading, encoder, options).run()
