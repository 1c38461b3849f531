"""Goal: processes reach one another on whatever event loop they run: Ray's actors have uvloop's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from actors.ports.transport import Address
from actors.rpc.contracts import REGISTRY, fingerprint
from actors.rpc.peer import Peer
from actors.rpc.serving import Server
from actors.rpc.tcp import TcpTransport
from tests.registry.rig import make_rig, opened


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_the_registry_is_asked_over_a_real_connection(run: Callable[..., Any]) -> None:
    async def ask() -> None:
        transport = TcpTransport("token", fingerprint())
        async with opened(make_rig(actors_warm=1), warm=1) as rig:
            server = Server(transport, {REGISTRY: rig.registry})
            address = await server.start("127.0.0.1")

            async def find() -> Address:
                return address

            peer = Peer(transport, find)
            registry = REGISTRY.client(peer)
            (slot,) = await registry.lease("r1", "n1", 1, 0)
            assert slot.carrier == rig.cluster.started[0]
            assert await registry.renew("r1", {slot.carrier: 1}, 1) == []
            assert (await registry.describe())["slots_free"] == 0
            await peer.aclose()
            await server.aclose()

    run(ask())
