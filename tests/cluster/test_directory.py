"""Goal: a replica has one link, so one connection, to each completion actor, and not without bound.

Method: the ways to actors, none of which is asked anything.
"""

from __future__ import annotations

import asyncio

import pytest

from actors.cluster import directory
from actors.cluster.directory import RayCarriers
from actors.rpc.tcp import TcpTransport


def test_all_who_look_for_an_actor_share_its_link() -> None:
    async def run() -> None:
        carriers = RayCarriers(TcpTransport("token", bytes(32)))
        first = carriers.link("completion-1")
        assert carriers.link("completion-1") is first
        assert carriers.link("completion-2") is not first
        carriers.forget("completion-1")
        assert carriers.link("completion-1") is not first

    asyncio.run(run())


def test_so_many_links_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_LINKS_MAX", 2)

    async def run() -> None:
        carriers = RayCarriers(TcpTransport("token", bytes(32)))
        first, second = carriers.link("completion-1"), carriers.link("completion-2")
        carriers.link("completion-3")
        assert carriers.link("completion-2") is second
        assert carriers.link("completion-1") is not first, "it was idle, and the oldest"

    asyncio.run(run())
