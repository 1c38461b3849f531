"""Goal: in every dialect, streamed or not, whoever waits for a completion that is lost is told so, once, by
an error that blames the runtime, and the record has the text that was shown.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.core.completion.partial_log import packed
from actors.core.errors import FailureCode
from actors.core.events import TextDelta
from actors.ports.ledger import Checkpoint
from tests.http.rig import Rig, finish, rig, say, until

ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Name a lake."}], "max_tokens": 50},
    ),
    "responses": ("/v1/responses", {"input": "Name a lake.", "max_output_tokens": 50}),
    "messages": (
        "/v1/messages",
        {"messages": [{"role": "user", "content": "Name a lake."}], "max_tokens": 50},
    ),
    "model_response": (
        "/v1/model/response",
        {
            "organization_id": "org",
            "inputs": [{"role": "user", "texts": [{"text": "Name a lake."}]}],
            "maxOutputSynapses": 2,
        },
    ),
}
SAYS = "was lost and is not charged"


async def lose(made: Rig) -> None:
    """Keep what runs, as its carrier and replicas do, and declare it lost."""
    (driver,) = made.runtime.carrier.running
    log = driver.completion.log.read_after(-1)
    name = driver.header.completion_id
    stretch = Checkpoint(name, 0, len(log), packed(log))
    assert await made.ledger.checkpoint(driver.header.actor, [stretch]) == {name: len(log)}
    assert await made.ledger.lose(driver.header.actor) == [name]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", ASKS)
def test_a_loss_is_told_in_the_words_of_the_dialect(
    tmp_path: Path, dialect: str, stream: bool
) -> None:
    async def whole() -> None:
        async with rig(tmp_path) as made:
            path, members = ASKS[dialect]
            body = {"model": "sim", "stream": stream, **members}
            call = made.call("POST", path, body).start()
            upstream = await made.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake", 1), TextDelta(0, " Superior", 2))
            (driver,) = made.runtime.carrier.running
            await until(lambda: len(driver.completion.log) == 3, "it was said")
            if stream:
                await until(lambda: b"Superior" in call.body, "it was shown")
            await lose(made)
            finish(upstream, 3)  # Its owner lives on here, and is told what stands.
            await call.done()
            assert call.status == (200 if stream else 500), call.body
            assert SAYS in call.body.decode()
            assert b"provider_unavailable" not in call.body
            assert b"[DONE]" not in call.body
            record = await made.ledger.record(driver.header.completion_id)
            assert record.events[:3] == tuple(driver.completion.log.read_after(-1)[:3])
            end = record.finished
            assert end is not None
            assert end.error is not None
            assert end.error.code is FailureCode.COMPLETION_LOST
            assert end.charge.total_microcredits == 0
            assert end.charge.absorbed_microcredits > 0
            assert await made.held() == 0

    asyncio.run(whole())
