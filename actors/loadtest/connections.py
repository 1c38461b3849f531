"""HTTP from the tester's side: one session of kept connections, and what a refusal says.

Owns headers, timeouts and how an error answer becomes one sentence. A body is decoded as it comes;
nothing is buffered beyond aiohttp's own window. Environment proxies are not used: what is measured
is the server that was named.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from actors.loadtest.plan import PlanError
from actors.loadtest.speech import SpokenCall

__all__ = ["UNREACHED", "LoadConnections", "Refused", "base_url", "open_connections"]

_CONNECT_TIMEOUT_S = 30.0
_ERROR_BYTES_MAX = 16_384
_JSON_BYTES_MAX = 32 * 1024 * 1024

UNREACHED = (aiohttp.ClientError, OSError)
"""What a call raises that has no answer, or none in time."""


class Refused(Exception):
    """The server answered with an error status. `code` is its envelope's, "" where it has none."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(f"{message} ({status}{' ' + code if code else ''})")
        self.status = status
        self.code = code

    @property
    def is_for_money(self) -> bool:
        return self.status == 402 or self.code == "budget_exceeded"

    @property
    def is_for_all(self) -> bool:
        """Whether every other stream of the run would be refused as well."""
        return self.is_for_money or self.status in (401, 403, 404, 405)


def base_url(url: str) -> str:
    """Return the address that paths are added to; a `/v1` at its end is theirs.

    Raises: PlanError: no address of HTTP.
    """
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
        is_usable = is_usable and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise PlanError(f"{url!r} is not the address of a server, such as http://127.0.0.1:8000.")
    return url.rstrip("/").removesuffix("/v1")


class LoadConnections:
    """Requests to one server."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    @asynccontextmanager
    async def stream(
        self, call: SpokenCall, **headers: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the answer, headers read; its connection is kept if its body was read to the end.

        Raises: Refused: an error status. aiohttp.ClientError, TimeoutError: no answer.
        """
        async with self._session.request(
            call.method,
            self._url + call.path,
            data=call.body,
            headers={**call.headers, **headers},
            allow_redirects=False,
        ) as response:
            if not 200 <= response.status < 300:
                raise await _refused(response)
            yield response

    async def json(self, call: SpokenCall, **headers: str) -> dict[str, Any]:
        """Return the JSON object of a 2xx answer.

        Raises: as `stream`; ValueError: no JSON object.
        """
        async with self.stream(call, **headers) as response:
            value = json.loads(await _read(response, _JSON_BYTES_MAX) or b"null")
            if not isinstance(value, dict):
                raise ValueError("The server answered with something that is not a JSON object.")
            return value

    async def send(self, call: SpokenCall) -> None:
        """Make a call whose body says nothing. Raises: as `stream`."""
        async with self.stream(call) as response:
            await response.read()


@asynccontextmanager
async def open_connections(
    url: str, api_key: str | None, *, quiet_timeout_s: float
) -> AsyncIterator[LoadConnections]:
    """Yield a session; every connection of it is closed afterwards.

    How many connections there are is bounded by whoever makes the calls.
    """
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=quiet_timeout_s
    )
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=connector, auto_decompress=False
    ) as session:
        yield LoadConnections(session, url)


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """Return the body; what is longer than the bound is cut, and then no JSON."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > bytes_max:
            break
    return bytes(body[:bytes_max])


async def _refused(response: aiohttp.ClientResponse) -> Refused:
    data = await _read(response, _ERROR_BYTES_MAX)
    try:
        value = json.loads(data)
        error = value.get("error") or {"message": value.get("detail")}
        if isinstance(error, str):
            error = {"message": error}
        message = error.get("message") or "The server refused"
        return Refused(response.status, str(message), str(error.get("code") or ""))
    except (ValueError, AttributeError):
        return Refused(response.status, "The server refused.")
