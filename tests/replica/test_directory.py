"""Goal: a replica has one link, so one connection, to each completion actor, however many look for it.

Method: the ways to actors that are found without Ray, a turn of the loop later.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from actors.cluster import directory
from actors.cluster.directory import RayCarriers


@pytest.fixture
def carriers(monkeypatch: pytest.MonkeyPatch) -> RayCarriers:
    async def find(name: str) -> Any:
        await asyncio.sleep(0)
        return SimpleNamespace()

    monkeypatch.setattr(directory, "find_actor", find)
    return RayCarriers()


def test_all_who_look_for_an_actor_at_once_share_its_link(carriers: RayCarriers) -> None:
    async def run() -> None:
        first, *others = await asyncio.gather(*(carriers.link("completion-1") for _ in range(5)))
        assert all(other is first for other in others)
        assert await carriers.link("completion-1") is first
        assert await carriers.link("completion-2") is not first
        carriers.forget("completion-1")
        assert await carriers.link("completion-1") is not first

    asyncio.run(run())
