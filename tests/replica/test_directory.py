"""Goal: a replica has one link, so one connection, to each completion actor, however many look for it.

Method: the directory over actors that are found without Ray, a turn of the loop later.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from actors.cluster import directory as ray_runtime
from actors.cluster.directory import RayDirectory


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> RayDirectory:
    async def find(name: str) -> Any:
        await asyncio.sleep(0)
        return SimpleNamespace()

    context = SimpleNamespace(get_node_id=lambda: "n1")
    monkeypatch.setattr(ray_runtime.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray_runtime, "find_actor", find)
    nothing: Any = None
    return RayDirectory(nothing, nothing, deployed=SimpleNamespace(settings=None), replica="r")  # type: ignore[arg-type]


def test_all_who_look_for_an_actor_at_once_share_its_link(directory: RayDirectory) -> None:
    async def run() -> None:
        first, *others = await asyncio.gather(*(directory.link("completion-1") for _ in range(5)))
        assert all(other is first for other in others)
        assert await directory.link("completion-1") is first
        assert await directory.link("completion-2") is not first

    asyncio.run(run())
