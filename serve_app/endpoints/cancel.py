"""Cancel and delete a completion, in any dialect.

Either one that was accepted is carried out, even if its client does not wait for the answer.
"""

from __future__ import annotations

import contextlib

from actors.core.errors import CompletionIdInUse, CompletionNotFound
from actors.core.events import CancelSource
from actors.core.ids import is_client_name
from actors.ports.ledger import CompletionKey
from actors.ports.runtime import RememberedCancellation
from serve_app.dialects.base import DeletingDialect, Reply, render
from serve_app.dialects.midstream_headers import remembers_if_absent
from serve_app.endpoints.of_dialect import DialectEndpoints
from serve_app.http.exchange import Exchange

__all__ = ["CancellingEndpoints"]


class CancellingEndpoints(DialectEndpoints):
    """The handlers of a dialect's cancel and delete routes."""

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
            return _remembered_reply(remembered)


def _remembered_reply(remembered: RememberedCancellation) -> Reply:
    value = {
        "id": remembered.wire_id,
        "object": "midstream.cancellation",
        "status": "remembered",
        "expires_at": int(remembered.expires_at_s),
    }
    return Reply(202, render(value))
