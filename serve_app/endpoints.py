"""Create, read and cancel a completion, in any dialect: parse, start, stream or collect.

The dialect is an argument. Everything here is the same for all of them: who calls, in which order
things are checked, what happens when the client leaves.

The order of a create: key, shared headers, body, members, idempotent replay, model and limits, then
the start, which holds money. Whatever is wrong with a request is found before anything is held.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from actors.core.errors import (
    CompletionIdInUse,
    CompletionNotFound,
    CompletionRuntimeError,
    InvalidRequest,
    RateLimited,
)
from actors.core.events import CancelSource, Finished, Status
from actors.core.ids import COMPLETION_PREFIX, is_client_name
from actors.core.request import StartCommand
from actors.ledger import CompletionKey, Principal, RateState
from actors.record import CompletionHeader, CompletionRecord, Receipt
from actors.runtime import (
    RememberedCancellation,
    StartedCompletion,
    Subscription,
)
from serve_app.client_watch import ClientWatch
from serve_app.dialects.base import CreateCall, Dialect, RawHeaders, Reply, Snapshot, render
from serve_app.dialects.midstream_headers import COMPLETION_ID, client_name, remembers_if_absent
from serve_app.event_stream import (
    EventStream,
    Opening,
    Reading,
    RecordSubscription,
    StreamOptions,
    collect,
)
from serve_app.exchange import Exchange
from serve_app.shell import Shell
from serve_app.starting import start_watched

__all__ = ["CompletionEndpoints"]

_WIRE_ID_LENGTH_MAX = 256
"""A longer id was never given out; nobody is asked for it."""

_LARGE_BODY_BYTES = 256 * 1024
_LARGE_LOG_EVENTS = 20_000
"""Above these, parsing, counting and folding move off the event loop: others' streams go on."""

_HEADER_LENGTH_MAX = 1_024

T = TypeVar("T")


