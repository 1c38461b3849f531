"""Goal: of a team whose content is not stored, neither what was asked nor what was answered is on any disk.

Method: completions whose prompt, answer, stop sequence and echo hold words that stand nowhere else;
then every byte of every file in the data directory is searched for them, while the store is open and
after it was closed, and every record is decompressed and searched too. The same completions of a team
whose content is stored are found, so the search can find.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import Failure, FailureCode
from actors.core.events import BlockFinished, FinishReason, Status, TextDelta
from actors.core.ids import COMPLETION_PREFIX
from actors.core.record import CompletionRecord
from actors.core.request import (
    CompletionRequest,
    Dialect,
    IdempotencyKey,
    Message,
    Retention,
    Role,
    Sampling,
    TextPart,
)
from actors.core.upstream import UpstreamBatch
from actors.ports.ledger import CompletionKey, PolicyChange
from actors.ports.runtime import ReaderLeft, Subscription
from actors.testing import ScriptedUpstream
from serve_app.http.route import new_ulid
from tests.http.rig import Rig, finish, rig, say, until
from tests.support.principals import principal_of

PROMPT, ANSWER, STOP, ECHO = "walrus-asked", "heron-answered", "otter-stops", "finch-echoed"
WORDS = (PROMPT, ANSWER, STOP, ECHO)

End = Callable[[Rig, ScriptedUpstream, CompletionKey], Awaitable[None]]


async def completes(made: Rig, upstream: ScriptedUpstream, key: CompletionKey) -> None:
    events = (BlockFinished(0, True),)
    upstream.send(UpstreamBatch(events, None, FinishReason.STOP, is_end=True, stop_sequence=STOP))


async def is_cancelled(made: Rig, upstream: ScriptedUpstream, key: CompletionKey) -> None:
    cancelled = await made.ask("POST", f"/v1/chat/completions/{key.wire_id}/cancel")
    assert cancelled.status == 200


async def fails(made: Rig, upstream: ScriptedUpstream, key: CompletionKey) -> None:
    upstream.send(UpstreamBatch(failure=Failure(FailureCode.UPSTREAM_TIMEOUT, "Silent.")))


async def is_lost(made: Rig, upstream: ScriptedUpstream, key: CompletionKey) -> None:
    assert await made.ledger.lose("in-memory") == [key.wire_id]
    await completes(made, upstream, key)


ENDS = {
    completes: Status.COMPLETED,
    is_cancelled: Status.CANCELLED,
    fails: Status.FAILED,
    is_lost: Status.FAILED,
}


async def begin(made: Rig) -> tuple[CompletionKey, Subscription]:
    """Start a completion that holds every word but the answer."""
    request = CompletionRequest(
        model="sim",
        messages=(Message(Role.USER, (TextPart(f"Say {PROMPT}."),)),),
        max_output_tokens=8,
        sampling=Sampling(stop=(STOP,)),
        echo={"input": ECHO},
        stream=True,
    )
    completion_id = COMPLETION_PREFIX + new_ulid()
    command = made.catalogue.resolve(
        request,
        completion_id=completion_id,
        wire_id=completion_id,
        principal=await principal_of(made.ledger, made.key),
        dialect=Dialect.CHAT,
        created_at_s=time.time(),
        settings=made.settings,
        idempotency=IdempotencyKey("a-key", "a-fingerprint"),
    )
    started = await made.runtime.start(command)
    return CompletionKey("acme", Dialect.CHAT, completion_id), started.subscription


async def run_to(end: End, made: Rig) -> CompletionRecord:
    """Run a completion to its end, and return its record."""
    key, reader = await begin(made)
    upstream = await made.upstream()
    upstream.open()
    say(upstream, TextDelta(0, f"I say {ANSWER}.", 4))
    [driver] = made.runtime.carrier.running
    await until(lambda: driver.completion.meter.tokens_output, "the answer is logged")
    await end(made, upstream, key)
    await made.settled()
    await reader.aclose(ReaderLeft.FINISHED)
    return await made.runtime.get(key)


def found_in(folder: Path, *also: str) -> set[str]:
    """Return the words that stand in any file, as they are or in a compressed record.

    Args:
        also: files that must be among them.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"midstream.db", *also}
    held = [path.read_bytes() for path in files]
    connection = sqlite3.connect(f"file:{folder / 'midstream.db'}?mode=ro", uri=True)
    try:
        bodies = [row[0] for row in connection.execute("SELECT body FROM records")]
    finally:
        connection.close()
    assert bodies
    held += [zlib.decompress(body) for body in bodies]
    return {word for word in WORDS if any(word.encode() in one for one in held)}


async def store_nothing(made: Rig) -> None:
    await made.ledger.create_team(
        "acme",
        "org",
        credits_microcredits=0,
        policy=PolicyChange(stores_content=False),
    )


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_nothing_of_it_is_on_any_disk(end: End, tmp_path: Path) -> None:
    async def whole() -> None:
        async with rig(tmp_path) as made:
            await store_nothing(made)
            record = await run_to(end, made)
            assert record.status is ENDS[end]
            assert record.header.retention is Retention.RECEIPT
            assert found_in(tmp_path, "midstream.db-wal", "midstream.db-shm") == set()
            assert (await made.ledger.audit())["ok"]
        assert found_in(tmp_path) == set()

    asyncio.run(whole())


def test_what_a_team_stores_is_found(tmp_path: Path) -> None:
    async def whole() -> None:
        async with rig(tmp_path) as made:
            await run_to(completes, made)
            assert found_in(tmp_path) == {ANSWER, STOP, ECHO}

    asyncio.run(whole())


def create(made: Rig) -> Any:
    return made.create(headers={"idempotency-key": "k"}, messages=_MESSAGES)


_MESSAGES = [{"role": "user", "content": f"Say {PROMPT}."}]


def test_who_waited_has_the_answer_and_who_asks_again_the_receipt(tmp_path: Path) -> None:
    async def whole() -> None:
        async with rig(tmp_path) as made:
            await store_nothing(made)
            creating = create(made)
            upstream = await made.upstream()
            upstream.open()
            say(upstream, TextDelta(0, ANSWER, 3))
            finish(upstream, 3)
            answered = (await creating.done()).json
            assert answered["choices"][0]["message"]["content"] == ANSWER
            again = await create(made).done()
            assert again.headers["aurous-idempotent-replayed"] == "true"
            read = await made.ask("GET", f"/v1/chat/completions/{answered['id']}")
            for kept in (again.json, read.json):
                assert kept["usage"] == answered["usage"]
                assert kept["midstream"] == answered["midstream"]
                assert not kept["choices"][0]["message"]["content"]
            assert len(made.provider.upstreams) == 1
            assert found_in(tmp_path) == set()

    asyncio.run(whole())


def test_a_cancelled_one_shows_its_receipt(tmp_path: Path) -> None:
    async def whole() -> None:
        async with rig(tmp_path) as made:
            await store_nothing(made)
            record = await run_to(is_cancelled, made)
            read = (await made.ask("GET", f"/v1/chat/completions/{record.header.wire_id}")).json
            assert read["status"] == "cancelled"
            assert read["midstream"]["receipt"]["source"] == "client_request"
            assert read["usage"]["completion_tokens"] == 4
            assert read["midstream"]["hold"]["charged_credits"] > 0

    asyncio.run(whole())
