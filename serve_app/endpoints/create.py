"""Create a completion, in any dialect: understand, start, stream or collect, or answer at once.

The order of a create: key, shared headers, body, members, whether the same start was made before, model
and limits, then the start, which holds money. Whatever is wrong with a request is found before anything
is held. A start that was made before is answered with what it started, from the beginning, as it was.

How a completion is answered, once its hold is durable:

    stream                   its frames; background or not
    background               `accepted`, at once: its reader is detached, nobody's leaving ends it
    neither                  its body, when it has ended
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from actors.core.errors import (
    AlreadyStarted,
    CompletionRuntimeError,
    InvalidRequest,
    Overloaded,
    RateLimited,
)
from actors.core.events import Finished, Status
from actors.core.ids import COMPLETION_PREFIX
from actors.core.record import CompletionHeader, Receipt
from actors.core.request import CompletionRequest, IdempotencyKey, StartCommand
from actors.ports.ledger import CompletionKey, Principal, RateState
from actors.ports.runtime import StartedCompletion, Subscription
from actors.upstream.tokenizer import count_request
from serve_app.dialects.base import BackgroundDialect, CreateCall, HttpCall, Snapshot
from serve_app.dialects.idempotency import fingerprint, name_of_start
from serve_app.dialects.json_scan import Weight
from serve_app.dialects.midstream_headers import COMPLETION_ID, client_name
from serve_app.endpoints.completions import CompletionEndpoints
from serve_app.http.client_watch import ClientWatch
from serve_app.http.event_stream import (
    EventStream,
    Opening,
    RecordSubscription,
    StreamReading,
    collect,
)
from serve_app.http.exchange import Exchange
from serve_app.http.watched_start import start_watched

__all__ = ["DialectEndpoints", "show_paths"]

_HEADER_LENGTH_MAX = 1_024

_START_TRIES = 3
"""How often a start may find that its twin was first, and then that what the twin started is gone."""


class DialectEndpoints(CompletionEndpoints):
    """All handlers of one dialect; in the create route a subclass may do some things otherwise."""

    async def create(self, exchange: Exchange) -> None:
        shell = self._shell
        completion_id = COMPLETION_PREFIX + shell.ids()
        _show_id(exchange, self._name(exchange) or self._dialect.wire_id(completion_id))
        principal = await self._principal(exchange)
        body = await exchange.body()
        parsed = await self._understand(exchange, principal, body)
        again = await self._again(exchange, parsed, body)
        watch = exchange.watch()
        for _ in range(_START_TRIES):
            if again is not None and await self._attach(exchange, principal, parsed, again, watch):
                return
            command = await self._resolve(exchange, parsed, completion_id, principal, again)
            _show_id(exchange, command.wire_id)
            show_paths(exchange, b"midstream-ignored", (*parsed.ignored, *command.ignored))
            show_paths(exchange, b"midstream-adjusted", command.adjusted)
            try:
                started = await self._start(exchange, command, principal, watch)
            except AlreadyStarted:  # by a twin of this call, a moment ago
                completion_id = COMPLETION_PREFIX + shell.ids()
                continue
            header = CompletionHeader.of(command)
            await self._serve(exchange, started.subscription, watch, header, parsed)
            return
        raise Overloaded("The same start is being made again and again.")

    async def _serve(
        self,
        exchange: Exchange,
        subscription: Subscription,
        watch: ClientWatch,
        header: CompletionHeader,
        parsed: CreateCall,
    ) -> None:
        """Answer with what the completion says, from its beginning, in the way that was asked for."""
        async with StreamReading(subscription, watch, self._shell.background) as reading:
            if parsed.request.stream:
                await self._stream(exchange, reading, header, parsed)
            elif not parsed.request.background:
                await self._answer(exchange, reading, header)
        if parsed.request.background and not parsed.request.stream:
            dialect = self._dialect  # Its reader is gone already.
            assert isinstance(dialect, BackgroundDialect), "Who understands background, answers it."
            await exchange.reply(dialect.accepted(header))

    def _name(self, exchange: Exchange) -> str | None:
        """Return the name that the client gave its completion, None where it gave no valid one."""
        try:
            return client_name(exchange.headers)
        except InvalidRequest:
            return None  # The dialect's parser refuses it in its turn.

    async def _understand(
        self, exchange: Exchange, principal: Principal, body: bytes
    ) -> CreateCall:
        """Return what the call asks for. A subclass may look something up for it.

        Raises: CompletionRuntimeError: nothing was done.
        """
        return await self._parse(exchange, self._dialect.parse_create, body)

    async def _parse(
        self, exchange: Exchange, parse: Callable[[HttpCall], CreateCall], body: bytes
    ) -> CreateCall:
        """Understand the body, and count its prompt with it where that is another process's work."""
        call = exchange.call(body)
        if exchange.weight is not Weight.HEAVY:
            return await self._shell.work(exchange, parse, call)
        parsed, counted = await self._shell.work(exchange, _parsed_and_counted, parse, call)
        exchange.counted = (parsed.request.messages, counted)
        return parsed

    async def _resolve(
        self,
        exchange: Exchange,
        parsed: CreateCall,
        completion_id: str,
        principal: Principal,
        again: IdempotencyKey | None = None,
    ) -> StartCommand:
        """Admit the request, its prompt counted where nobody waits for it."""
        shell, request = self._shell, parsed.request
        shell.catalogue.lookup(request.model)  # Before its prompt is counted.
        of, counted = exchange.counted
        if of is not request.messages:  # It goes on with an earlier one, or is not counted yet.
            counted = await self._counted(exchange, request)
        resolve = partial(
            shell.catalogue.resolve,
            request,
            completion_id=completion_id,
            wire_id=parsed.wire_id or self._dialect.wire_id(completion_id),
            principal=principal,
            dialect=self._dialect.name,
            created_at_s=shell.now_s(),
            settings=shell.settings,
            idempotency=again,
            counted=counted,
        )
        return resolve() if exchange.weight is Weight.LIGHT else await asyncio.to_thread(resolve)

    async def _counted(self, exchange: Exchange, request: CompletionRequest) -> tuple[int, int]:
        """Return the tokens of the prompt: of its messages, and of what stands beside them."""
        return await self._shell.work(exchange, count_request, *_countable(request))

    async def _again(
        self, exchange: Exchange, parsed: CreateCall, body: bytes
    ) -> IdempotencyKey | None:
        """Return how this start is known if it is made again, None where nothing names it."""
        is_strict = self._shell.settings.strict_contracts
        name = name_of_start(
            parsed, exchange.headers, dialect=self._dialect.name, is_strict=is_strict
        )
        if name is None:
            return None
        route = f"{exchange.method} {exchange.scope['path']}"
        return replace(name, fingerprint=await self._shell.work(exchange, fingerprint, route, body))

    async def _attach(
        self,
        exchange: Exchange,
        principal: Principal,
        parsed: CreateCall,
        again: IdempotencyKey,
        watch: ClientWatch,
    ) -> bool:
        """Answer with the completion that this start is taken for, where there is one.

        The record of a team whose content is not stored has none: what it is answered with then is
        receipt, usage and charge alone.
        """
        runtime = self._shell.runtime
        key = CompletionKey(principal.team, self._dialect.name, parsed.wire_id or "")
        record = await runtime.find_started(key, again)
        if record is None:
            return False
        _show_id(exchange, record.header.wire_id)
        exchange.show(self._dialect.replay_headers)
        subscription: Subscription = RecordSubscription(record)
        if record.finished is None:
            subscription = await runtime.subscribe_by_id(record.header.completion_id)
        await self._serve(exchange, subscription, watch, record.header, parsed)
        return True

    async def _start(
        self, exchange: Exchange, command: StartCommand, principal: Principal, watch: ClientWatch
    ) -> StartedCompletion:
        """Start the completion, and show the team's rate."""
        try:
            started = await start_watched(
                self._shell.runtime, command, watch, self._shell.background
            )
        except RateLimited as error:
            self._show_rate(exchange, _empty_bucket(error, principal, self._shell.now_s()))
            raise
        self._show_rate(exchange, started.rate)
        return started

    def _show_rate(self, exchange: Exchange, rate: RateState | None) -> None:
        if rate is not None:
            exchange.show(self._dialect.rate_headers(rate))

    async def _stream(
        self,
        exchange: Exchange,
        reading: StreamReading,
        header: CompletionHeader,
        parsed: CreateCall,
    ) -> None:
        encoder = self._dialect.encoder(header, request_id=exchange.request_id)
        options = self._options(
            Opening.ON_UPSTREAM, headers=parsed.stream_headers, notice=parsed.notice
        )
        await EventStream(exchange, reading, encoder, options).run()

    async def _answer(
        self, exchange: Exchange, reading: StreamReading, header: CompletionHeader
    ) -> None:
        answer, finished = await collect(reading)
        receipt = await self._receipt(header, finished)
        shown = Snapshot(header, answer, receipt=receipt)
        await exchange.json(200, self._dialect.body(shown))

    async def _receipt(self, header: CompletionHeader, finished: Finished) -> Receipt | None:
        """Return the receipt of a cancellation; it is in the record alone."""
        if finished.status is not Status.CANCELLED:
            return None
        key = CompletionKey(header.team, header.dialect, header.wire_id)
        try:
            return (await self._shell.runtime.get(key)).receipt
        except CompletionRuntimeError:
            return None  # The answer is true without it.


