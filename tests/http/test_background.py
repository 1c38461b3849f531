"""Background completions and deletion, as any dialect that has them gets them from the shared endpoints.

Goal: a background create is answered when its hold is durable, and nobody's leaving ends it; a delete
cancels what runs and leaves nothing to find. Method: the chat dialect with what the two ask for
beside, on routes of its own; the provider is a script.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route

from actors.core.events import CancelSource, Status, TextDelta
from actors.core.record import CompletionHeader
from actors.ports.ledger import CompletionKey, Principal
from serve_app.dialects.base import CreateCall, Dialect, HttpCall, Operation, Reply, render
from serve_app.dialects.chat.dialect import ChatDialect
from serve_app.endpoints.create import DialectEndpoints
from serve_app.http.authentication import Authenticator
from serve_app.http.exchange import Exchange
from serve_app.http.leaving import Leaving
from serve_app.http.route import RouteHandler, Shell, new_ulid
from tests.http.rig import Asgi, Rig, chat_body, finish, rig, say, text, until

_ROUTE = "/completions"


class _Dialect(ChatDialect):
    """Chat with a member `background` in the query, and with the two answers that it lacks."""

    def parse_create(self, call: HttpCall) -> CreateCall:
        parsed = super().parse_create(call)
        is_background = call.query.get("background") == "true"
        return replace(parsed, request=replace(parsed.request, background=is_background))

    def accepted(self, header: CompletionHeader) -> Reply:
        return Reply(200, render({"id": header.wire_id, "status": "queued"}))

    def deleted(self, wire_id: str) -> Reply:
        return Reply(200, render({"id": wire_id, "deleted": True}))


class _Endpoints(DialectEndpoints):
    """Endpoints that look something up before they understand a call."""

    async def _understand(
        self, exchange: Exchange, principal: Principal, body: bytes
    ) -> CreateCall:
        parsed = await super()._understand(exchange, principal, body)
        earlier = exchange.call().query.get("previous")
        if earlier is None:
            return parsed
        record = await self._shell.runtime.get(self._key_of(earlier, principal))
        echo = {"previous": record.header.wire_id}
        return replace(parsed, request=replace(parsed.request, echo=echo))


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Rig]:
    async with rig(folder) as made:
        shell = Shell(
            runtime=made.runtime,
            catalogue=made.catalogue,
            settings=made.settings,
            authenticator=Authenticator(made.runtime.ledger, admin_key_digest=""),
            ids=new_ulid,
            now_s=time.time,
            leaving=Leaving(lambda: made.drains),
        )
        dialect = _Dialect()
        endpoints = _Endpoints(shell, dialect)
        create = RouteHandler(shell, dialect, {"POST": endpoints.create}, Operation.CREATE)
        one = {"GET": endpoints.read, "DELETE": endpoints.delete}
        routes = [
            Route(_ROUTE, create),
            Route(f"{_ROUTE}/{{id}}", RouteHandler(shell, dialect, one)),
        ]
        yield replace(made, app=Starlette(routes=routes))


def tell(folder: Path, story: Callable[[Rig], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with bench(folder) as made:
            await story(made)

    asyncio.run(whole())


def create(made: Rig, query: str = "background=true", **members: Any) -> Asgi:
    return made.call("POST", f"{_ROUTE}?{query}", chat_body(**members)).start()


def key_of(wire_id: str) -> CompletionKey:
    return CompletionKey("acme", Dialect.CHAT, wire_id)


def test_a_background_create_is_answered_while_it_runs(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        created = await create(made).done()
        assert created.status == 200
        assert created.json["status"] == "queued"
        name = created.json["id"]
        assert created.headers["midstream-completion-id"] == name
        assert await made.held() > 0
        upstream = await made.upstream()
        [driver] = made.runtime.carrier.running
        await until(lambda: len(driver.readers) == 0, "its reader was detached")
        upstream.open()
        say(upstream, TextDelta(0, "Ta", 1), TextDelta(0, "hoe", 1))
        finish(upstream, 2)
        await made.settled()
        read = await made.ask("GET", f"{_ROUTE}/{name}")
        assert read.json["choices"][0]["message"]["content"] == "Tahoe"
        assert await made.held() == 0

    tell(tmp_path, story)


def test_a_refused_background_create_is_an_error(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        created = await create(made, max_tokens=0).done()
        assert created.status == 400
        assert made.provider.upstreams == []

    tell(tmp_path, story)


def test_a_background_stream_goes_on_without_its_client(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        streaming = create(made, stream=True)
        upstream = await made.upstream()
        upstream.open()
        say(upstream, TextDelta(0, "Ta", 1))
        await until(lambda: b"Ta" in streaming.body, "the first frame is out")
        streaming.hang_up()
        await streaming.done()
        [driver] = made.runtime.carrier.running
        await until(lambda: len(driver.readers) == 0, "the reader has left")
        assert not upstream.is_closed
        say(upstream, TextDelta(0, "hoe", 1))
        finish(upstream, 2)
        await made.settled()
        record = await made.runtime.get(key_of(streaming.headers["midstream-completion-id"]))
        assert record.status is Status.COMPLETED
        frames = await made.ask("GET", f"{_ROUTE}/{record.header.wire_id}?stream=true")
        assert text(frames) == "Tahoe"

    tell(tmp_path, story)


def test_a_client_that_leaves_during_its_start_leaves_a_background_completion(
    tmp_path: Path,
) -> None:
    async def story(made: Rig) -> None:
        reached, goes_on = asyncio.Event(), asyncio.Event()
        place = made.ledger.place

        async def slow(placement: Any) -> Any:
            reached.set()
            await goes_on.wait()
            return await place(placement)

        made.ledger.place = slow  # type: ignore[method-assign]
        creating = create(made)
        await reached.wait()
        creating.hang_up()
        await creating.done()
        goes_on.set()
        upstream = await made.upstream()
        upstream.open()
        say(upstream, TextDelta(0, "Tahoe", 1))
        finish(upstream, 1)
        await made.settled()
        record = await made.runtime.get_by_id(upstream.command.completion_id)
        assert record.status is Status.COMPLETED

    tell(tmp_path, story)


def test_a_dialect_may_look_up_what_a_call_refers_to(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        first = (await create(made).done()).json["id"]
        second = await create(made, f"background=true&previous={first}").done()
        record = await made.runtime.get(key_of(second.json["id"]))
        assert record.header.echo == {"previous": first}
        unknown = await create(made, "previous=nothing").done()
        assert unknown.status == 404
        assert len(made.runtime.carrier.running) == 2

    tell(tmp_path, story)


def test_a_delete_cancels_what_runs_and_leaves_nothing(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        name = (await create(made).done()).json["id"]
        upstream = await made.upstream()
        upstream.open()
        say(upstream, TextDelta(0, "Tahoe", 1))
        deleted = await made.ask("DELETE", f"{_ROUTE}/{name}")
        assert (deleted.status, deleted.json) == (200, {"id": name, "deleted": True})
        assert upstream.is_closed
        assert await made.held() == 0
        record = await made.runtime.get_by_id(upstream.command.completion_id)
        assert record.finished is not None
        assert record.finished.source is CancelSource.CLIENT_REQUEST
        bodies = []
        for method, path in (("GET", name), ("GET", f"{name}?stream=true"), ("DELETE", name)):
            gone = await made.ask(method, f"{_ROUTE}/{path}")
            assert gone.status == 404
            bodies.append(_without_id(gone))
        assert _without_id(await made.ask("DELETE", f"{_ROUTE}/never-was")) == bodies[-1]

    tell(tmp_path, story)


def _without_id(call: Asgi) -> str:
    return json.dumps(call.json).replace(call.headers["aurous-request-id"], "")
