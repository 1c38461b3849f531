"""Goal: strict is one process per stream; dense carries hundreds without losing a token."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.chat_streams import body
from tests.instance import DEMO_KEY, Instance, running

pytestmark = pytest.mark.ray

HEADERS = {"Authorization": f"Bearer {DEMO_KEY}"}


class _Reader:
    """A stream on a connection of its own; keeps every token."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.completion_id = ""
        self.finish_reason: str | None = None
        self.first = asyncio.Event()

    async def read(self, url: str, request: dict[str, Any]) -> None:
        connector = aiohttp.TCPConnector(limit=1, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(f"{url}/v1/chat/completions", json=request, headers=HEADERS) as answer,
        ):
            assert answer.status == 200, await answer.text()
            self.completion_id = answer.headers["midstream-completion-id"]
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    self._take(json.loads(line[6:]))

    def _take(self, frame: dict[str, Any]) -> None:
        assert "error" not in frame, frame
        choice = frame["choices"][0]
        if choice["delta"].get("content"):
            self.tokens.append(choice["delta"]["content"])
            self.first.set()
        self.finish_reason = choice["finish_reason"] or self.finish_reason


async def _all_live(
    instance: Instance, count: int, max_tokens: int
) -> tuple[list[_Reader], list[dict[str, Any]]]:
    """Open that many streams at once; look at the running ones; read all to their ends."""
    readers = [_Reader() for _ in range(count)]
    request = body("sim-slow", max_tokens=max_tokens, stream=True)
    reading = [asyncio.create_task(r.read(instance.url, request)) for r in readers]
    firsts = asyncio.gather(*(r.first.wait() for r in readers))
    done, _ = await asyncio.wait({firsts, *reading}, return_when=asyncio.FIRST_COMPLETED)
    assert firsts in done, [task.exception() for task in done]
    path = f"/admin/v1/completions?limit={min(1000, count + 100)}"
    rows = await asyncio.to_thread(instance.admin, "GET", path)
    await asyncio.wait_for(asyncio.gather(*reading), 240)
    return readers, rows["data"]


def test_forty_streams_are_carried_by_forty_processes(midstream: Instance) -> None:
    readers, rows = asyncio.run(_all_live(midstream, 40, 60))
    mine = {r.completion_id for r in readers}
    live = [row for row in rows if row["id"] in mine]
    assert len(live) == 40
    assert len({row["pid"] for row in live}) == 40
    peers = {midstream.simulated(name)["peer_port"] for name in mine}
    assert len(peers) == 40, "each has an upstream connection of its own"
    assert all(len(r.tokens) == 60 for r in readers)


def test_five_hundred_dense_streams_lose_nothing(tmp_path: Path) -> None:
    settings = {"streams_per_actor": 64, "replicas_per_node": 2}
    with running(tmp_path, settings=settings) as instance:
        readers, rows = asyncio.run(_all_live(instance, 500, 40))
        mine = {r.completion_id for r in readers}
        live = [row for row in rows if row["id"] in mine]
        assert len(live) == 500
        assert 8 <= len({row["pid"] for row in live}) <= 16
        assert {r.finish_reason for r in readers} == {"length"}
        assert all(len(r.tokens) == 40 for r in readers)
        for reader in readers[:50]:
            record = instance.admin("GET", f"/admin/v1/completions/{reader.completion_id}")
            assert "completed" in str(record)
        assert instance.admin("GET", "/admin/v1/ledger/audit")["ok"]
