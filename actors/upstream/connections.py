"""The connections to one provider: a request out, an answer's bytes in, a close that closes.

Owns everything of httpx and aiohttp that the provider client uses, and the one place where their
errors become ours. It must not know what is asked for, or when to ask again.

Rules:
- Connections outlive requests, without a limit of their own: admission is not decided here.
- A connection goes back to the pool only when its answer was read to the end. Any other is aborted:
  a polite close would first send what is still to be sent, and with TLS wait for the peer's answer.
- No redirect is followed, no proxy or other setting is taken from the environment, no cookie is
  kept: one team's answer must not set what another team's request sends.
- A kept connection that turns out to be dead is told apart: some servers close one at any moment,
  llama.cpp at once after each stream although its headers promise to keep it.
- No timeout is set: whoever waits cancels.
- A body whose chunks cannot be told apart fails the read that waits for it, at once.
- A body that is compressed although it was asked not to be is read as what it stands for.

httpx is used at its transport interface. Its client would add redirects, cookies, proxies and
logging, which would all be switched off here, at 150 us of CPU for each request (2,700 against 4,900
requests/s of 31 frames on one core).

Source: aiohttp 3.14, `ClientResponse.release`, `Connection.close`, read 2026-11-22: both leave the
transport to `close()`, which waits for what is not sent yet; so `_Response` aborts it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from enum import Enum
from functools import cache, partial
from types import AsyncGeneratorType
from typing import Any, cast
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from actors.upstream.content_coding import ContentDecoder, UnknownCoding

__all__ = ["Answer", "Connections", "Loss", "TransportError"]

_KEEP_ALIVE_S = 4.0
"""Below the 5 s after which uvicorn and Node close an idle connection: a request that meets such a
close has to be sent again."""

_PIECE_BYTES = 256 * 1024
"""A larger request is sent in pieces, so that the loop can do other things between them."""


class Loss(Enum):
    """How far a request got that has no answer."""

    UNSENT = "unsent"  # no connection could be made
    STALE = "stale"  # a kept connection was dead: closed without a byte, as its server may any time
    BROKEN = "broken"  # a new connection, or an answer, broke
    UNREADABLE = "unreadable"  # an answer came, in a coding that nobody asked for


class TransportError(Exception):
    """A connection could not be made, or broke.

    Args:
        kind: the error's name; never its text, which can hold an address with all that is in it.
    """

    def __init__(self, kind: str, loss: Loss) -> None:
        super().__init__(kind)
        self.kind = kind
        self.loss = loss


class Connections:
    """A pool of connections. It opens none, and needs no running loop, before the first `post`.

    Args:
        url: where every request goes.
        headers: what every request carries.
    """

    def __init__(self, url: str, headers: list[tuple[str, str]]) -> None:
        self._url = httpx.URL(url)
        self._headers = headers
        self._tls = _tls_context() if self._url.scheme == "https" else None
        self._transport = AiohttpTransport(
            # An http address has no certificate to verify, and loading the authorities takes 20 ms.
            verify=self._tls or False,
            trust_env=False,
            client=self._new_session,
        )

    async def post(
        self,
        request_id: str,
        body: bytes,
        *,
        url: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """Send a request; return its answer, whatever the status, when the headers are there.

        Args:
            url: where this one goes, if not where every other does.
            headers: what this one carries beside what every request does.
        Raises:
            TransportError: there was no answer.
        Cancel: the connection is closed.
        """
        all_headers = [
            *self._headers,
            *headers,
            ("X-Request-Id", request_id),
            ("Content-Length", str(len(body))),
        ]
        # aiohttp warns of a large body that comes as bytes, since it would copy it in one go.
        is_small = len(body) <= _PIECE_BYTES
        request = httpx.Request(
            "POST",
            self._url if url is None else url,
            headers=all_headers,
            content=body if is_small else None,
            stream=None if is_small else _Pieces(body),
            extensions={"timeout": {}},
        )
        try:
            response = await self._transport.handle_async_request(request)
        except Exception as error:
            raise _mapped(error) from None
        try:
            return Answer(response)
        except UnknownCoding as error:
            await response.aclose()
            raise TransportError(f"UnknownCoding: {error}", Loss.UNREADABLE) from None

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        await self._transport.aclose()

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_Connector(
                limit=0,  # The default would let the hundred-and-first completion wait.
                ssl=self._tls or True,
                keepalive_timeout=_KEEP_ALIVE_S,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_Response,
        )


class Answer:
    """An answer whose body is still to be read."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        stream = cast(httpx.AsyncByteStream, response.stream)
        self._stream = stream
        self._segments = cast("AsyncGeneratorType[bytes, None]", aiter(stream))
        self._is_closed = False
        self._decoder = ContentDecoder(self.headers.get("Content-Encoding"))
        self._is_over = False

    async def read(self) -> bytes:
        """Return what has come since the last read, waiting while nothing has; b"" at the end.

        Raises:
            TransportError: the connection broke, or was closed meanwhile, or the body is corrupt.
        Cancel: nothing can be read any more; `aclose` is still owed.
        """
        try:
            data = b""
            while not data and not self._is_over:
                data = await self._read()
            return data
        except Exception as error:
            raise _mapped(error) from None

    async def _read(self) -> bytes:
        if self._decoder.has_more:
            return self._decoder.decode(b"")
        try:
            return self._decoder.decode(await anext(self._segments))
        except StopAsyncIteration:
            self._is_over = True
            return self._decoder.end()

    async def aclose(self) -> None:
        """Close the connection; after the body's end it is in the pool and stays there. Idempotent.

        When this returns the socket is closed.

        Cancel: the connection is closed.
        """
        if self._is_closed:
            return
        self._is_closed = True
        await self._stream.aclose()
        if not self._segments.ag_running:
            # Else the garbage collector would have to, in a task that nobody waits for.
            await self._segments.aclose()
        # An aborted transport closes its socket in the loop's next turn.
        await asyncio.sleep(0)


