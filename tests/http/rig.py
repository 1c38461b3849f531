"""The whole application in one process without Ray: real ledger on SQLite, real drivers, real sockets.

`Rig` has the parts. Its providers are either real clients of a simulator that listens, or a
`ScriptedProvider` that the test plays by hand. `call` drives the application as bare ASGI, `serve`
puts it on a socket.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message

from actors.core.events import BlockFinished, Event, FinishReason, Usage, UsageReported
from actors.core.upstream import UpstreamBatch
from actors.ledger.service import LedgerService
from actors.ledger.store import Store
from actors.ports.ledger import LIMITS_UNCHANGED, LimitsChange
from actors.ports.provider import Provider
from actors.settings import Settings
from actors.simulator.app import Simulator
from actors.simulator.server import SimulatorServer
from actors.testing import InMemoryRuntime, ScriptedProvider, ScriptedUpstream
from actors.upstream.catalogue import Catalogue
from actors.upstream.client import ProviderClient
from actors.upstream.config import Config
from actors.upstream.native_responses import NativeResponses
from actors.upstream.tokenizer import count_text
from serve_app.http.app import create_app
from serve_app.http.leaving import LifeOfWorkers

ADMIN_KEY = "admin-key-of-the-tests"
CREDITS = 1_000_000_000

DEADLINE_S = 60.0


async def until(holds: Callable[[], Any], what: str) -> Any:
    """Let the loop run until the condition gives something true; return that."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        value = holds()
        if value:
            return value
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


