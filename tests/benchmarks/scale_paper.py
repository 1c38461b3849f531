"""On paper: what 100 and 1,000 nodes would ask of the one registry and the one ledger.

The constants are this run's: the CPU of the registry and of the ledger for a start and its settlement,
what the registry takes for a node whose actors only report, and what a ledger alone can place and settle
in a second. The model is a straight line: nodes are alike, each has its streams live, a completion lasts
so long, and every start costs what it cost here. A process of Python is given a share of one core, and
no more: above it, its queue is what its callers wait for.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

from actors.ledger.service import LedgerService
from actors.ledger.store import Store
from actors.ports.ledger import HoldPlacement, Settlement
from actors.settings import Settings
from tests.benchmarks.measuring import print_table
from tests.benchmarks.process_group import Role
from tests.benchmarks.scale_live import Live
from tests.benchmarks.sizes import Sizes
from tests.support.ledger import TEAM, completed, header

__all__ = ["LedgerCeiling", "Model", "print_paper"]

NODES = (1, 10, 100, 1_000)
COMPLETION_S = 30.0
"""How long a completion lasts: some hundred tokens at the speed of today's large models."""

CORE_SHARE = 0.7
"""Of one core, that a process may use before callers wait for each other."""

_CALLERS = 64
_TOKENS = 31
_CREDITS = 10**15


@dataclass(frozen=True, slots=True)
class LedgerCeiling:
    """What one ledger on SQLite can do on this machine: completions, placed and settled."""

    completions_per_s: float
    commits_per_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Model:
    """Constants of one way of running; seconds of CPU.

    Args:
        streams: live per node.
        registry_node_s: per second, for a node whose actors carry nothing.
    """

    name: str
    streams: int
    registry_start_s: float
    registry_node_s: float
    ledger_start_s: float
    ceiling: LedgerCeiling

    @property
    def starts_per_s(self) -> float:
        return self.streams / COMPLETION_S

    def registry_cores(self, nodes: float) -> float:
        return nodes * (self.registry_node_s + self.starts_per_s * self.registry_start_s)

    def ledger_cores(self, nodes: float) -> float:
        return nodes * self.starts_per_s * self.ledger_start_s

    def ledger_filled(self, nodes: float) -> float:
        """Return the share of its ceiling that is used, by CPU or by commits, whichever is more."""
        by_commits = nodes * self.starts_per_s / self.ceiling.completions_per_s
        return max(by_commits, self.ledger_cores(nodes)) / CORE_SHARE

    def registry_filled(self, nodes: float) -> float:
        return self.registry_cores(nodes) / CORE_SHARE

    @classmethod
    def of(cls, live: Live, ceiling: LedgerCeiling) -> Model:
        """Take the constants from a measurement: the level with the most streams is a node."""
        level = live.levels[-1]
        starts = [one.starts.cpu for one in live.levels]
        return cls(
            name=live.name,
            streams=level.streams,
            registry_start_s=_mean([max(0.0, cpu[Role.REGISTRY]) for cpu in starts]),
            registry_node_s=max(0.0, live.idle_at(level.actors)[Role.REGISTRY]),
            ledger_start_s=_mean([max(0.0, cpu[Role.LEDGER]) for cpu in starts]),
            ceiling=ceiling,
        )


def print_paper(lives: Sequence[Live], sizes: Sizes) -> None:
    ceiling = measure_ceiling(sizes.ledger_s)
    models = [Model.of(live, ceiling) for live in lives]
    print_table(
        "on paper: the constants, of this run",
        ["", "registry, ms/start", "registry, % of a core/node", "ledger, ms/start"],
        [
            [
                f"{model.name}, {model.streams:,} streams a node",
                f"{1e3 * model.registry_start_s:.3f}",
                f"{100 * model.registry_node_s:.2f}",
                f"{1e3 * model.ledger_start_s:.3f}",
            ]
            for model in models
        ],
    )
    print(
        f"A ledger alone, SQLite, {_CALLERS} callers: {ceiling.completions_per_s:,.0f} completions/s"
        f" placed and settled, in {ceiling.commits_per_s:,.0f} commits/s,"
        f" {1e3 * ceiling.cpu_s:.3f} ms of CPU each.\n"
    )
    print_table(
        f"on paper: one registry and one ledger by nodes; a completion lasts {COMPLETION_S:g} s,"
        f" a process may use {CORE_SHARE:g} of a core",
        [
            "",
            "nodes",
            "live streams",
            "starts/s",
            "registry, cores",
            "shards",
            "ledger, cores",
            "of its ceiling",
            "shards",
        ],
        [_row(model, nodes) for model in models for nodes in NODES],
    )
    for model in models:
        print(_sentence(model))


def _row(model: Model, nodes: int) -> list[str]:
    return [
        model.name,
        f"{nodes:,}",
        f"{nodes * model.streams:,}",
        f"{nodes * model.starts_per_s:,.0f}",
        f"{model.registry_cores(nodes):.2f}",
        f"{math.ceil(model.registry_filled(nodes)) or 1:,}",
        f"{model.ledger_cores(nodes):.2f}",
        f"{100 * model.ledger_filled(nodes):,.0f} %",
        f"{math.ceil(model.ledger_filled(nodes)) or 1:,}",
    ]


def _sentence(model: Model) -> str:
    registry = _nodes_until_full(model.registry_filled(1))
    ledger = _nodes_until_full(model.ledger_filled(1))
    return (
        f"{model.name}: the registry must be sharded by completion id above {registry} nodes,"
        f" the ledger by account above {ledger}."
    )


def _nodes_until_full(filled_by_one: float) -> str:
    return f"{math.floor(1 / filled_by_one):,}" if filled_by_one > 0 else "any number of"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def measure_ceiling(seconds: float) -> LedgerCeiling:
    """Keep a ledger of this process's own as busy as it gets, on a disk as the deployment's."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_ceiling(f"sqlite:///{folder}/midstream.db", seconds))


async def _ceiling(url: str, seconds: float) -> LedgerCeiling:
    service = LedgerService(Store(url), settings=Settings(), clock=time.time)
    await service.create_team(TEAM, "org_scale", credits_microcredits=_CREDITS)
    key = await service.create_key(TEAM, "scale")
    done = itertools.count()
    before = (await service.describe())["batches"]
    cpu_s, began_s = time.process_time(), time.monotonic()

    async def caller() -> None:
        while time.monotonic() < began_s + seconds:
            head = header(created_at_s=time.time())
            await service.place(HoldPlacement(head, key.key_id, time.time() + 900))
            await service.settle(Settlement.of(completed(head, _TOKENS)))
            next(done)

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    took_s = time.monotonic() - began_s
    count = next(done)
    ceiling = LedgerCeiling(
        completions_per_s=count / took_s,
        commits_per_s=((await service.describe())["batches"] - before) / took_s,
        cpu_s=(time.process_time() - cpu_s) / max(1, count),
    )
    await service.close()
    return ceiling