class _Handler(ResponseHandler):
    """A connection that tells whoever reads a body of it what broke.

    aiohttp 3.14 tells it only to who waits for the next response: a read of a body whose chunk has no
    size would wait until its time was up.
    """

    def set_exception(self, exc: Any, *cause: Any) -> None:
        payload = self._payload
        if payload is not None and payload.exception() is None and not payload.is_eof():
            payload.set_exception(aiohttp.ClientPayloadError(type(exc).__name__))
        super().set_exception(exc, *cause)


class _Connector(aiohttp.TCPConnector):
    """A connector whose connections are `_Handler`s."""

    def __init__(self, **members: Any) -> None:
        super().__init__(**members)
        factory = cast("partial[ResponseHandler]", partial(_Handler, loop=self._loop))
        self._factory = factory


class _StaleConnection(aiohttp.ServerDisconnectedError):
    """A connection from the pool that was dead."""


_used_before: WeakSet[ResponseHandler] = WeakSet()
"""The connections that have carried a request, while they live."""


class _Response(aiohttp.ClientResponse):
    """A response that gives up its connection at once when it was not read to its end.

    It also tells a kept connection that was dead from one that died under its first request.
    """

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        assert protocol is not None, "aiohttp starts a response on a live connection"
        is_reused = protocol in _used_before
        _used_before.add(protocol)
        try:
            return await super().start(connection)
        except aiohttp.ClientConnectionError as error:
            if is_reused:
                raise _StaleConnection from error
            raise

    def release(self) -> Any:
        self._abort_transport()
        return super().release()

    def close(self) -> None:
        self._abort_transport()
        super().close()

    def _abort_transport(self) -> None:
        connection = self.connection
        # None after the end of the body: then the connection is in the pool already.
        if connection is not None and connection.transport is not None:
            connection.transport.abort()


class _Pieces(httpx.AsyncByteStream):
    """A large body, sent piece by piece."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), _PIECE_BYTES):
            yield self._body[start : start + _PIECE_BYTES]


@cache
def _tls_context() -> ssl.SSLContext:
    """Return the one context of this process; loading its authorities takes 20 ms."""
    return httpx.create_ssl_context(trust_env=False)


def _mapped(error: Exception) -> TransportError:
    """Return what an error means, be it httpx's, aiohttp's or the standard library's: all get out.

    httpx-aiohttp calls every connection error a timeout; the error's cause tells them apart.
    """
    cause = error.__cause__ or error
    reason = getattr(cause, "strerror", None)
    kind = type(cause).__name__ + (f": {reason}" if isinstance(reason, str) else "")
    if isinstance(cause, aiohttp.ClientConnectorError):
        return TransportError(kind, Loss.UNSENT)
    if isinstance(cause, _StaleConnection):
        return TransportError(kind, Loss.STALE)
    return TransportError(kind, Loss.BROKEN)
