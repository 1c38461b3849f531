"""The end of a direct connection that answers."""

from __future__ import annotations

import asyncio
import hmac
import logging
import pickle
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

import aiohttp
from aiohttp import web

from actors.core.errors import CompletionRuntimeError, Overloaded
from actors.rpc.frames import (
    CLOSE_TIMEOUT_S,
    HEARTBEAT_S,
    STOP,
    UNBOUNDED,
    Endpoint,
    Kind,
    Outbox,
)

__all__ = ["DirectServer"]

_log = logging.getLogger(__name__)

_UNHEARD = logging.getLogger(f"{__name__}.unheard")
_UNHEARD.setLevel(logging.CRITICAL + 1)
"""aiohttp's: it would tell a traceback for whatever comes here that is no HTTP, from anybody."""

_PATH = "/calls"

_CALLS_MAX = 10_000
"""Calls of one caller that run at once; the next is `Overloaded`."""

Calls = Mapping[str, Callable[..., Awaitable[Any]]]
Streams = Mapping[str, Callable[..., AsyncIterator[Any]]]


class DirectServer:
    """Answers the calls of processes that have its token, on a port of its own.

    Args:
        calls: by name; what they raise of ours reaches the caller as itself.
        streams: by name; closed when the caller stops reading or its connection ends. Calls go on.
    """

    def __init__(self, calls: Calls, streams: Streams) -> None:
        self._calls = calls
        self._streams = streams
        self._token = secrets.token_hex(32)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str) -> Endpoint:
        """Listen on that address; return how to reach it."""
        app = web.Application()
        app.router.add_get(_PATH, self._serve)
        self._runner = web.AppRunner(
            app, access_log=None, logger=_UNHEARD, shutdown_timeout=CLOSE_TIMEOUT_S
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, 0)
        await site.start()
        port = self._runner.addresses[0][1]
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return Endpoint(f"http://{authority}{_PATH}", self._token)

    async def stop(self) -> None:
        """End every connection; calls that run are not waited for."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        # Whatever bytes it has: what is no text comes as lone surrogates.
        offered = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(offered, f"Bearer {self._token}".encode()):
            return web.Response(status=401)
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, max_msg_size=UNBOUNDED, compress=False
        )
        await socket.prepare(request)
        try:
            await _Caller(self._calls, self._streams, socket).serve()
        except Exception:
            _log.exception("a caller's connection broke")
            raise
        return socket


class _Caller:
    """One connection, as its server sees it."""

    def __init__(self, calls: Calls, streams: Streams, socket: web.WebSocketResponse) -> None:
        self._calls = calls
        self._streams = streams
        self._socket = socket
        self._outbox = Outbox(socket.send_bytes)
        self._running: set[asyncio.Task[None]] = set()
        self._streaming: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        try:
            async for message in self._socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    break
                for frame in pickle.loads(message.data):
                    self._take(*pickle.loads(frame))
        finally:
            for task in self._streaming.values():
                task.cancel()

    def _take(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        if method == STOP:
            streaming = self._streaming.get(number)
            if streaming is not None:
                streaming.cancel()
        elif len(self._running) >= _CALLS_MAX:
            self._tell(number, Kind.ERROR, Overloaded("Too many calls at once."))
        elif method in self._streams:
            task = self._spawn(self._stream(number, self._streams[method](*arguments)))
            self._streaming[number] = task
            task.add_done_callback(lambda _: self._streaming.pop(number, None))
        else:
            self._spawn(self._answer(number, self._calls[method](*arguments)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _answer(self, number: int, answer: Awaitable[Any]) -> None:
        try:
            self._tell(number, Kind.ANSWER, await answer)
        except (Exception, asyncio.CancelledError) as error:
            # Nobody cancels a call here: something that it waited for was cancelled, and the caller
            # must be told, or it would wait for as long as the connection stands.
            self._tell(number, Kind.ERROR, _ours(error))

    async def _stream(self, number: int, items: AsyncIterator[Any]) -> None:
        try:
            async for item in items:
                self._tell(number, Kind.ITEM, item)
                await self._outbox.drained()
            self._tell(number, Kind.END, None)
        except Exception as error:
            self._tell(number, Kind.ERROR, _ours(error))
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()

    def _tell(self, number: int, kind: Kind, value: Any) -> None:
        self._outbox.put(pickle.dumps((number, int(kind), value)))


def _ours(error: BaseException) -> CompletionRuntimeError:
    if isinstance(error, CompletionRuntimeError):
        return error
    _log.error("a call failed", exc_info=error)
    return Overloaded(f"An actor failed: {type(error).__name__}.")
