"""The connections to one provider: a request out, an answer's bytes in, a close that closes.

Owns everything of aiohttp that the provider client uses, and the one place where its errors become
ours. It must not know what is asked for, or when to ask again.

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

aiohttp is used as it is: httpx above it takes 0.22 ms more of CPU for each request (0.48 against 0.27 for
one of 31 frames), a twelfth of all that a completion takes.

Source: aiohttp 3.14, `ClientResponse.release`, `Connection.close`, read 2026-11-22: both leave the
transport to `close()`, which waits for what is not sent yet; so `_Response` aborts it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from enum import Enum
from functools import cache, partial
from typing import Any, cast
from weakref import WeakSet

import aiohttp
import certifi
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from actors.upstream.content_coding import ContentDecoder, UnknownCoding

__all__ = ["Answer", "Connections", "Loss", "TransportError", "tls_context"]

_KEEP_ALIVE_S = 4.0
"""Below the 5 s after which uvicorn and Node close an idle connection: a request that meets such a
close has to be sent again."""

_PIECE_BYTES = 256 * 1024
"""A larger request is sent in pieces, so that the loop can do other things between them."""

_SEGMENT_BYTES = 16 * 1024
"""Of an answer, that are read at once: what came meanwhile is the next segment."""


class Loss(Enum):
    """How far a request got that has no answer."""

    UNSENT = "unsent"  # no connection could be made
    STALE = "stale"  # a kept connection was dead: closed without a byte, as its server may any time
    BROKEN = "broken"  # a new connection, or an answer, broke
    UNREADABLE = "unreadable"  # an answer came, in a coding that nobody asked for


class TransportError(Exception):
    """A connection could not be made, or broke.

    Args: kind: the error's name; never its text, which can hold an address with all that is in it.
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
        self._url = URL(url)
        self._headers = headers
        self._session: aiohttp.ClientSession | None = None

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
        Raises: TransportError: there was no answer.
        Cancel: the connection is closed.
        """
        all_headers = [*self._headers, *headers, ("X-Request-Id", request_id)]
        data: bytes | AsyncIterator[bytes] | None = body or None
        if len(body) > _PIECE_BYTES:
            data = _pieces(body)
            all_headers.append(("Content-Length", str(len(body))))
        if self._session is None:
            self._session = self._new_session()
        try:
            response = await self._session.post(
                self._url if url is None else url,
                data=data,
                headers=all_headers,
                allow_redirects=False,
            )
        except Exception as error:
            raise _mapped(error) from None
        try:
            return Answer(response)
        except UnknownCoding as error:
            response.close()
            raise TransportError(f"UnknownCoding: {error}", Loss.UNREADABLE) from None

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        if self._session is not None:
            await self._session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        is_tls = self._url.scheme == "https"
        return aiohttp.ClientSession(
            connector=_Connector(
                limit=0,  # The default would let the hundred-and-first completion wait.
                # An http address has no certificate to verify, and loading the authorities takes 20 ms.
                ssl=tls_context() if is_tls else True,
                keepalive_timeout=_KEEP_ALIVE_S,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_Response,
            timeout=aiohttp.ClientTimeout(),
            auto_decompress=False,
            trust_env=False,
        )


class Answer:
    """An answer whose body is still to be read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._is_closed = False
        codings = ", ".join(self.headers.getall("Content-Encoding", ()))
        self._decoder: ContentDecoder | None = ContentDecoder(codings or None)
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
        decoder = self._decoder
        if decoder is not None and decoder.has_more:
            return decoder.decode(b"")
        data = await self._response.content.read(_SEGMENT_BYTES)
        if not data:
            self._is_over = True
            return b"" if decoder is None else decoder.end()
        if decoder is None:
            return data
        data = decoder.decode(data)
        if decoder.is_plain:
            self._decoder = None  # The rest of the body passes it by.
        return data

    async def aclose(self) -> None:
        """Close the connection; after the body's end it is in the pool and stays there. Idempotent.

        When this returns the socket is closed.

        Cancel: the connection is closed.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._response.release()
        await self._response.wait_for_close()
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


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    """Yield a large body piece by piece."""
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]


@cache
def tls_context() -> ssl.SSLContext:
    """Return the one context of this process; loading its authorities takes 20 ms."""
    return ssl.create_default_context(cafile=certifi.where())


def _mapped(error: Exception) -> TransportError:
    """Return what an error means, be it aiohttp's or the standard library's: all get out."""
    reason = getattr(error, "strerror", None)
    kind = type(error).__name__ + (f": {reason}" if isinstance(reason, str) else "")
    if isinstance(error, aiohttp.ClientConnectorError):
        return TransportError(kind, Loss.UNSENT)
    if isinstance(error, _StaleConnection):
        return TransportError(kind, Loss.STALE)
    return TransportError(kind, Loss.BROKEN)