class CompletionEndpoints:
    """The three handlers of one dialect."""

    def __init__(self, shell: Shell, dialect: Dialect) -> None:
        self._shell = shell
        self._dialect = dialect

    # Create.

    async def create(self, exchange: Exchange) -> None:
        shell = self._shell
        completion_id = COMPLETION_PREFIX + shell.ids()
        _show_id(exchange, _valid_name(exchange) or self._dialect.wire_id(completion_id))
        principal = await shell.authenticator.principal(exchange.headers)
        self._dialect.check(exchange.call())
        body = await shell.body(exchange)
        is_large = len(body) > _LARGE_BODY_BYTES
        parsed = await _run(lambda: self._dialect.parse_create(exchange.call(body)), is_large)
        if await self._replayed(exchange, principal, parsed):
            return
        command = await _run(lambda: self._resolve(parsed, completion_id, principal), is_large)
        _show_id(exchange, command.wire_id)
        _show_ignored(exchange, (*parsed.ignored, *command.ignored))
        watch = shell.watch(exchange)
        started = await self._start(exchange, command, principal, watch)
        async with Reading(started.subscription, watch, shell.background) as reading:
            if parsed.request.stream:
                await self._stream(exchange, reading, command, parsed)
            else:
                await self._answer(exchange, reading, command)

    def _resolve(
        self, parsed: CreateCall, completion_id: str, principal: Principal
    ) -> StartCommand:
        return self._shell.catalogue.resolve(
            parsed.request,
            completion_id=completion_id,
            wire_id=parsed.wire_id or self._dialect.wire_id(completion_id),
            principal=principal,
            dialect=self._dialect.name,
            created_at_s=self._shell.now_s(),
            settings=self._shell.settings,
            idempotency=parsed.idempotency,
        )

    async def _replayed(self, exchange: Exchange, principal: Principal, parsed: CreateCall) -> bool:
        """Answer from the record that the idempotency key stands for, where there is one."""
        if parsed.idempotency is None:
            return False
        key, fingerprint = parsed.idempotency.key, parsed.idempotency.fingerprint
        record = await self._shell.runtime.find_idempotent(principal.team, key, fingerprint)
        if record is None:
            return False
        _show_id(exchange, record.header.wire_id)
        exchange.show(self._dialect.replay_headers)
        await self._reply_record(exchange, record)
        return True

    async def _start(
        self, exchange: Exchange, command: StartCommand, principal: Principal, watch: ClientWatch
    ) -> StartedCompletion:
        """Start the completion, and show the team's rate."""
        shell = self._shell
        try:
            started = await start_watched(shell.runtime, command, watch, shell.background)
        except RateLimited as error:
            self._show_rate(exchange, _empty_bucket(error, principal, shell.now_s()))
            raise
        self._show_rate(exchange, started.rate)
        return started

    def _show_rate(self, exchange: Exchange, rate: RateState | None) -> None:
        if rate is not None:
            exchange.show(self._dialect.rate_headers(rate))

    async def _stream(
        self, exchange: Exchange, reading: Reading, command: StartCommand, parsed: CreateCall
    ) -> None:
        encoder = self._dialect.encoder(
            CompletionHeader.of(command), request_id=exchange.request_id
        )
        options = self._options(
            Opening.ON_UPSTREAM, headers=parsed.stream_headers, notice=parsed.notice
        )
        await EventStream(exchange, reading, encoder, options).run()

    async def _answer(self, exchange: Exchange, reading: Reading, command: StartCommand) -> None:
        answer, finished = await collect(reading)
        receipt = await self._receipt(command, finished)
        shown = Snapshot(CompletionHeader.of(command), answer, receipt=receipt)
        await exchange.json(200, self._dialect.body(shown))

    async def _receipt(self, command: StartCommand, finished: Finished) -> Receipt | None:
        """Return the receipt of a cancellation; it is in the record alone."""
        if finished.status is not Status.CANCELLED:
            return None
        key = CompletionKey(command.team, command.dialect, command.wire_id)
        try:
            return (await self._shell.runtime.get(key)).receipt
        except CompletionRuntimeError:
            return None  # The answer is true without it.

    # Read.

    async def read(self, exchange: Exchange) -> None:
        """Answer with the record as it stands, or with its frames."""
        shell = self._shell
        principal = await shell.authenticator.principal(exchange.headers)
        call = exchange.call()
        self._dialect.check(call)
        wanted = self._dialect.parse_read(call)
        key = self._key(exchange, principal)
        record = await shell.runtime.get(key)
        if wanted is None:
            await self._reply_record(exchange, record)
            return
        subscription: Subscription = RecordSubscription(record)
        if record.finished is None:
            subscription = await shell.runtime.subscribe(key)
        watch = shell.watch(exchange)
        async with Reading(subscription, watch, shell.background) as reading:
            encoder = self._dialect.encoder(record.header, request_id=exchange.request_id)
            options = self._options(Opening.AT_ONCE, frames_skipped=wanted.after + 1)
            await EventStream(exchange, reading, encoder, options).run()

    # Cancel.

    async def cancel(self, exchange: Exchange) -> None:
        """Cancel, and answer when the completion is settled. A request body is not read."""
        principal = await self._shell.authenticator.principal(exchange.headers)
        self._dialect.check(exchange.call())
        remembers = remembers_if_absent(exchange.headers)
        key = self._key(exchange, principal)
        # A cancel that was accepted is carried out, even if its client does not wait for the answer.
        work = self._remember(key) if remembers else self._cancel(key)
        await exchange.reply(await self._shell.background.finish(work))

    async def _cancel(self, key: CompletionKey) -> Reply:
        answer = await self._shell.runtime.cancel(key, CancelSource.CLIENT_REQUEST)
        return self._dialect.cancelled(answer)

    async def _remember(self, key: CompletionKey) -> Reply:
        """Cancel; where there is nothing to cancel yet, keep the cancellation for its start."""
        try:
            return await self._cancel(key)
        except CompletionNotFound:
            if not is_client_name(key.wire_id):
                raise  # No completion can ever have this name.
        remembered: RememberedCancellation | None = None
        with contextlib.suppress(CompletionIdInUse):
            remembered = await self._shell.runtime.remember_cancellation(key)
        try:
            # It may have started between the two; one that starts from now on is born cancelled.
            return await self._cancel(key)
        except CompletionNotFound:
            if remembered is None:
                raise
            return _remembered_reply(remembered)

    # Parts of the above.

    def _key(self, exchange: Exchange, principal: Principal) -> CompletionKey:
        """Raises: CompletionNotFound: nothing can have this id, so nobody is asked."""
        wire_id = exchange.path("id")
        if len(wire_id) > _WIRE_ID_LENGTH_MAX or not wire_id.isprintable():
            raise CompletionNotFound
        return CompletionKey(principal.team, self._dialect.name, wire_id)

    async def _reply_record(self, exchange: Exchange, record: CompletionRecord) -> None:
        is_large = len(record.events) > _LARGE_LOG_EVENTS
        shown = await _run(lambda: Snapshot.of(record), is_large)
        await exchange.json(200, self._dialect.body(shown))

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
            headers=(*self._dialect.stream_headers, *headers),
            keep_alive=self._dialect.keep_alive,
            opening=opening,
            headers_after_s=settings.headers_after_s,
            keep_alive_s=settings.keep_alive_s,
            notice=notice,
            frames_skipped=frames_skipped,
        )


async def _run(work: Callable[[], T], is_large: bool) -> T:
    return await asyncio.to_thread(work) if is_large else work()


def _remembered_reply(remembered: RememberedCancellation) -> Reply:
    value = {
        "id": remembered.wire_id,
        "object": "midstream.cancellation",
        "status": "remembered",
        "expires_at": int(remembered.expires_at_s),
    }
    return Reply(202, render(value))


def _valid_name(exchange: Exchange) -> str | None:
    try:
        return client_name(exchange.headers)
    except InvalidRequest:
        return None  # The dialect's parser refuses it in its turn.


def _show_id(exchange: Exchange, wire_id: str) -> None:
    exchange.show([(COMPLETION_ID.lower().encode("ascii"), wire_id.encode("ascii"))])


def _show_ignored(exchange: Exchange, paths: Sequence[str]) -> None:
    if paths:
        # Member names are the caller's; only visible ASCII may stand in a header.
        names = ", ".join(ascii(path)[1:-1] for path in paths)
        exchange.show([(b"midstream-ignored", names[:_HEADER_LENGTH_MAX].encode("ascii"))])


def _empty_bucket(error: RateLimited, principal: Principal, now_s: float) -> RateState | None:
    """Return the bucket that refused a draw, as far as the refusal tells: it has less than one."""
    limit = principal.limits.requests_per_minute
    if limit is None or error.scope != "requests":
        return None
    missing = limit - 1
    return RateState(limit, 0, now_s + error.retry_after_s + missing * 60.0 / limit)