@dataclass
class Asgi:
    """One call of the application by hand: what it sends is kept, what it receives is given.

    `hang_up` lets `receive()` say `http.disconnect`.
    """

    app: ASGIApp
    scope: dict[str, Any]
    sent: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._writable = asyncio.Event()
        self._writable.set()
        self.task: asyncio.Task[None] | None = None

    def feed(self, body: bytes = b"", *, more_body: bool = False) -> Asgi:
        self._incoming.put_nowait({"type": "http.request", "body": body, "more_body": more_body})
        return self

    def hang_up(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    def block(self) -> None:
        """From now on the client reads nothing: `send()` waits."""
        self._writable.clear()

    def unblock(self) -> None:
        self._writable.set()

    def start(self) -> Asgi:
        self.task = asyncio.ensure_future(self._run())
        return self

    async def done(self) -> Asgi:
        assert self.task is not None
        await asyncio.wait_for(asyncio.shield(self.task), DEADLINE_S)
        return self

    @property
    def status(self) -> int | None:
        return next((m["status"] for m in self.sent if m["type"] == "http.response.start"), None)

    @property
    def headers(self) -> dict[str, str]:
        started = next(m for m in self.sent if m["type"] == "http.response.start")
        return {name.decode(): value.decode() for name, value in started["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(m["body"] for m in self.sent if m["type"] == "http.response.body")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_whole(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False

    async def _run(self) -> None:
        await self.app(self.scope, self._incoming.get, self._send)

    async def _send(self, message: Message) -> None:
        await self._writable.wait()
        self.sent.append(message)


@dataclass
class Rig:
    app: ASGIApp
    runtime: InMemoryRuntime
    ledger: LedgerService
    settings: Settings
    catalogue: Catalogue
    key: str
    provider: ScriptedProvider
    simulator_url: str | None
    drains: bool = False

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> Asgi:
        """Prepare a call; the body is given whole. `key=None` sends none."""
        path, _, query = path.partition("?")
        sent = {} if key is None else {"authorization": f"Bearer {key or self.key}"}
        sent |= headers or {}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [
                (n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in sent.items()
            ],
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
        }
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        return Asgi(self.app, scope).feed(raw)

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Asgi:
        """Make a call and wait for its end."""
        return await self.call(method, path, body, **options).start().done()

    def create(self, *, headers: dict[str, str] | None = None, **members: Any) -> Asgi:
        """Begin a create call."""
        return self.call(
            "POST", "/v1/chat/completions", chat_body(**members), headers=headers
        ).start()

    async def upstream(self, index: int = -1, *, count: int = 1) -> ScriptedUpstream:
        """Return the provider's side of a completion, once it was asked."""
        await until(lambda: len(self.provider.upstreams) >= count, "the provider is asked")
        return self.provider.upstreams[index]

    async def settled(self) -> None:
        await until(lambda: not self.runtime.carrier.running, "every completion is settled")

    async def held(self) -> int:
        return (await self.ledger.balance("acme")).held_microcredits

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Put the application on a socket of its own; yields its address."""
        server = SimulatorServer(self.app)
        try:
            yield await server.start()
        finally:
            await server.stop()


def say(upstream: ScriptedUpstream, *events: Event) -> None:
    upstream.send(UpstreamBatch(events))


def finish(
    upstream: ScriptedUpstream, tokens: int, reason: FinishReason = FinishReason.STOP
) -> None:
    events: tuple[Any, ...] = (UsageReported(Usage(8, tokens)),)
    if tokens:
        events = (BlockFinished(0, True), *events)
    upstream.send(UpstreamBatch(events, finish_reason=reason, is_end=True))


def frames(call: Asgi) -> list[dict[str, Any]]:
    """Return the chunks of a stream, `[DONE]` left out."""
    data = re.findall(rb"^data: (.*)$", call.body, re.M)
    return [json.loads(one) for one in data if one != b"[DONE]"]


def text(call: Asgi) -> str:
    chunks = [c for frame in frames(call) for c in frame.get("choices", [])]
    return "".join(chunk["delta"].get("content") or "" for chunk in chunks)


def chat_body(**members: Any) -> dict[str, Any]:
    return {
        "model": "sim-instant",
        "messages": [{"role": "user", "content": "Name a lake."}],
        "max_tokens": 8,
        **members,
    }


@asynccontextmanager
async def rig(
    folder: Path,
    *,
    limits: LimitsChange | None = None,
    credits: int = CREDITS,
    simulator: bool | str = False,
    workers: LifeOfWorkers | None = None,
    **changes: Any,
) -> AsyncIterator[Rig]:
    """Start everything; it is gone afterwards.

    Args:
        simulator: real provider clients on a listening simulator, instead of the script; or on what
            listens at this address.
        workers: of the proxy that is in front.
        changes: of `Settings`.
    """
    digest = hashlib.sha256(ADMIN_KEY.encode()).hexdigest()
    # A grace beyond every deadline here: whoever is cancelled sooner was seen to leave.
    # And a failure before the headers is one here, however long this machine takes to say so.
    changes = {"reader_grace_s": 60.0, "headers_after_s": 60.0, **changes}
    settings = Settings(data_dir=str(folder), admin_key_digest=digest).with_changes(**changes)
    ledger = LedgerService(Store(settings.database_url), settings=settings, clock=time.time)
    await ledger.create_team(
        "acme", "org", credits_microcredits=credits, limits=limits or LIMITS_UNCHANGED
    )
    key = (await ledger.create_key("acme", "")).secret
    script = ScriptedProvider()
    server = SimulatorServer(Simulator())
    url = await server.start() if simulator is True else simulator or None
    catalogue = Catalogue(Config(), simulator_url=url or "http://127.0.0.1:9")
    clients: dict[str, ProviderClient] = {}

    def provider(name: str) -> Provider:
        if not simulator:
            return script
        if name not in clients:
            config = catalogue.provider(name)
            clients[name] = ProviderClient(
                name, config, api_key=None, settings=settings, count=count_text
            )
        return clients[name]

    native = NativeResponses(catalogue.provider, settings=settings, keys={})
    runtime = InMemoryRuntime(ledger, provider, settings=settings, simulator_url=url, native=native)
    made: list[Rig] = []
    app = create_app(
        runtime, catalogue, settings, is_draining=lambda: made[0].drains, workers=workers
    )
    made.append(Rig(app, runtime, ledger, settings, catalogue, key, script, url))
    try:
        yield made[0]
    finally:
        await runtime.aclose()
        for client in clients.values():
            await client.aclose()
        await server.stop()
        await ledger.close()
