"""The routes of the Responses dialect, and what it does otherwise than the others.

A response may follow another one, whose conversation is built from stored records. What is not found
here may be a response that a provider keeps: `?provider=` asks that one, for teams whose policy allows
it; for all others it is unknown, and nobody is asked. Of a response that was created here the hint
says nothing, and the answer says so.

    input_tokens   counted here, by the function that a prompt is held for with
    compact        the provider's own, which is nobody's completion: as for foreign responses, only for
                   teams that may reach providers natively

What a provider is asked natively is nobody's completion, so it is drawn from the team's bucket of requests,
but for a cancel, which no limit refuses.

Source: contract of the Responses dialect, sections 1, 4 and 7; design, section 7.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from actors.core.errors import CompletionNotFound, InvalidRequest, NativeUnsupported
from actors.core.ids import COMPLETION_PREFIX
from actors.core.native import NativeCall, NativeOperation
from actors.core.record import CompletionRecord
from actors.core.request import CompletionRequest
from actors.core.wire.pass_through import held_back
from actors.ports.ledger import CompletionKey, Principal
from serve_app.dialects.base import CreateCall, Reply, render
from serve_app.dialects.json_body import missing, parse_object
from serve_app.dialects.responses import ResponsesDialect
from serve_app.dialects.responses.errors import NotBackground
from serve_app.dialects.responses.request import continued, references
from serve_app.endpoints.create import DialectEndpoints, show_paths
from serve_app.endpoints.earlier_responses import Earlier, earlier_responses, referenced_items
from serve_app.http.exchange import Exchange
from serve_app.http.route import Handler, Shell

__all__ = ["ResponsesEndpoints"]

_COMPACTED = frozenset({"model", "input", "instructions"})
"""The members that a compaction is of; of all others those are held back that a create's are."""

_HINT_IGNORED = ((b"midstream-ignored", b"provider"),)


