"""What the tests of the Responses routes share: bodies, calls, and reading of events."""

from __future__ import annotations

import json
import re
from typing import Any

from actors.core.events import TextDelta
from actors.testing import ScriptedUpstream
from tests.http.rig import Asgi, Rig, finish, say, until

__all__ = ["PATH", "answered", "body", "create", "events", "numbered", "said", "talking"]

PATH = "/v1/responses"


def body(**members: Any) -> dict[str, Any]:
    asked = {"model": "sim-instant", "input": "Name a lake.", "max_output_tokens": 8}
    return asked | members


def create(run: Rig, *, headers: dict[str, str] | None = None, **members: Any) -> Asgi:
    """Begin a create call."""
    return run.call("POST", PATH, body(**members), headers=headers).start()


def events(call: Asgi) -> list[dict[str, Any]]:
    """Return the events of a stream, `[DONE]` left out."""
    data = re.findall(rb"^data: (.*)$", call.body, re.M)
    return [json.loads(one) for one in data if one != b"[DONE]"]


def numbered(call: Asgi) -> dict[int, bytes]:
    frames = re.findall(rb"id: (\d+)\n((?:event: .*\n)?data: .*)\n\n", call.body)
    return {int(number): frame for number, frame in frames}


def said(call: Asgi) -> str:
    return "".join(
        event["delta"] for event in events(call) if event["type"] == "response.output_text.delta"
    )


async def talking(run: Rig, **members: Any) -> tuple[Asgi, ScriptedUpstream, str]:
    """Begin a streamed response that has said one token; return it, its upstream and its path."""
    count = len(run.provider.upstreams) + 1
    call = create(run, stream=True, **members)
    upstream = await run.upstream(count=count)
    upstream.open()
    say(upstream, TextDelta(0, "Lake", 1))
    await until(lambda: said(call) == "Lake", "the first token")
    return call, upstream, f"{PATH}/{upstream.command.wire_id}"


async def answered(run: Rig, text: str = "Lake", **members: Any) -> dict[str, Any]:
    """Create a response that says the text, and return it when it has ended."""
    count = len(run.provider.upstreams) + 1
    call = create(run, **members)
    upstream = await run.upstream(count=count)
    upstream.open()
    say(upstream, TextDelta(0, text, 1))
    finish(upstream, 1)
    await call.done()
    assert call.status == 200, call.body
    response: dict[str, Any] = call.json
    return response
