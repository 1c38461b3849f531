"""Asks a provider for completions: one request each, its bytes through the wire format's decoder.

Owns what a provider's status means, the retries before the first byte, and when a connection may be
kept. It must not know Ray, the machine, or what the bytes mean; the HTTP libraries are
`connections`'.

Rules:
- A request is sent again at most twice, only before its first byte came back, and only after a
  connection that could not be made, a 429 or a 503. Pauses are spread; Retry-After is kept to, or,
  where it is above 5 s, not waited for. A kept connection that turned out to be dead counts as one
  that could not be made, and is replaced at once, as browsers and curl do.
- No timeout is set: whoever waits cancels.
- An answer that its provider would go on with (`native_background`) is cancelled there beside the close of
  its connection, unless it ended by itself; for that there is a bound, and no second try. Nobody who
  leaves cuts it short.
- What a provider says when it refuses a request is told, without keys and addresses; of any other error
  its status alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import Enum

from msgspec.structs import replace as replace_members

from actors.core.errors import Failure, FailureCode, UpstreamError
from actors.core.request import StartCommand
from actors.core.upstream import StreamDecoder, TokenCount, UpstreamBatch
from actors.core.wire.failures import BROKEN_STREAM, TOLD_STATUSES
from actors.core.wire.refusals import BODY_BYTES_MAX, refusal, scrubbed
from actors.settings import Settings
from actors.upstream.config import ConfigError, ProviderConfig
from actors.upstream.connections import Answer, Connections, Loss, TransportError
from actors.upstream.wire_formats import WIRE_FORMATS

__all__ = ["ProviderClient"]

_log = logging.getLogger(__name__)

_RETRIES_MAX = 2
_RETRIED_STATUSES = frozenset({429, 503})
_RETRY_PAUSE_S = 0.25  # doubles, and is spread over half to one and a half of itself
_RETRY_AFTER_S_MAX = 5.0  # whoever asks for longer is not asked again
_RETRY_AFTER_REPORTED_S_MAX = 3600.0

_DRAIN_S = 0.5  # how long the end of a body may come after the end of its stream
_DRAIN_BYTES_MAX = 64 * 1024

_REFUSAL_S = 2.0  # how long the body of a refusal may take

_NATIVE_CANCEL_S = 0.75  # within the second that a driver gives a close

_UNREACHABLE = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "The provider could not be reached.")
_UNREADABLE = Failure(
    FailureCode.UPSTREAM_UNAVAILABLE,
    "The provider compressed its answer in a way nobody asked for.",
)


class ProviderClient:
    """One provider's client in this process; implements `actors.ports.provider.Provider`.

    Args:
        name: the provider's name in the configuration.
        api_key: sent as the wire format has it; None sends none.
        count: our tokenizer, for deltas that come without the provider's figures.
        jitter: a number from 0 to 1 that spreads the retries; `sleep` waits for them, in seconds.
    Raises: ConfigError: a key that no header can carry.
    """

    def __init__(
        self,
        name: str,
        config: ProviderConfig,
        *,
        api_key: str | None,
        settings: Settings,
        count: TokenCount,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self.config = config
        self.format = WIRE_FORMATS[config.kind]
        self._base_url = str(config.base_url).rstrip("/")
        key = _checked(name, api_key)
        self.secrets = tuple(
            text for text in (key, self._base_url, config.base_url.host) if text is not None
        )
        headers = [*_HEADERS, *self.format.headers(key)]
        self.connections = Connections(f"{self._base_url}{self.format.path}", headers)
        self.frame_bytes_max = settings.frame_bytes_max
        self.count = count
        self.jitter = jitter
        self.sleep = sleep

    def __repr__(self) -> str:
        return f"<ProviderClient {self.name}>"

    def open(self, command: StartCommand) -> _HttpStream:
        """Prepare a request; nothing is sent before `connect`."""
        return _HttpStream(self, command)

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        await self.connections.aclose()

    def cancel_url(self, decoder: StreamDecoder) -> str | None:
        """Return where the provider is told to stop an answer.

        None while it has no name for it, and where closing the connection is what stops it.
        """
        path = self.format.cancel_path(decoder) if self.config.native_background else None
        return None if path is None else self._base_url + path


class _Phase(Enum):
    NEW = "new"
    OPEN = "open"
    BROKEN = "broken"  # cut, or unreadable: what the provider does now is not known
    ENDED = "ended"  # the stream said its end; the body's may still be to come
    OVER = "over"  # the body was read to its end, or there was a failure
    CLOSED = "closed"


class _HttpStream:
    """One request of a client's; implements `actors.ports.provider.UpstreamStream`."""

    def __init__(self, client: ProviderClient, command: StartCommand) -> None:
        wire = client.format
        self._client = client
        self._request_id = command.completion_id
        body = wire.request_body(command, client.config)
        self._body = json.dumps(body, separators=(",", ":")).encode()
        self._headers = wire.request_headers(command)
        self._own_decoder = wire.decoder(client.count, frame_bytes_max=client.frame_bytes_max)
        self._decoder = wire.restored(self._own_decoder, command)
        self._phase = _Phase.NEW
        self._answer: Answer | None = None
        self._telling: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<_HttpStream {self._request_id} {self._phase.value}>"

    async def connect(self) -> None:
        """Send the request; returns when the provider answered 2xx.

        Raises: UpstreamError: after at most two retries, on connect errors, 429 and 503 alone.
        Cancel: the connection is closed.
        """
        attempt = 0
        while (refusal := await self._attempt()) is not None:
            pause_s = self._retry_pause_s(attempt, refusal)
            if pause_s is None:
                raise UpstreamError(refusal.failure)
            await self._client.sleep(pause_s)
            attempt += 1

    def batches(self) -> AsyncIterator[UpstreamBatch]:
        """Yield what each segment brought; ends after a batch with `is_end` or `failure`.

        Cancel: the connection is closed.
        """
        return self

    def __aiter__(self) -> AsyncIterator[UpstreamBatch]:
        return self

    async def __anext__(self) -> UpstreamBatch:
        if self._phase is not _Phase.OPEN:
            raise StopAsyncIteration
        assert self._answer is not None
        try:
            data = await self._answer.read()
        except TransportError as error:
            return self._broken(error)
        except asyncio.CancelledError:
            await self._answer.aclose()
            raise
        if not data:
            batch = self._safe(self._decoder.receive_eof())
            self._phase = _Phase.OVER if batch.failure is None else _Phase.BROKEN
            return batch
        batch = self._safe(self._decoder.receive_data(data))
        if batch.is_end:
            self._phase = _Phase.ENDED
        elif batch.failure is not None:
            # What could not be read says nothing of whether the provider goes on.
            self._phase = _Phase.BROKEN if batch.failure == BROKEN_STREAM else _Phase.OVER
        return batch

    async def aclose(self) -> None:
        """Close the connection now, or give it back to the pool if the answer was read to its end.

        Where the stream ended and only the body's end is missing, waits a moment for it; where the
        provider would go on, tells it to stop meanwhile. Idempotent: who comes second waits for that too.

        Cancel: the connection is closed, and the provider is told all the same.
        """
        phase, self._phase = self._phase, _Phase.CLOSED
        if self._answer is None:
            return
        if phase in (_Phase.OPEN, _Phase.BROKEN):
            url = self._client.cancel_url(self._own_decoder)
            if url is not None:
                self._telling = asyncio.get_running_loop().create_task(self._cancel_natively(url))
        try:
            if phase is _Phase.ENDED:
                await _drain(self._answer)
        finally:
            await self._answer.aclose()
        if self._telling is not None:
            await asyncio.shield(self._telling)

    async def _cancel_natively(self, url: str) -> None:
        """Tell the provider to stop an answer that outlives its connection; a refusal is only logged."""
        try:
            async with asyncio.timeout(_NATIVE_CANCEL_S):
                answer = await self._client.connections.post(self._request_id, b"", url=url)
                try:
                    await _drain(answer)
                finally:
                    await answer.aclose()
        except (TimeoutError, TransportError) as error:
            _log.warning(
                "provider %s: no answer to a cancel: %s", self._client.name, type(error).__name__
            )
            return
        if not 200 <= answer.status < 300:
            _log.warning("provider %s: status %d for a cancel", self._client.name, answer.status)

    async def _attempt(self) -> _Refusal | None:
        """Send once; None is success."""
        try:
            answer = await self._client.connections.post(
                self._request_id, self._body, headers=self._headers
            )
        except TransportError as error:
            _log.warning("provider %s: no answer: %s", self._client.name, error.kind)
            failure = _UNREADABLE if error.loss is Loss.UNREADABLE else _UNREACHABLE
            return _Refusal(failure, _RETRY_BY_LOSS[error.loss])
        if 200 <= answer.status < 300:
            self._answer = answer
            self._phase = _Phase.OPEN
            return None
        try:
            said = await _said(answer) if answer.status in TOLD_STATUSES else b""
        finally:
            await answer.aclose()
        _log.warning("provider %s: status %d", self._client.name, answer.status)
        retry_after_s = _retry_after_s(answer.headers.get("Retry-After"))
        failure = refusal(
            answer.status, said, secrets=self._client.secrets, retry_after_s=retry_after_s
        )
        is_transient = answer.status in _RETRIED_STATUSES
        return _Refusal(failure, _Retry.LATER if is_transient else _Retry.NEVER)

    def _retry_pause_s(self, attempt: int, refusal: _Refusal) -> float | None:
        """Return how long to wait before another attempt, None where there is to be none."""
        if refusal.retry is _Retry.NEVER or attempt >= _RETRIES_MAX:
            return None
        if refusal.retry is _Retry.NOW:
            return 0.0
        pause_s = _RETRY_PAUSE_S * (1 << attempt) * (0.5 + self._client.jitter())
        asked_s = refusal.failure.retry_after_s
        if asked_s is None:
            return pause_s
        return None if asked_s > _RETRY_AFTER_S_MAX else max(pause_s, asked_s)

    def _safe(self, batch: UpstreamBatch) -> UpstreamBatch:
        """Return the batch; what a refusal in the stream says is without this provider's secrets."""
        failure = batch.failure
        if failure is None or failure.code is not FailureCode.UPSTREAM_REJECTED:
            return batch
        told = replace_members(failure, message=scrubbed(failure.message, self._client.secrets))
        return replace(batch, failure=told)

    def _broken(self, error: TransportError) -> UpstreamBatch:
        if self._phase is _Phase.CLOSED:  # By another task, while this one was waiting.
            raise StopAsyncIteration
        self._phase = _Phase.BROKEN
        _log.warning("provider %s: the stream broke: %s", self._client.name, error.kind)
        # An answer that has its finish reason is whole, however its connection ended.
        batch = self._decoder.receive_eof()
        return batch if batch.is_end else replace(batch, failure=batch.failure or BROKEN_STREAM)


