"""The routes of the messages dialect, and what it does otherwise than the others.

The asynchronous API starts in the background and answers at once; its stream, status, cancel and
delete reach the completions of the synchronous one too, which have their ids from the same place.
Counting and validating start nothing and hold nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors.core.errors import CompletionNotFound, InvalidRequest, UnknownModel
from actors.core.ids import COMPLETION_PREFIX
from actors.ports.ledger import Principal
from serve_app.dialects.base import CreateCall
from serve_app.dialects.messages import MessagesDialect
from serve_app.dialects.messages.errors import StreamNotFound
from serve_app.dialects.offered import Dialects
from serve_app.endpoints.create import DialectEndpoints
from serve_app.http.exchange import Exchange
from serve_app.http.route import Shell

__all__ = ["AsyncMessagesEndpoints", "MessagesEndpoints"]


class MessagesEndpoints(DialectEndpoints):
    """The handlers of the synchronous API."""

    _dialect: MessagesDialect

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, self._dialect_of(shell.dialects))

    @staticmethod
    def _dialect_of(dialects: Dialects) -> MessagesDialect:
        return dialects.messages

    def _name(self, exchange: Exchange) -> str | None:
        try:
            return self._dialect.client_name(exchange.call())
        except InvalidRequest:
            return None  # The dialect's parser refuses it in its turn.

    async def count_tokens(self, exchange: Exchange) -> None:
        """Answer how many tokens the prompt has, by the function that it is held for with."""
        await self._draw(await self._principal(exchange))
        body = await exchange.body()
        request = await self._shell.work(exchange, self._dialect.parse_count, exchange.call(body))
        self._shell.catalogue.lookup(request.model)
        await exchange.json(200, {"input_tokens": sum(await self._counted(exchange, request))})

    async def validate(self, exchange: Exchange) -> None:
        """Say whether a create with this body would start, as far as its body decides that."""
        principal = await self._principal(exchange)
        await self._draw(principal)
        body = await exchange.body()
        try:
            parsed = await self._understand(exchange, principal, body)
            name = COMPLETION_PREFIX + self._shell.ids()
            command = await self._resolve(exchange, parsed, name, principal)
        except (InvalidRequest, UnknownModel) as error:
            await exchange.reply(self._dialect.invalid(error))
            return
        reply = self._dialect.valid(
            parsed,
            ignored=(*parsed.ignored, *command.ignored),
            input_tokens=command.prompt_tokens_estimated,
        )
        await exchange.reply(reply)


class AsyncMessagesEndpoints(MessagesEndpoints):
    """The handlers of the asynchronous API; `create` initiates, `read` streams."""

    @staticmethod
    def _dialect_of(dialects: Dialects) -> MessagesDialect:
        return dialects.async_messages

    async def _understand(
        self, exchange: Exchange, principal: Principal, body: bytes
    ) -> CreateCall:
        return await self._parse(exchange, self._dialect.parse_background, body)

    async def read(self, exchange: Exchange) -> None:
        async with _naming(exchange):
            await super().read(exchange)

    async def status(self, exchange: Exchange) -> None:
        """Answer where a stream stands."""
        principal = await self._principal(exchange)
        async with _naming(exchange):
            record = await self._shell.runtime.get(self._key(exchange, principal))
        await exchange.json(200, self._dialect.status(await self._shown(record)))

    async def cancel(self, exchange: Exchange) -> None:
        """Cancel, and answer when the completion is settled. A body has to be an object."""
        await self._principal(exchange)
        self._dialect.check_cancel(await exchange.body())
        async with _naming(exchange):
            await super().cancel(exchange)

    async def delete(self, exchange: Exchange) -> None:
        async with _naming(exchange):
            await super().delete(exchange)


@asynccontextmanager
async def _naming(exchange: Exchange) -> AsyncIterator[None]:
    """Let a completion that is not there be called by the id that was asked for."""
    try:
        yield
    except CompletionNotFound:
        raise StreamNotFound(exchange.path("id")) from None
