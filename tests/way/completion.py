"""One streamed chat completion through the product without Ray, recorded there and back.

The application, the runtime, the ledger on SQLite and the provider client are the product's; the provider is
a socket that speaks when it is told to. One completion goes before, since what is made once (connections,
caches, threads) is not on each one's way.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.http.rig import Asgi, Rig, rig, until
from tests.way.provider import SpokenProvider, listening
from tests.way.steps import Recorder, Stretch

__all__ = ["BACK", "THERE", "walk"]

THERE = "there: from the request to the provider"
BACK = "back: one delta, from the provider to the client"

_WALKS = 3
"""The shortest is told: what comes by the clock, such as the renewal of slots, falls into one or another."""

_SETTLED_S = 0.05
"""How long what a stretch set off may still run before the next one begins."""


def walk() -> tuple[Stretch, Stretch]:
    """Return the way there and the way back."""
    recorder = Recorder()
    with recorder.installed(), tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_walk(Path(folder), recorder))


async def _walk(folder: Path, recorder: Recorder) -> tuple[Stretch, Stretch]:
    async with listening() as provider, rig(folder, simulator=provider.url) as run:
        await _complete(run, provider)
        walks = [await _walk_once(run, provider, recorder) for _ in range(_WALKS)]
        theres, backs = zip(*walks, strict=True)
        return min(theres, key=_length), min(backs, key=_length)


async def _walk_once(
    run: Rig, provider: SpokenProvider, recorder: Recorder
) -> tuple[Stretch, Stretch]:
    recorder.begin()
    call = _create(run)
    await provider.asked()
    there = recorder.end(THERE)
    await _open(call, provider)
    recorder.begin()
    provider.say({"content": " Lucerne"})
    await until(lambda: b"Lucerne" in call.body, "the delta is told")
    back = recorder.end(BACK)
    await _finish(call, provider)
    return there, back


def _length(stretch: Stretch) -> int:
    return len(stretch.steps)


async def _complete(run: Rig, provider: SpokenProvider) -> None:
    call = _create(run)
    await provider.asked()
    await _open(call, provider)
    await _finish(call, provider)


def _create(run: Rig) -> Asgi:
    return run.create(model="sim", max_tokens=8, stream=True)


async def _open(call: Asgi, provider: SpokenProvider) -> None:
    """Let the answer begin with a word, so that what comes next is a delta like any other."""
    provider.begin()
    provider.say({"role": "assistant", "content": ""})
    provider.say({"content": "Lake"})
    await until(lambda: b"Lake" in call.body, "the first delta is told")
    await asyncio.sleep(_SETTLED_S)


async def _finish(call: Asgi, provider: SpokenProvider) -> None:
    provider.say({}, "stop")
    provider.end()
    await call.done()
    assert call.status == 200, call.body
    assert call.body.endswith(b"data: [DONE]\n\n"), call.body
    await asyncio.sleep(_SETTLED_S)
