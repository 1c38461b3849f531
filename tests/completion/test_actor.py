"""Goal: a carrier's process opens by itself, carries for whoever calls it, and tells the registry.

Method: the actor without its Ray; ledger and registry are played behind real servers, and the provider is
the simulator, asked over HTTP.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from setproctitle import getproctitle, setproctitle

from actors.cluster.deployed import Deployed
from actors.completion import actor as room
from actors.core.errors import ActorAway
from actors.core.events import Finished, Status
from actors.ledger.client import LEDGER_NAME
from actors.ports.carrier import CarrierLink
from actors.ports.registry import REGISTRY_NAME, CarrierReport
from actors.rpc.contracts import CARRIER, LEDGER, REGISTRY
from actors.rpc.peer import Peer
from actors.rpc.serving import Server
from actors.settings import Settings
from actors.testing import ScriptedLedger
from actors.upstream.config import Config
from tests.support.commands import command
from tests.support.running_simulator import running_simulator

NAME = "completion-01"
KEYS = {"A_KEY": "sk-of-the-deploy"}


class PlayedRegistry:
    def __init__(self) -> None:
        self.reports: list[CarrierReport] = []
        self.idle = asyncio.Event()

    async def report(self, report: CarrierReport) -> None:
        self.reports.append(report)
        if report.ended:
            self.idle.set()


class Cluster:
    """Ledger and registry of a deploy, and the actors of those names; one that is away is not found."""

    def __init__(
        self, deployed: Deployed, registry: PlayedRegistry, ledger: ScriptedLedger
    ) -> None:
        transport = deployed.transport()
        self._servers = {
            LEDGER_NAME: Server(transport, {LEDGER: ledger}),
            REGISTRY_NAME: Server(transport, {REGISTRY: registry}),
        }
        self.away = {REGISTRY_NAME}
        self._handles: dict[str, Any] = {}

    async def find_actor(self, name: str) -> Any:
        if name in self.away:
            self.away.remove(name)
            raise ActorAway("It is being restarted.")
        return self._handles[name]

    async def open(self) -> None:
        for name, server in self._servers.items():
            address = await server.start("127.0.0.1")
            self._handles[name] = SimpleNamespace(endpoint=_method(address))

    async def aclose(self) -> None:
        for server in self._servers.values():
            await server.aclose()


def _method(answer: Any) -> Any:
    async def told() -> Any:
        return answer

    return SimpleNamespace(remote=told)


@asynccontextmanager
async def link_to(actor: room.CompletionActor, deployed: Deployed) -> AsyncIterator[CarrierLink]:
    peer = Peer(deployed.transport(), actor.endpoint)
    async with aclosing(peer):
        yield CARRIER.client(peer)


Story = Callable[[room.CompletionActor, Deployed, PlayedRegistry], Awaitable[None]]


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        with running_simulator() as url:
            host, _, port = url.removeprefix("http://").partition(":")
            deployed = Deployed(
                Settings(), Config(), simulator_host=host, simulator_port=int(port), token="token"
            )
            context = SimpleNamespace(get_actor_name=lambda: NAME, get_node_id=lambda: "node-1")
            monkeypatch.setattr(Deployed, "load", lambda _location: deployed)
            monkeypatch.setattr(room.ray, "get_runtime_context", lambda: context)
            monkeypatch.setattr(room.ray.util, "get_node_ip_address", lambda: "127.0.0.1")
            monkeypatch.setattr(room, "provider_keys", lambda _environment: KEYS)
            servers: list[Server] = []

            def server(*arguments: Any) -> Server:
                servers.append(Server(*arguments))
                return servers[-1]

            registry = PlayedRegistry()

            async def main() -> None:
                cluster = Cluster(deployed, registry, ScriptedLedger())
                monkeypatch.setattr(room, "find_actor", cluster.find_actor)
                monkeypatch.setattr(room, "Server", server)
                await cluster.open()
                actor = room.CompletionActor("anywhere")
                try:
                    with pytest.raises(ActorAway):
                        await actor.endpoint()
                    await story(actor, deployed, registry)
                finally:
                    actor._housekeeping.cancel()
                    await asyncio.gather(actor._housekeeping, return_exceptions=True)
                    for one in servers:
                        await one.aclose()
                    for client in actor._clients.values():
                        await client.aclose()
                    await cluster.aclose()

            title = getproctitle()
            try:
                asyncio.run(asyncio.wait_for(main(), 60))
            finally:
                setproctitle(title)

    return run


def test_it_opens_once_carries_and_reports(tell: Callable[[Story], None]) -> None:
    async def story(
        actor: room.CompletionActor, deployed: Deployed, registry: PlayedRegistry
    ) -> None:
        addresses = await asyncio.gather(*(actor.endpoint() for _ in range(3)))
        assert len(set(addresses)) == 1
        started = replace(
            command(completion_id="cmp_1", max_output_tokens=64),
            provider="simulator",
            upstream_model="sim-instant",
        )
        async with link_to(actor, deployed) as link:
            await link.start(started, "replica")
            assert repr(actor) == "CompletionActor(cmp_1)"
            assert getproctitle() == f"midstream {NAME} cmp_1"
            async with aclosing(link.channel("replica", {"cmp_1": -1})) as lease:  # type: ignore[type-var]
                async for batch in lease:
                    if isinstance(last := batch[-1][2][-1], Finished):
                        break
            assert last.status is Status.COMPLETED
            await registry.idle.wait()
            facts = await link.describe()
            assert (facts.actor, facts.node_id, facts.pid) == (NAME, "node-1", os.getpid())
            assert (facts.fingerprint, facts.rows) == (deployed.fingerprint, ())
        assert repr(actor) == "CompletionActor(idle)"
        began = [one.completion_id for report in registry.reports for one in report.began]
        ended = [one for report in registry.reports for one in report.ended]
        assert (began, ended) == (["cmp_1"], ["cmp_1"])

    tell(story)


def test_whoever_watches_it_is_told_nothing_while_it_lives(tell: Callable[[Story], None]) -> None:
    async def story(
        actor: room.CompletionActor, deployed: Deployed, _registry: PlayedRegistry
    ) -> None:
        said = await actor.describe()
        assert (said["kind"], said["actor"], said["running"]) == ("completion", NAME, 0)
        assert said["fingerprint"] == deployed.fingerprint
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(actor.watch(), 0.05)

    tell(story)
