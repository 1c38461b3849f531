"""One HTTP call as the endpoints see it: its headers, its body, and the one way to answer.

It knows ASGI and the dialect's headers, and nothing of completions.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from functools import cached_property, partial
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

from actors.core.errors import InvalidRequest, RequestTooLarge
from actors.settings import Settings
from serve_app.dialects.base import HttpCall, RawHeaders, Reply, render
from serve_app.dialects.json_scan import Weight, weighing
from serve_app.http.client_watch import ClientWatch
from serve_app.http.content_coding import codings_of, decoded
from serve_app.http.errors import RequestTimedOut
from serve_app.http.leaving import Leaving
from serve_app.http.proxy_worker import HEADER as PROXY_WORKER

__all__ = ["ClientGone", "Exchange"]

_JSON: RawHeaders = ((b"content-type", b"application/json"),)

_QUERY_MEMBERS_MAX = 64

_INLINE_BYTES = 1024
"""Of a compressed body: what unfolds to a megabyte at most, in a millisecond or so."""


class ClientGone(Exception):
    """The client left before its request was whole: there is nobody to answer."""


class _ExchangeStage(Enum):
    OPEN = "open"  # nothing was answered
    ANSWERING = "answering"  # the status is out
    ANSWERED = "answered"


class Exchange:
    """See the module.

    Args:
        headers: what every answer carries.
        settings: have the bounds of a body.
        leaving: judges what a disconnect means.

    `weight` is the body's, once it is read; `counted` the tokens of the messages beside them, where
    they were counted with the parsing.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        request_id: str,
        headers: RawHeaders,
        settings: Settings,
        leaving: Leaving,
    ) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.request_id = request_id
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }
        self._reply_headers: dict[bytes, bytes] = dict(headers)
        self._receive = receive
        self._send = send
        self._settings = settings
        self._leaving = leaving
        self._stage = _ExchangeStage.OPEN
        self._watch: ClientWatch | None = None
        self.weight = Weight.LIGHT
        self.counted: tuple[object, tuple[int, int]] = (None, (0, 0))

    @property
    def is_open(self) -> bool:
        """Whether a whole answer may still be given."""
        return self._stage is _ExchangeStage.OPEN

    @cached_property
    def query(self) -> dict[str, str]:
        """Raises: InvalidRequest: more members than a client of ours would send."""
        raw = self.scope["query_string"].decode("latin-1")
        try:
            pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=_QUERY_MEMBERS_MAX)
        except ValueError:
            raise InvalidRequest("The query string has too many members.") from None
        return dict(reversed(pairs))

    def path(self, name: str) -> str:
        """Return the part of the path that the route calls `name`."""
        value: str = self.scope["path_params"][name]
        return value

    def call(self, body: bytes = b"") -> HttpCall:
        return HttpCall(self.headers, self.query, body)

    async def body(self) -> bytes:
        """Read the body, and weigh it; the bounds hold while it is read, not after.

        Raises:
            RequestTooLarge: by its Content-Length, or by what came.
            RequestTimedOut: it did not come in time.
            InvalidRequest: it has too many members, or is not of its coding.
            UnsupportedCoding: nobody here knows how it is compressed.
            ClientGone: it never came.
        """
        bytes_max, timeout_s = self._settings.body_bytes_max, self._settings.body_timeout_s
        encoding = self.headers.get("content-encoding")
        codings = codings_of(encoding) if encoding else ()
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > bytes_max:
            raise RequestTooLarge(bytes_max=bytes_max)
        try:
            async with asyncio.timeout(timeout_s):
                body = await self._read(bytes_max)
        except TimeoutError:
            raise RequestTimedOut(timeout_s=timeout_s) from None
        if codings:
            work = partial(decoded, body, codings, bytes_max=bytes_max)
            body = await asyncio.to_thread(work) if len(body) > _INLINE_BYTES else work()
        for self.weight in weighing(body):
            if self.weight is Weight.MIDDLE:
                await asyncio.sleep(0)
        return body

    async def _read(self, bytes_max: int) -> bytes:
        message = await self._message()
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False) and len(body) <= bytes_max:
            return body
        pieces, size = [body], len(body)
        while size <= bytes_max:
            if not message.get("more_body", False):
                return b"".join(pieces)
            message = await self._message()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
        raise RequestTooLarge(bytes_max=bytes_max)

    async def _message(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message

    # The client, once its body is read.

    def watch(self) -> ClientWatch:
        """Begin to watch for the client's leaving; it ends with the exchange."""
        assert self._watch is None, "receive() has one owner"
        client = self.scope.get("client")
        self._watch = ClientWatch(
            self._receive,
            self._leaving,
            worker=self.headers.get(PROXY_WORKER),
            peer=client[0] if client else None,
        )
        return self._watch

    def absorb_interrupt(self) -> bool:
        """Return whether the task's cancellation was the watch's own, and nobody else's."""
        return self._watch is not None and self._watch.absorb()

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()

    # The answer.

    def show(self, headers: RawHeaders) -> None:
        """Add headers to the answer, whatever it will be; a later value replaces an earlier."""
        self._reply_headers.update(headers)

    async def reply(self, reply: Reply) -> None:
        """Give a whole answer in JSON, or one without content."""
        if reply.status == 204:  # HTTP forbids it a length.
            await self.begin(204, reply.headers)
            await self.write(b"", is_last=True)
            return
        length = (b"content-length", b"%d" % len(reply.body))
        await self.begin(reply.status, [*_JSON, length, *reply.headers])
        await self.write(reply.body, is_last=True)

    async def json(self, status: int, value: Any, headers: RawHeaders = ()) -> None:
        await self.reply(Reply(status, render(value), headers))

    async def begin(self, status: int, headers: RawHeaders) -> None:
        """Send the status and the headers."""
        assert self._stage is _ExchangeStage.OPEN, "one answer per exchange"
        self._stage = _ExchangeStage.ANSWERING
        headers = [*self._reply_headers.items(), *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, is_last: bool = False) -> None:
        """Send a piece of the body; waits while the client is slow."""
        if is_last:
            self._stage = _ExchangeStage.ANSWERED
            # Servers report a disconnect after the last byte, too: that is nobody's leaving.
            self.close()
        await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})
