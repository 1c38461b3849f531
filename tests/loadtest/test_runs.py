"""Whole runs: every dialect, every fate, sweeps, what stops a run, and servers that are not Midstream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.core.request import Dialect
from actors.loadtest.load_test import Where
from actors.loadtest.plan import Arrival, Length, Load, PlanError
from actors.loadtest.target import LoadError
from actors.simulator.app import Simulator
from actors.simulator.server import SimulatorServer
from tests.loadtest.rigs import LOCAL, Target, Told, target


def on_target(
    folder: Path, body: Callable[[Target], Awaitable[dict[str, Any]]], **options: Any
) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        async with target(folder, **options) as server:
            return await body(server)

    return asyncio.run(main())


@pytest.mark.parametrize("dialect", Dialect)
def test_every_dialect_with_every_fate(tmp_path: Path, dialect: Dialect) -> None:
    async def body(server: Target) -> dict[str, Any]:
        return await server.load(
            dialect=dialect,
            model="sim-long",
            load=Load(Arrival.CLOSED, streams=8),
            count=16,
            # Long enough that a busy machine cancels and leaves while they run.
            max_tokens=Length(60, 60),
            cancel_fraction=0.3,
            disconnect_fraction=0.2,
            resume_fraction=0.3,
            observers=1,
            seed=10,
        )

    figures = on_target(tmp_path, body)
    level = figures["levels"][0]
    assert figures["is_clean"], level["truth"]
    assert level["errors"] == 0, level["error_messages"]
    outcomes = level["outcomes"]
    assert outcomes["cancelled"] and outcomes["left"] and outcomes["completed"]
    assert sum(outcomes.values()) == 16
    assert level["observers"] == 16 - outcomes["left"]
    assert level["truth"]["checked"] == level["truth"]["billed"] == 16
    latency = level["latency_ms"]
    assert latency["ttft"]["count"] == 16
    assert latency["resume"]["count"]
    assert latency["cancel_closed"]["count"] == outcomes["cancelled"]
    assert latency["left_closed"]["count"] == outcomes["left"]


def test_the_same_seed_asks_for_the_same_streams(tmp_path: Path) -> None:
    async def body(server: Target) -> dict[str, Any]:
        first = await server.load(max_tokens=Length(1, 40), disconnect_fraction=0.5, seed=4)
        again = await server.load(max_tokens=Length(1, 40), disconnect_fraction=0.5, seed=4)
        return {"first": first, "again": again}

    runs = on_target(tmp_path, body)
    first, again = (runs[name]["levels"][0] for name in ("first", "again"))
    assert first["outcomes"] == again["outcomes"]
    assert first["latency_ms"]["itl"]["count"] <= 8 * 40


def test_a_warm_up_is_run_and_billed_but_not_measured(tmp_path: Path) -> None:
    async def body(server: Target) -> dict[str, Any]:
        return await server.load(
            load=Load(Arrival.CONSTANT, rate_per_s=20.0), count=5, warmup_s=0.5
        )

    level = on_target(tmp_path, body)["levels"][0]
    assert level["streams"] == level["latency_ms"]["ttft"]["count"] == 5
    assert level["truth"]["checked"] == 15
    assert level["truth"]["balance_error_microcredits"] == 0


def test_a_sweep_has_a_level_for_each_load_and_a_knee(tmp_path: Path) -> None:
    told = Told()

    async def body(server: Target) -> dict[str, Any]:
        return await server.load(
            5.0, 10.0, told=told, load=Load(Arrival.POISSON, rate_per_s=5.0), count=6
        )

    figures = on_target(tmp_path, body)
    assert [level["level"] for level in figures["levels"]][:1] == [5.0]
    assert figures["is_clean"]
    assert set(told.levels) <= {5.0, 10.0}
    assert "6 streams cost at most" in told.sentences[0]
    assert "the account has 1,000.0000" in told.sentences[0]


def test_no_credit_stops_the_run_with_one_sentence(tmp_path: Path) -> None:
    async def body(server: Target) -> dict[str, Any]:
        return await server.load(count=500)

    level = on_target(tmp_path, body, credits=20_000)["levels"][0]
    assert level["stopped"].startswith("The team's credit does not suffice:")
    assert "(402 balance_too_low)" in level["stopped"]
    assert "\n" not in level["stopped"]
    assert level["streams"] < 500
    assert level["truth"]["balance_error_microcredits"] == 0


def test_a_wrong_key_is_one_sentence(tmp_path: Path) -> None:
    async def body(server: Target) -> dict[str, Any]:
        with pytest.raises(LoadError, match=r"\(401 "):
            await server.load(api_key="al_live_" + "0" * 64)
        with pytest.raises(LoadError, match=r"\(404 "):
            await server.load(model="nothing")
        return {}

    on_target(tmp_path, body)


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    async def body(server: Target) -> dict[str, Any]:
        with pytest.raises(LoadError, match="cannot be reached"):
            await server.load(url="http://127.0.0.1:9")
        return {}

    on_target(tmp_path, body)


# Servers that are not Midstream.


def plain(app: ASGIApp) -> ASGIApp:
    """Return the application as a server that has an OpenAI API and nothing else."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(("/_simulator", "/readyz")):
            scope = {**scope, "path": "/nowhere"}
        await app(scope, receive, send)

    return served


def on_simulator(app: ASGIApp, **changes: Any) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        server = SimulatorServer(app)
        try:
            url = await server.start()
            # `Target.load` needs no application of ours where the plan names the server.
            asked = Target(run=_NO_RIG, url=f"{url}/v1")
            return await asked.load(where=replace(LOCAL, admin_key=None), **changes)
        finally:
            await server.stop()

    return asyncio.run(main())


class _NoRig:
    key = None


_NO_RIG: Any = _NoRig()


def test_a_simulator_asked_directly_tells_its_truth() -> None:
    figures = on_simulator(Simulator(), disconnect_fraction=0.5, model="sim-long")
    level = figures["levels"][0]
    assert not figures["is_midstream"]
    assert level["truth"]["checked"] == 8
    assert level["truth"]["orphans"] == 0
    assert level["truth"]["billing_errors"] is None
    assert level["latency_ms"]["left_closed"]["count"] == level["outcomes"]["left"]


@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES])
def test_any_compatible_server_is_loaded_and_its_truth_is_not_available(dialect: Dialect) -> None:
    figures = on_simulator(plain(Simulator()), dialect=dialect)
    level = figures["levels"][0]
    assert level["outcomes"]["completed"] == 8
    assert level["truth"]["unavailable"]
    assert level["truth"]["orphans"] is None
    assert level["truth"]["unread_tokens"] is None
    assert figures["is_clean"]


def test_what_only_midstream_has_is_refused_elsewhere() -> None:
    with pytest.raises(PlanError, match="need a Midstream server"):
        on_simulator(plain(Simulator()), cancel_fraction=0.5)


def test_a_failing_upstream_is_counted_by_its_words(tmp_path: Path) -> None:
    async def body(server: Target) -> dict[str, Any]:
        return await server.load(model="sim-error", count=3, where=Where(is_local=True))

    level = on_target(tmp_path, body)["levels"][0]
    assert level["outcomes"]["failed"] == level["errors"] == 3
    (message,) = level["error_messages"]
    assert message.startswith("The stream failed: ")
    assert level["truth"]["ledger"] is None
    assert level["truth"]["balance_error_microcredits"] == 0
