"""The ledger's actor without its Ray: what it opens with its first call, who can ask it, its end."""

from __future__ import annotations

import asyncio
import logging
import pickle
import sqlite3
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.cluster.deployed import Deployed
from actors.core.errors import Overloaded
from actors.ledger import actor as room
from actors.ledger.client import far_ledger
from actors.ledger.store import StoreUnavailable
from actors.ports.ledger import HoldPlacement
from actors.settings import Settings
from actors.upstream.catalogue import Config
from tests.support.ledger import header

Deploy = Callable[[str], Deployed]


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deploy]:
    """Let an actor find a deploy with that database, and the node that it is on."""

    def publish(url: str) -> Deployed:
        deployed = Deployed(
            Settings().with_changes(database=url),
            Config(),
            demo_key_digest="00",
            cluster="ours",
            token="token",
        )
        monkeypatch.setattr(Deployed, "load", lambda _location: deployed)
        return deployed

    context = SimpleNamespace(get_node_id=lambda: "node-1", was_current_actor_reconstructed=False)
    monkeypatch.setattr(room.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(room.ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    interval_s = sys.getswitchinterval()
    yield publish
    sys.setswitchinterval(interval_s)


def _run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


async def _end(actor: room.LedgerActor) -> None:
    """End what the process's own end would."""
    assert actor._housekeeping is not None
    assert actor._server is not None
    assert actor._service is not None
    await actor._server.aclose()
    actor._housekeeping.cancel()
    await asyncio.wait({actor._housekeeping})
    await actor._service.close()


def test_the_deploys_processes_ask_it_and_it_drains(tmp_path: Path, deploy: Deploy) -> None:
    deployed = deploy(f"sqlite:///{tmp_path / 'midstream.db'}")

    async def main() -> None:
        actor = room.LedgerActor("anywhere")
        assert repr(actor) == "LedgerActor(None)"
        first, second = await asyncio.gather(actor.endpoint(), actor.endpoint())
        assert first == second
        assert repr(actor).startswith("LedgerActor(<LedgerService open=0 teams=1")

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
        await _end(actor)

    _run(main())


def test_a_store_that_cannot_be_opened_is_opened_for_whoever_asks_next(
    tmp_path: Path, deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    """Ray would start no actor again whose constructor failed: the ledger would be away for ever."""
    path = tmp_path / "midstream.db"
    path.mkdir()
    deploy(f"sqlite:///{path}")

    async def main() -> None:
        actor = room.LedgerActor("anywhere")
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="cannot be opened: Is a directory"):
                await actor.endpoint()
        path.rmdir()
        assert (await actor.describe())["teams"] == 1
        await _end(actor)

    _run(main())
    assert [r.getMessage() for r in caplog.records].count(
        f"{path} cannot be opened: Is a directory."
    ) == 1


class _Ended(BaseException):
    """In the place of the process's end."""


def test_a_ledger_whose_store_has_a_later_one_says_so_and_ends(
    tmp_path: Path,
    deploy: Deploy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "midstream.db"
    codes: list[int] = []

    def exit_(code: int) -> None:
        codes.append(code)
        raise _Ended

    deploy(f"sqlite:///{path}")
    monkeypatch.setattr(room, "_HOUSEKEEPING_S", 0.01)
    monkeypatch.setattr(room.os, "_exit", exit_)
    monkeypatch.setattr(logging, "shutdown", lambda: None)

    async def main() -> None:
        actor = room.LedgerActor("anywhere")
        await actor.endpoint()
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE fence SET epoch = epoch + 1")
        assert actor._housekeeping is not None
        with pytest.raises(_Ended):
            await actor._housekeeping
        await _end(actor)

    _run(main())
    assert codes == [room._FENCED_CODE]
    sentence = f"Another ledger has taken over the store sqlite:///{path}: this one ends."
    assert caplog.records[-1].getMessage() == sentence
