"""The ledger's actor without its Ray: what it opens with its first call, and that the deploy can ask it."""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.cluster.deployed import Deployed
from actors.core.errors import Overloaded
from actors.ledger import actor as room
from actors.ledger.client import far_ledger
from actors.ports.ledger import HoldPlacement
from actors.settings import Settings
from actors.upstream.catalogue import Config
from tests.support.ledger import header


def test_the_deploys_processes_ask_it_and_it_drains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'midstream.db'}"
    deployed = Deployed(
        Settings().with_changes(database=url), Config(), demo_key_digest="00", token="token"
    )
    context = SimpleNamespace(get_node_id=lambda: "node-1")
    monkeypatch.setattr(Deployed, "load", lambda _location: deployed)
    monkeypatch.setattr(room.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(room.ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    interval_s = sys.getswitchinterval()

    async def main() -> None:
        actor = room.LedgerActor("anywhere")
        assert repr(actor).startswith("LedgerActor(<LedgerService open=0 teams=0")
        first, second = await asyncio.gather(actor.endpoint(), actor.endpoint())
        assert first == second

        async def told() -> Any:
            return pickle.loads(pickle.dumps(await actor.endpoint()))

        handle = SimpleNamespace(endpoint=SimpleNamespace(remote=told))
        far = far_ledger(handle, deployed.transport())
        assert (await far.balance("demo")).credits_microcredits == 1_000_000_000
        found = await actor.describe()
        assert (found["kind"], found["node_id"], found["teams"]) == ("ledger", "node-1", 1)
        await actor.drain()
        with pytest.raises(Overloaded):
            await far.place(HoldPlacement(header(), "key", 2e9))
        await actor._server.aclose()
        assert actor._housekeeping is not None
        actor._housekeeping.cancel()
        await asyncio.wait({actor._housekeeping})
        await actor._service.close()

    try:
        asyncio.run(asyncio.wait_for(main(), 60))
    finally:
        sys.setswitchinterval(interval_s)