def _countable(request: CompletionRequest) -> tuple[Any, ...]:
    beyond = tuple(beyond.text for beyond in request.body_only)
    return request.messages, tuple(request.tools), beyond


def _parsed_and_counted(
    parse: Callable[[HttpCall], CreateCall], call: HttpCall
) -> tuple[CreateCall, tuple[int, int]]:
    parsed = parse(call)
    return parsed, count_request(*_countable(parsed.request))


def _show_id(exchange: Exchange, wire_id: str) -> None:
    exchange.show([(COMPLETION_ID.lower().encode("ascii"), wire_id.encode("ascii"))])


def show_paths(exchange: Exchange, header: bytes, paths: Sequence[str]) -> None:
    """Name members of the request in a header of the answer, where there are any."""
    if paths:
        # Member names are the caller's; only visible ASCII may stand in a header.
        names = ", ".join(ascii(path)[1:-1] for path in dict.fromkeys(paths))
        exchange.show([(header, names[:_HEADER_LENGTH_MAX].encode("ascii"))])


def _empty_bucket(error: RateLimited, principal: Principal, now_s: float) -> RateState | None:
    """Return the bucket that refused a draw, as far as the refusal tells: it has less than one."""
    limit = principal.limits.requests_per_minute
    if limit is None or error.scope != "requests":
        return None
    missing = limit - 1
    return RateState(limit, 0, now_s + error.retry_after_s + missing * 60.0 / limit)
