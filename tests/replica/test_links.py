"""Goal: a replica has one connection to each carrier, asked for where it listens, and not without bound."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.core.completion.readers import Departure
from actors.core.errors import ActorAway
from actors.ports.directory import CarrierLost
from actors.ports.transport import Address, ConnectionLost
from actors.replica.links import Links


class PlayedCluster:
    """Knows a carrier that listens nowhere, and that all others are dead."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def address(self, carrier: str) -> Address:
        self.asked.append(carrier)
        if carrier != "c0":
            raise CarrierLost
        return Address("127.0.0.1", 9)

    async def connect(self, address: Address) -> Any:
        raise ConnectionLost


def links(**options: int) -> tuple[Links, PlayedCluster]:
    cluster = PlayedCluster()
    return Links(cluster, cluster, **options), cluster  # type: ignore[arg-type]


def test_all_who_look_for_a_carrier_share_its_link() -> None:
    async def run() -> None:
        made, cluster = links()
        first = made.link("c0")
        assert made.link("c0") is first
        assert made.link("c1") is not first
        assert cluster.asked == [], "before anything is asked of it"
        made.forget("c0")
        made.forget("c0")
        assert made.link("c0") is not first
        assert repr(made) == "<Links 2>"
        await made.aclose()

    asyncio.run(run())


def test_a_call_says_whether_its_carrier_is_dead_or_away() -> None:
    async def run() -> None:
        made, _ = links()
        with pytest.raises(ActorAway):
            await made.link("c0").detach("cmp_1", "r", Departure.LOST)
        with pytest.raises(CarrierLost):
            await made.link("c1").detach("cmp_1", "r", Departure.LOST)
        await made.aclose()

    asyncio.run(run())


def test_so_many_links_are_kept() -> None:
    async def run() -> None:
        made, _ = links(links_max=2)
        first, second = made.link("c0"), made.link("c1")
        made.link("c2")
        assert made.link("c1") is second
        assert made.link("c0") is not first, "it was idle, and the oldest"
        await made.aclose()

    asyncio.run(run())
