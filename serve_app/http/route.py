"""What every endpoint of the application shares, and the frame around each call.

`Shell` is the application's state; `RouteHandler` is one route: it makes the exchange, runs the handler
and turns what it raises into the dialect's words. Nothing a handler raises leaves here but a
cancellation that is the server's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from actors.core.errors import CompletionRuntimeError, IllegalTransition
from actors.core.ids import format_ulid
from actors.ports.runtime import CompletionRuntime
from actors.settings import Settings
from actors.upstream.catalogue import Catalogue
from serve_app.dialects.base import DialectRules, Operation, RawHeaders
from serve_app.dialects.json_scan import Weight
from serve_app.dialects.offered import Dialects
from serve_app.http.authentication import Authenticator
from serve_app.http.background import Background
from serve_app.http.body_workers import BodyWorkers
from serve_app.http.errors import MethodNotAllowed, RouteNotFound
from serve_app.http.exchange import ClientGone, Exchange
from serve_app.http.leaving import Leaving

__all__ = ["ANTHROPIC_VERSION", "RouteHandler", "Handler", "Shell", "new_ulid"]

ANTHROPIC_VERSION = b"anthropic-version"
"""The header that Anthropic's clients send with every call."""

_log = logging.getLogger(__name__)

Handler = Callable[[Exchange], Awaitable[None]]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shell:
    """The application's parts.

    Args:
        ids: returns a new ULID at each call.
        now_s: wall clock, seconds since 1970.
        leaving: judges what a disconnect means.
        replica: who answers, as `NODE/PID`: every answer says it, "" says nothing.
        dialects: as the settings have them.
    """

    runtime: CompletionRuntime
    catalogue: Catalogue
    settings: Settings
    authenticator: Authenticator
    ids: Callable[[], str]
    now_s: Callable[[], float]
    leaving: Leaving
    replica: str = ""
    background: Background = field(default_factory=Background)
    dialects: Dialects = field(default_factory=Dialects.made)
    workers: BodyWorkers = field(default_factory=BodyWorkers)

    @property
    def replica_headers(self) -> RawHeaders:
        return ((b"midstream-replica", self.replica.encode()),) if self.replica else ()

    async def work(self, exchange: Exchange, function: Callable[..., T], *arguments: Any) -> T:
        """Do the work that the call's body asks for where nobody waits for it.

        In another process where the body is heavy: function and arguments can be pickled.
        """
        match exchange.weight:
            case Weight.LIGHT:
                return function(*arguments)
            case Weight.MIDDLE:
                return await asyncio.to_thread(function, *arguments)
        return await self.workers.run(function, *arguments)


class RouteHandler:
    """One route as an ASGI application; the dialect gives its answers their headers and errors.

    Args:
        handlers: by method; HEAD is answered as GET. None at all is a path where nothing is.
        operation: what its errors are worded for.
        otherwise: takes any other method; without it that is an error.
        anthropics: answers in this one's place where the caller is a client of Anthropic's.
    """

    def __init__(
        self,
        shell: Shell,
        dialect: DialectRules,
        handlers: Mapping[str, Handler],
        operation: Operation = Operation.OTHER,
        *,
        otherwise: Handler | None = None,
        anthropics: RouteHandler | None = None,
    ) -> None:
        self._shell = shell
        self._dialect = dialect
        self._otherwise = otherwise
        self._anthropics = anthropics
        self._handlers = {**handlers, "HEAD": handlers["GET"]} if "GET" in handlers else handlers
        self._operation = operation

    @property
    def dialect(self) -> DialectRules:
        return self._dialect

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that have a handler of their own."""
        return tuple(method for method in self._handlers if method != "HEAD")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._anthropics is not None and _is_anthropics(scope):
            await self._anthropics(scope, receive, send)
            return
        request_id = f"req_{self._shell.ids()}"
        headers = [*self._dialect.reply_headers(request_id), *self._shell.replica_headers]
        exchange = Exchange(
            scope,
            receive,
            send,
            request_id=request_id,
            headers=headers,
            settings=self._shell.settings,
            leaving=self._shell.leaving,
        )
        try:
            await self._serve(exchange)
        except asyncio.CancelledError:
            if not exchange.absorb_interrupt():
                raise
        finally:
            exchange.close()

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange.method)(exchange)
        except CompletionRuntimeError as error:
            if isinstance(error, IllegalTransition):
                _log.error("%s failed", exchange.request_id, exc_info=error)
            await self._fail(exchange, error)
        except ClientGone:
            pass
        except Exception:
            _log.exception("%s failed", exchange.request_id)
            await self._fail(exchange, IllegalTransition("unexpected"))

    def _handler(self, method: str) -> Handler:
        handler = self._handlers.get(method, self._otherwise)
        if handler is not None:
            return handler
        if self._handlers:
            raise MethodNotAllowed(allowed=tuple(self._handlers))
        raise RouteNotFound

    async def _fail(self, exchange: Exchange, error: CompletionRuntimeError) -> None:
        """Answer with the error, if an answer may still be given."""
        if exchange.is_open:
            request_id = exchange.request_id
            reply = self._dialect.error(error, operation=self._operation, request_id=request_id)
            await exchange.reply(reply)


def _is_anthropics(scope: Scope) -> bool:
    return any(name == ANTHROPIC_VERSION for name, _ in scope["headers"])


def new_ulid() -> str:
    """Return a ULID of now; 80 random bits make two of the same millisecond distinct."""
    return format_ulid(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big"))
