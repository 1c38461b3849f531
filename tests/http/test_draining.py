"""Goal: while Midstream shuts down nothing new is started, and what runs is read, found and cancelled.

Method: the application over a runtime that drains; what orders the drain is `tests/registry`'s.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from actors.core.events import TextDelta
from tests.http.rig import Rig, chat_body, finish, frames, rig, say, text, until

_ASKED: Any = [{"role": "user", "content": "Name a lake."}]

STARTS: dict[str, Any] = {
    "/v1/chat/completions": chat_body(),
    "/v1/responses": {"model": "sim-instant", "input": "Name a lake."},
    "/v1/messages": {"model": "sim-instant", "max_tokens": 8, "messages": _ASKED},
    "/v1/model/response": {
        "model": "sim-instant",
        "organization_id": "org",
        "inputs": [{"role": "user", "texts": [{"text": "Name a lake."}]}],
    },
}


async def started(run: Rig) -> Any:
    call = run.create(stream=True)
    upstream = await run.upstream()
    upstream.open()
    say(upstream, TextDelta(0, "Lake", 1))
    await until(lambda: b"Lake" in call.body, "the first token is here")
    return call, upstream


def test_a_start_is_refused_in_each_dialects_words(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            _, upstream = await started(run)
            assert await run.runtime.registry.drain(cancels=False) == 1
            said = {}
            for path, ask in STARTS.items():
                for stream in (False, True):
                    answer = await run.ask("POST", path, {**ask, "stream": stream})
                    assert answer.status == (529 if "messages" in path else 503), answer.body
                    assert answer.headers["retry-after"] == "5"
                    assert "x-should-retry" not in answer.headers
                said[path] = answer.json
            assert said["/v1/chat/completions"]["error"]["code"] == "overloaded"
            assert said["/v1/responses"]["error"]["code"] == "overloaded"
            assert said["/v1/messages"]["error"]["type"] == "overloaded_error"
            assert len(run.provider.upstreams) == 1
            assert await run.held() > 0  # of the one that runs
            finish(upstream, 1)

    asyncio.run(body())


def test_what_runs_is_read_found_and_cancelled(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            first, upstream = await started(run)
            run.create(stream=True)
            other = await run.upstream(count=2)
            other.open()
            await run.runtime.registry.drain(cancels=False)
            assert (await run.ask("GET", "/readyz", key=None)).json == {"status": "draining"}
            assert (await run.ask("GET", "/healthz", key=None)).status == 200
            name = other.command.wire_id
            path = f"/v1/chat/completions/{name}"
            assert (await run.ask("GET", path)).json["status"] == "in_progress"
            answer = await run.ask("POST", f"{path}/cancel")
            assert answer.status == 200, answer.body
            resumed = run.call(
                "GET", f"/v1/chat/completions/{upstream.command.wire_id}?stream=true"
            ).start()
            say(upstream, TextDelta(0, " Geneva", 1))
            finish(upstream, 2)
            for reader in (first, resumed):
                await reader.done()
                assert text(reader) == "Lake Geneva"
                assert frames(reader)[-1]["choices"][0]["finish_reason"] == "stop"
            assert await run.runtime.registry.drain(cancels=False) == 0

    asyncio.run(body())


def test_what_does_not_end_by_itself_is_cancelled_as_a_shutdown(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream = await started(run)
            await run.runtime.registry.drain(cancels=True)
            await call.done()
            assert upstream.is_closed
            last = frames(call)[-1]
            assert last["midstream"]["source"] == "shutdown"
            assert last["usage"]["completion_tokens"] == 1
            assert call.body.endswith(b"data: [DONE]\n\n")

    asyncio.run(body())
