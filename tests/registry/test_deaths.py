"""Goal: a death is believed when the cluster tells it, and what it leaves open is failed, within bounds."""

from __future__ import annotations

import asyncio
import logging

import pytest

from actors.core.errors import ActorAway
from actors.ports.cluster import Cluster
from actors.ports.ledger import Checkpoint
from actors.registry.deaths import Deaths, OpenCompletions
from tests.support.virtual_time import run_virtual


class PlayedCluster:
    """It tells of a death only after these."""

    def __init__(self, *before: Exception) -> None:
        self._before = list(before)

    async def died(self, _name: str) -> None:
        if self._before:
            raise self._before.pop(0)


class PlayedLedger:
    def __init__(self, away: int) -> None:
        self.away = away
        self.asked = 0
        self.heard_at_s = 0.0

    async def checkpoint(self, _actor: str, _stretches: list[Checkpoint]) -> dict[str, int]:
        self.asked += 1
        if self.asked <= self.away:
            raise ActorAway("The ledger is being restarted.")
        self.heard_at_s = asyncio.get_running_loop().time()
        return {}

    async def lose(self, _actor: str) -> list[str]:
        assert asyncio.get_running_loop().time() - self.heard_at_s == pytest.approx(2.0)
        return []


def deaths(cluster: PlayedCluster, ledger: PlayedLedger) -> Deaths:
    async def carried(_name: str) -> set[str] | None:
        return None

    played_cluster: Cluster = cluster  # type: ignore[assignment]
    played_ledger: OpenCompletions = ledger  # type: ignore[assignment]
    return Deaths(played_cluster, played_ledger, carried=carried)


def test_out_of_reach_is_not_dead_and_a_bug_does_not_end_the_watch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        cluster = PlayedCluster(ActorAway("It did not answer."), ValueError("a bug"))
        began_s = asyncio.get_running_loop().time()
        await deaths(cluster, PlayedLedger(0)).watch("completion-1")
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(2.0)

    with caplog.at_level(logging.ERROR):
        run_virtual(run())
    assert "completion-1 could not be watched" in caplog.text


def test_a_ledger_that_stays_away_is_left_to_the_look_for_orphans() -> None:
    async def run() -> None:
        back, gone = PlayedLedger(3), PlayedLedger(10_000)
        await deaths(PlayedCluster(), back).lose("completion-1")
        assert back.asked == 4
        assert back.heard_at_s == pytest.approx(0.6), "whoever mirrors it is heard after that"
        began_s = asyncio.get_running_loop().time()
        await deaths(PlayedCluster(), gone).lose("completion-1")
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(30.0)

    run_virtual(run())
