"""Goal: the registry's process opens by itself, and replicas ask it over the deploy's calls.

Method: the actor without its Ray, over the cluster of plain objects.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from types import SimpleNamespace

import pytest

from actors.cluster.deployed import Deployed
from actors.core.errors import ActorAway
from actors.ledger.client import LEDGER_NAME
from actors.registry import actor as room
from actors.rpc.contracts import REGISTRY
from actors.rpc.peer import Peer
from actors.settings import Settings
from actors.upstream.config import Config
from tests.registry.rig import FakeCluster, FakeLedger


def test_it_opens_once_and_leases_and_opens_again_where_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings().with_changes(actors_warm=1)
    deployed = Deployed(settings, Config(), token="token")
    looked_for: list[str] = []

    async def find_actor(name: str) -> object:
        looked_for.append(name)
        if len(looked_for) == 1:
            raise ActorAway("The ledger is being deployed.")
        return SimpleNamespace()

    async def main() -> None:
        cluster = FakeCluster(settings)
        standing = cluster.add("completion-standing", fingerprint=deployed.fingerprint)
        monkeypatch.setattr(room, "RayCluster", lambda *_args, **_options: cluster)
        monkeypatch.setattr(room, "ways_to_carriers", lambda _deployed: cluster)
        actor = room.RegistryActor("anywhere")
        with pytest.raises(ActorAway):
            await actor.endpoint()
        addresses = await asyncio.gather(*(actor.endpoint() for _ in range(3)))
        assert (len(set(addresses)), looked_for) == (1, [LEDGER_NAME] * 2)
        async with aclosing(Peer(deployed.transport(), actor.endpoint)) as peer:
            registry = REGISTRY.client(peer)
            [slot] = await registry.lease("replica", "n1", 1, 0)
            assert slot.carrier == standing.name
            said = await registry.describe()
        assert said == {**said, **actor.describe()}
        assert (said["kind"], said["node_id"], said["actors"]) == ("registry", "node-1", 1)
        await actor._server.aclose()
        await actor._service.aclose()

    monkeypatch.setattr(Deployed, "load", lambda _location: deployed)
    monkeypatch.setattr(room, "find_actor", find_actor)
    monkeypatch.setattr(room, "far_ledger", lambda _handle, _transport: FakeLedger())
    context = SimpleNamespace(get_node_id=lambda: "node-1")
    monkeypatch.setattr(room.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(room.ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    asyncio.run(asyncio.wait_for(main(), 60))
