"""The scripted provider on a real socket, in a thread with a loop of its own.

Routes: the three wire formats, their models list and token count, and `/_log?prompt=`, where a client's
script sees how the exchanges whose prompt has that text have ended.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from actors.simulator.server import SimulatorServer
from tests.clients.upstream import chat, messages, responses
from tests.clients.upstream.log import Exchange
from tests.clients.upstream.model import Refused, decide

__all__ = ["ScriptedUpstream", "running_upstream"]

SLOW_FRAME_S = 0.05
KEYS = ("authorization", "x-api-key")


class ScriptedUpstream:
    """`refused_betas`: what header `anthropic-beta` may not name; tests set it."""

    def __init__(self) -> None:
        self.url = ""
        self.log: list[Exchange] = []
        self.refused_betas: frozenset[str] = frozenset()
        self._kept = responses.Kept()
        self._ids = (f"up{n:08d}" for n in itertools.count(1))

    def asked(self, prompt: str) -> list[Exchange]:
        """The exchanges whose prompt has this text, oldest first."""
        return [one for one in self.log if prompt in one.prompt]

    def ended(self, prompt: str, *, timeout_s: float = 15.0) -> list[Exchange]:
        """Wait until all exchanges of a prompt have ended; there is at least one."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.asked(prompt)
            if found and all(one.closed_by for one in found):
                return found
            assert time.monotonic() < deadline, f"still open, or never asked: {found}"
            time.sleep(0.02)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        wire = _Wire(receive, send)
        if scope["path"] == "/_log":
            prompt = parse_qs(scope["query_string"].decode()).get("prompt", [""])[0]
            await wire.json(200, {"data": [one.row() for one in self.asked(prompt)]})
            return
        shown = {name: value for name, value in headers.items() if name not in KEYS}
        exchange = Exchange(scope["method"], scope["path"], shown)
        self.log.append(exchange)
        try:
            await self._answer(exchange, wire)
        finally:
            exchange.closed_by = "client" if wire.gone.is_set() else "server"
            await wire.end()

    async def _answer(self, exchange: Exchange, wire: _Wire) -> None:
        if exchange.method != "POST":
            models = [{"id": "scripted", "object": "model", "type": "model"}]
            exchange.status = 200 if exchange.path == "/v1/models" else 404
            await wire.json(exchange.status, {"object": "list", "data": models})
            return
        try:
            exchange.body = json.loads(await wire.body())
            frames, whole = self._turn(exchange)
        except Refused as refused:
            exchange.status, exchange.error = 400, str(refused)
            await wire.json(400, _envelope(exchange.path, refused))
            return
        exchange.status = 200
        wire.watch()
        if exchange.body.get("stream"):
            await wire.stream(frames)
        else:
            await wire.wait(len(whole["slow"]) * SLOW_FRAME_S)
            await wire.json(200, whole["answer"])

    def _turn(self, exchange: Exchange) -> tuple[Callable[[], Iterator[tuple[str, float]]], Any]:
        """The frames with the pause before each, and the whole answer."""
        body, ids = exchange.body, self._ids
        match exchange.path:
            case "/v1/chat/completions":
                asked = chat.read(body)
            case "/v1/messages":
                beta = messages.refused_beta(exchange.headers, self.refused_betas)
                if beta:
                    raise Refused(beta)
                if "anthropic-version" not in exchange.headers:
                    raise Refused("anthropic-version: header is required")
                asked = messages.read(body, exchange.headers.get("anthropic-beta", ""))
            case "/v1/messages/count_tokens":
                return lambda: iter(()), {"answer": {"input_tokens": 20}, "slow": ""}
            case "/v1/responses":
                asked = responses.read(body, self._kept)
            case _:
                raise Refused(f"Unknown route: {exchange.path}")
        exchange.prompt = asked.prompt
        turn = decide(asked)
        pause = SLOW_FRAME_S if turn.slowly else 0.0
        slow = turn.text.split() if turn.slowly else ""
        if exchange.path == "/v1/responses":
            response = responses.answer(turn, ids, body)
            self._kept.keep(body, response)
            made = responses.frames(turn, response)
            return lambda: ((one, pause) for one in made), {"answer": response, "slow": slow}
        spoken = chat if exchange.path == "/v1/chat/completions" else messages
        if body.get("stream"):
            made = spoken.frames(turn, ids, body)
            return lambda: ((one, pause) for one in made), {}
        return lambda: iter(()), {"answer": spoken.answer(turn, ids, body), "slow": slow}


def _envelope(path: str, refused: Refused) -> dict[str, Any]:
    error: dict[str, Any] = {"type": "invalid_request_error", "message": str(refused)}
    if refused.details:
        error["details"] = refused.details
    if path.startswith("/v1/messages"):
        return {"type": "error", "error": error, "request_id": "req_scripted"}
    return {"error": {**error, "param": None, "code": None}}


class _Wire:
    """One exchange's two directions; `gone` is set once the other side closed."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.gone = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def body(self) -> bytes:
        whole = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                raise Refused("the client left")
            whole += message.get("body", b"")
            if not message.get("more_body"):
                return whole

    def watch(self) -> None:
        self._watch = asyncio.ensure_future(self._watched())

    async def _watched(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    async def end(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def wait(self, seconds: float) -> None:
        """Raises nothing: whoever is gone is noticed by `gone`."""
        if seconds:
            await asyncio.wait([asyncio.ensure_future(self.gone.wait())], timeout=seconds)

    async def json(self, status: int, value: Any) -> None:
        if self.gone.is_set():
            return
        headers = [(b"content-type", b"application/json"), (b"request-id", b"req_scripted")]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": json.dumps(value).encode()})

    async def stream(self, frames: Callable[[], Iterator[tuple[str, float]]]) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        for text, pause in frames():
            await self.wait(pause)
            if self.gone.is_set():
                return
            body = {"body": text.encode(), "more_body": True}
            await self._send({"type": "http.response.body", **body})
        # The end is the answer's last word: whoever closes after it has not broken it off.
        if self._watch is not None:
            self._watch.cancel()
        await self._send({"type": "http.response.body", "body": b""})


@contextmanager
def running_upstream() -> Iterator[ScriptedUpstream]:
    """A scripted provider that listens; it is gone afterwards."""
    upstream = ScriptedUpstream()
    loop = asyncio.new_event_loop()
    server = SimulatorServer(upstream)
    thread = threading.Thread(target=loop.run_forever, name="scripted upstream", daemon=True)
    thread.start()
    try:
        upstream.url = asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield upstream
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _stop(server: SimulatorServer) -> None:
    await server.stop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 5)