class ResponsesEndpoints(DialectEndpoints):
    """The handlers of `/v1/responses`."""

    _dialect: ResponsesDialect

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell, shell.dialects.responses)

    async def read(self, exchange: Exchange) -> None:
        await self._here_or_natively(exchange, super().read, NativeOperation.RETRIEVE)

    async def cancel(self, exchange: Exchange) -> None:
        await self._here_or_natively(exchange, super().cancel, NativeOperation.CANCEL)

    async def delete(self, exchange: Exchange) -> None:
        await self._here_or_natively(exchange, super().delete, NativeOperation.DELETE)

    async def input_items(self, exchange: Exchange) -> None:
        """Answer with a page of what came in."""
        await self._here_or_natively(exchange, self._input_items, NativeOperation.INPUT_ITEMS)

    async def input_tokens(self, exchange: Exchange) -> None:
        """Answer how many tokens a create's prompt would have."""
        principal = await self._principal(exchange)
        await self._draw(principal)
        body = await exchange.body()
        call = exchange.call(body)
        request = await self._shell.work(exchange, self._dialect.parse_count, call)
        if request.model:
            self._shell.catalogue.lookup(request.model)
        request = await self._following(request, principal)
        tokens = await self._counted(exchange, request)
        await exchange.json(200, {"object": "response.input_tokens", "input_tokens": sum(tokens)})

    async def compact(self, exchange: Exchange) -> None:
        """Let the model's provider compact a conversation."""
        principal = await self._principal(exchange)
        value = await self._shell.work(exchange, parse_object, await exchange.body())
        name = value.get("model")
        if not isinstance(name, str):
            raise missing("model")
        model = self._shell.catalogue.lookup(name)
        if value.get("previous_response_id") is not None:
            raise InvalidRequest(
                "A provider does not know the responses that are kept here; send their items.",
                param="previous_response_id",
            )
        if not principal.policy.native_passthrough:
            raise NativeUnsupported("Compaction is not available here.")
        await self._draw(principal)
        kept, ignored = held_back(
            value, own=_COMPACTED, pass_through=self._shell.catalogue.pass_through(model.provider)
        )
        show_paths(exchange, b"midstream-ignored", ignored)
        body = render({**kept, "model": model.upstream_model})
        call = NativeCall(NativeOperation.COMPACT, body=body)
        answer = await self._shell.runtime.native(model.provider, call)
        await exchange.reply(Reply(answer.status, answer.body))

    # What a response follows.

    async def _understand(
        self, exchange: Exchange, principal: Principal, body: bytes
    ) -> CreateCall:
        parsed = await super()._understand(exchange, principal, body)
        request = await self._following(parsed.request, principal)
        return replace(parsed, request=request)

    async def _following(
        self, request: CompletionRequest, principal: Principal
    ) -> CompletionRequest:
        """Return the request with the conversation that it goes on with, and all that it refers to."""
        previous = request.echo.get("previous_response_id")
        refers = references(request)
        if previous is None and not refers:
            return request
        runtime, characters_max = self._shell.runtime, self._shell.settings.body_bytes_max

        async def find(wire_id: str) -> CompletionRecord:
            return await runtime.get(self._key_of(wire_id, principal))

        async def find_by_ulid(ulid: str) -> CompletionRecord:
            record = await runtime.get_by_id(COMPLETION_PREFIX + ulid)
            header = record.header
            if (header.team, header.dialect) != (principal.team, self._dialect.name):
                raise CompletionNotFound
            return record

        turns: tuple[Earlier, ...] = ()
        if previous is not None:
            turns = await earlier_responses(find, previous, characters_max=characters_max)
        found = await referenced_items(find_by_ulid, refers, turns, characters_max=characters_max)
        return continued(request, [item for turn in turns for item in turn.items], found)

    # Who is asked.

    async def _here_or_natively(
        self, exchange: Exchange, here: Handler, operation: NativeOperation
    ) -> None:
        """Answer for a response of ours, or of the provider that the call names.

        Raises: CompletionNotFound: it is not ours, and the team may ask no provider.
        """
        provider = exchange.query.get("provider")
        if provider is None:
            await here(exchange)
            return
        principal = await self._principal(exchange)
        created_here = await self._provider_of(self._key(exchange, principal))
        if created_here is None and principal.policy.native_passthrough:
            await self._natively(exchange, principal, provider, operation)
            return
        if created_here not in (None, provider):
            exchange.show(_HINT_IGNORED)
        await here(exchange)

    async def _provider_of(self, key: CompletionKey) -> str | None:
        """Return who was asked for a response, None for one that is not ours."""
        try:
            return (await self._shell.runtime.get(key)).header.provider
        except CompletionNotFound:
            return None

    async def _natively(
        self, exchange: Exchange, principal: Principal, provider: str, operation: NativeOperation
    ) -> None:
        if self._dialect.parse_read(exchange.call()) is not None:
            raise NativeUnsupported("The streams of a provider's own responses cannot be read.")
        if operation is not NativeOperation.CANCEL:  # which no limit refuses
            await self._draw(principal)
        query = tuple(pair for pair in exchange.query.items() if pair[0] != "provider")
        call = NativeCall(operation, exchange.path("id"), query=query)
        answer = await self._shell.runtime.native(provider, call)
        value: dict[str, Any] = json.loads(answer.body)
        if value.get("object") == "response" and "deleted" not in value:
            value["provider"] = provider
        await exchange.json(answer.status, value)

    # What one handler does otherwise.

    async def _input_items(self, exchange: Exchange) -> None:
        principal = await self._principal(exchange)
        record = await self._shell.runtime.get(self._key(exchange, principal))
        await exchange.json(200, self._dialect.input_items(record.header, exchange.call()))

    async def _cancel(self, key: CompletionKey) -> Reply:
        if self._shell.settings.strict_openai_cancel:
            record = await self._shell.runtime.get(key)
            if not record.header.echo.get("background"):
                raise NotBackground
        return await super()._cancel(key)
