"""Asks a provider of kind `openai_responses` about responses that it keeps: see `core.native`.

Owns the addresses of those calls and what a status means there. It must not know who may ask.

Rules:
- Address and key are the configuration's; of a call only the id, the query's known names and the body
  reach the provider. An id that is not of the provider's alphabet is asked of nobody.
- No redirect is followed, no proxy is taken from the environment, and no cookie or connection outlives
  its call: one team's answer must not set what another team's request sends. These calls are rare.
- Time and size of an answer are bounded, and nothing is sent twice.
- What a provider says when it refuses a request is told without keys and addresses, as everywhere; of
  any other error its status alone.

Source: the Responses API's reference (retrieve, cancel, delete, input items, input tokens, compact),
read 2026-11-22.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import cast
from urllib.parse import urlencode

import httpx

from actors.core.errors import (
    CompletionNotFound,
    Failure,
    FailureCode,
    NativeUnsupported,
    UnknownProvider,
    UpstreamError,
)
from actors.core.native import NativeAnswer, NativeCall, NativeOperation
from actors.core.wire.failures import TOLD_STATUSES
from actors.core.wire.refusals import BODY_BYTES_MAX, refusal
from actors.settings import Settings
from actors.upstream.config import ConfigError, ProviderConfig, ProviderKind
from actors.upstream.connections import tls_context
from actors.upstream.wire_formats import WIRE_FORMATS

__all__ = ["NativeResponses"]

_ROUTES: Mapping[NativeOperation, tuple[str, str]] = {
    NativeOperation.RETRIEVE: ("GET", "/{id}"),
    NativeOperation.CANCEL: ("POST", "/{id}/cancel"),
    NativeOperation.DELETE: ("DELETE", "/{id}"),
    NativeOperation.INPUT_ITEMS: ("GET", "/{id}/input_items"),
    NativeOperation.INPUT_TOKENS: ("POST", "/input_tokens"),
    NativeOperation.COMPACT: ("POST", "/compact"),
}
"""Method, and path below that of a create."""

_QUERIES: Mapping[NativeOperation, frozenset[str]] = {
    # Without `stream`: an answer here is one object.
    NativeOperation.RETRIEVE: frozenset({"include", "include[]"}),
    NativeOperation.INPUT_ITEMS: frozenset(
        {"after", "before", "include", "include[]", "limit", "order"}
    ),
}

_RESPONSE_ID = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
"""Also keeps what an id could otherwise make of a path inside of one segment."""

_UNSUPPORTED = frozenset({405, 501})

_UNREACHABLE = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "The provider could not be reached.")
_LATE = Failure(FailureCode.UPSTREAM_TIMEOUT, "The provider did not answer in time.")
_TOO_LARGE = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "The provider's answer is too large.")
_NOT_JSON = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "The provider's answer is no JSON object.")
_BAD_KEY = Failure(
    FailureCode.UPSTREAM_UNAUTHORIZED, "The provider's key is none that HTTP can carry."
)


class NativeResponses:
    """See `actors.ports.provider.NativeProviders`.

    Args:
        provider_of: resolves a name; raises ConfigError where there is none.
        keys: by the names that the configuration gives them.
    """

    def __init__(
        self,
        provider_of: Callable[[str], ProviderConfig],
        *,
        settings: Settings,
        keys: Mapping[str, str],
    ) -> None:
        self._provider_of = provider_of
        self._keys = keys
        self._timeout_s = settings.first_token_timeout_s
        self._cancel_timeout_s = settings.cancel_timeout_s
        self._body_bytes_max = settings.log_bytes_max

    async def ask(self, provider: str, call: NativeCall) -> NativeAnswer:
        config = self._config(provider)
        request = self._request(config, call)
        is_cancel = call.operation is NativeOperation.CANCEL
        try:
            async with asyncio.timeout(self._cancel_timeout_s if is_cancel else self._timeout_s):
                status, body = await self._exchange(request)
        except TimeoutError:
            raise UpstreamError(_LATE) from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise UpstreamError(_UNREACHABLE) from None
        _check_status(status, body, provider, call.operation, self._secrets(config))
        return NativeAnswer(status, _checked(body))

    def _secrets(self, config: ProviderConfig) -> tuple[str, ...]:
        texts = (self._key(config), str(config.base_url).rstrip("/"), config.base_url.host)
        return tuple(text for text in texts if text is not None)

    def _config(self, provider: str) -> ProviderConfig:
        try:
            config = self._provider_of(provider)
        except ConfigError:
            raise UnknownProvider(provider) from None
        if config.kind is not ProviderKind.OPENAI_RESPONSES:
            raise NativeUnsupported(f"The provider {provider!r} keeps no responses.")
        return config

    def _request(self, config: ProviderConfig, call: NativeCall) -> httpx.Request:
        wire = WIRE_FORMATS[config.kind]
        if call.operation.has_id and not _RESPONSE_ID.fullmatch(call.response_id):
            raise CompletionNotFound
        method, path = _ROUTES[call.operation]
        known = _QUERIES.get(call.operation, frozenset())
        query = urlencode([(name, value) for name, value in call.query if name in known])
        base_url = str(config.base_url).rstrip("/")
        url = f"{base_url}{wire.path}{path.replace('{id}', call.response_id)}"
        headers = [("Accept", "application/json"), ("Accept-Encoding", "identity")]
        if call.body:
            headers.append(("Content-Type", "application/json"))
        return httpx.Request(
            method,
            f"{url}?{query}" if query else url,
            headers=[*headers, *wire.headers(self._key(config))],
            content=call.body,
            extensions={"timeout": {}},  # Whoever waits gives it up.
        )

    def _key(self, config: ProviderConfig) -> str | None:
        """Return the key, None where none is to be sent.

        Raises: UpstreamError: no header can carry it.
        """
        key = self._keys.get(config.api_key_env) if config.api_key_env else None
        if key is not None and not (key.isascii() and key.isprintable()):
            raise UpstreamError(_BAD_KEY)
        return key

    async def _exchange(self, request: httpx.Request) -> tuple[int, bytes]:
        verify = tls_context() if request.url.scheme == "https" else False
        async with httpx.AsyncHTTPTransport(verify=verify, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            try:
                return response.status_code, await self._body(response)
            finally:
                await response.aclose()

    async def _body(self, response: httpx.Response) -> bytes:
        """Read the body of an answer or a refusal; raises where an answer is too large."""
        body = bytearray()
        if not response.is_success and response.status_code not in TOLD_STATUSES:
            return b""
        bytes_max = self._body_bytes_max if response.is_success else BODY_BYTES_MAX
        pieces = cast("AsyncGenerator[bytes, None]", response.aiter_bytes())
        async with aclosing(pieces):  # Else one that is left is the garbage collector's to end.
            async for piece in pieces:
                body += piece
                if len(body) > bytes_max:
                    if not response.is_success:
                        break
                    raise UpstreamError(_TOO_LARGE)
        return bytes(body)


def _check_status(
    status: int,
    body: bytes,
    provider: str,
    operation: NativeOperation,
    secrets: tuple[str, ...],
) -> None:
    """Raises: what a status other than 2xx means for this operation."""
    if 200 <= status < 300:
        return
    # Without an id in it, a path that is not found is an operation that is not there.
    if status in _UNSUPPORTED or (status == 404 and not operation.has_id):
        raise NativeUnsupported(f"The provider {provider!r} does not support {operation.value}.")
    if status == 404:
        raise CompletionNotFound
    raise UpstreamError(refusal(status, body, secrets=secrets))


def _checked(body: bytes) -> bytes:
    """Raises: UpstreamError: it is no JSON object, so it is not what was asked for."""
    try:
        is_object = isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise UpstreamError(_NOT_JSON)
    return body