class _Retry(Enum):
    NEVER = "never"
    NOW = "now"
    LATER = "later"


_RETRY_BY_LOSS = {
    Loss.UNSENT: _Retry.LATER,
    Loss.STALE: _Retry.NOW,
    Loss.UNREADABLE: _Retry.NEVER,
    Loss.BROKEN: _Retry.NEVER,  # The provider may be at work on it.
}


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An attempt that failed, and whether it may be made again."""

    failure: Failure
    retry: _Retry


async def _said(answer: Answer) -> bytes:
    """Read what a refusal says, as much of it as comes in bounds."""
    body = bytearray()
    try:
        async with asyncio.timeout(_REFUSAL_S):
            while len(body) < BODY_BYTES_MAX and (data := await answer.read()):
                body += data
    except (TimeoutError, TransportError):
        pass  # What came may be enough.
    return bytes(body[:BODY_BYTES_MAX])


async def _drain(answer: Answer) -> None:
    """Read the rest of a body whose stream has ended, so that its connection can be kept.

    What does not end in a moment, or breaks, is not kept; nothing else is lost.
    """
    size = 0
    try:
        async with asyncio.timeout(_DRAIN_S):
            while size < _DRAIN_BYTES_MAX and (data := await answer.read()):
                size += len(data)
    except (TimeoutError, TransportError):
        return


_HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept", "text/event-stream"),
    ("Accept-Encoding", "identity"),
    ("User-Agent", "midstream"),
)


def _checked(name: str, api_key: str | None) -> str | None:
    key = None if api_key is None else api_key.strip()
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ConfigError(f"providers.{name}.api_key_env holds no key that HTTP can carry.")
    return key


def _retry_after_s(value: str | None) -> float | None:
    """Return what a Retry-After header asks for, in seconds or as a date; None where it is none."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
        seconds = max(0.0, seconds)
    # "nan" is a float too; it compares as False, and then the header says nothing.
    return min(seconds, _RETRY_AFTER_REPORTED_S_MAX) if seconds >= 0 else None
