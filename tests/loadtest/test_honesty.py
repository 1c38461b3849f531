"""What is planted is reported: an orphan, an overcharge, an edited balance, a stall, another text.

Method: the whole application on a socket in front of the simulator, one fault between the two, and a
load test as the command runs it. The bounds on latencies are lower ones, of what was waited for.
"""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.loadtest.plan import Arrival, CancelAfter, Length, Load
from actors.loadtest.report.table import verdict
from actors.ports.provider import Provider
from tests.loadtest.rigs import (
    LOCAL,
    Changed,
    Leaky,
    OnOpen,
    Stalling,
    Wrap,
    another_word,
    one_token_more,
    target,
)

OUTPUT_MICROCREDITS = 450


def loaded(folder: Path, wrap: Wrap | None = None, **changes: Any) -> dict[str, Any]:
    """Return the figures of one run."""

    async def body() -> dict[str, Any]:
        async with target(folder, wrap) as server:
            return await server.load(where=replace(LOCAL, orphan_grace_s=0.3), **changes)

    return asyncio.run(body())


def truth(figures: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = figures["levels"][0]["truth"]
    return found


CANCELS = {
    "model": "sim-long",
    "max_tokens": Length(100, 100),
    "cancel_fraction": 1.0,
    "cancel_after": CancelAfter(tokens=2),
}


def test_nothing_is_reported_where_nothing_is_wrong(tmp_path: Path) -> None:
    figures = loaded(tmp_path, count=4, **CANCELS)
    assert figures["is_clean"]
    assert verdict(figures) == ""
    found = truth(figures)
    assert (found["checked"], found["billed"], found["orphans"]) == (4, 4, 0)
    assert (found["billing_error_microcredits"], found["balance_error_microcredits"]) == (0, 0)
    assert found["ledger"] is True
    latency = figures["levels"][0]["latency_ms"]
    for name in ("cancel_closed", "cancel_ack", "cancel_told"):
        assert latency[name]["count"] == 4


@pytest.mark.parametrize("fate", ["cancel_fraction", "disconnect_fraction"])
def test_an_upstream_that_outlives_its_completion_is_an_orphan(tmp_path: Path, fate: str) -> None:
    changes = {**CANCELS, "cancel_fraction": 0.0, fate: 1.0, "max_tokens": Length(60, 60)}
    # The readers that leave do so after one token: the upstream has a second to go.
    figures = loaded(tmp_path, Leaky, count=3, seed=8, **changes)
    found = truth(figures)
    assert found["orphans"] >= 2
    assert len(found["examples"]["orphans"]) == found["orphans"]
    assert not figures["is_clean"]
    assert "outlived" in verdict(figures)


def test_an_overcharge_of_one_token_is_a_billing_error(tmp_path: Path) -> None:
    def overcharging(provider: Provider) -> Provider:
        return Changed(provider, one_token_more)

    # A tenth of such a prompt's price is held beyond it: the hold does not cap the charge.
    figures = loaded(tmp_path, overcharging, count=3, prompt_tokens=Length(100, 100))
    found = truth(figures)
    assert found["billing_errors"] == 3
    assert found["billing_error_microcredits"] == 3 * OUTPUT_MICROCREDITS
    # The account was charged what the answers said: it is the charge that is wrong.
    assert found["balance_error_microcredits"] == 0
    assert "charged wrongly" in verdict(figures)


def test_an_edited_balance_row_is_a_balance_error(tmp_path: Path) -> None:
    def edit() -> None:
        file = next(tmp_path.rglob("*.db"), None) or next(tmp_path.rglob("*.sqlite*"))
        with sqlite3.connect(file) as books:
            books.execute(
                "UPDATE teams SET credits_microcredits = credits_microcredits - 7 WHERE team='acme'"
            )
        books.close()

    figures = loaded(tmp_path, lambda provider: OnOpen(provider, at=3, do=edit))
    found = truth(figures)
    assert found["balance_error_microcredits"] == 7
    assert found["billing_error_microcredits"] == 0
    assert found["ledger"] is False
    assert "ledger does not balance" in verdict(figures)


@pytest.mark.parametrize("connections", [1, 1_000])
def test_a_stall_is_charged_with_everybody_who_was_to_start_in_it(
    tmp_path: Path, connections: int
) -> None:
    """With one connection, all but one of them were not even sent while it lasted."""
    figures = loaded(
        tmp_path,
        lambda provider: Stalling(provider, at=10, seconds=1.0),
        load=Load(Arrival.CONSTANT, rate_per_s=25.0),
        count=50,
        connections_max=connections,
    )
    level = figures["levels"][0]
    assert level["outcomes"]["completed"] == 50
    first_token = level["latency_ms"]["ttft"]
    assert first_token["p99"] >= 990.0
    # At least ten more of the fifty were due in the first half of the stall.
    assert first_token["p90"] >= 500.0
    if connections == 1:
        assert level["latency_ms"]["start_lag"]["p90"] >= 500.0


def test_a_text_that_was_not_sent_is_wrong(tmp_path: Path) -> None:
    def shouting(provider: Provider) -> Provider:
        return Changed(provider, another_word)

    figures = loaded(tmp_path, shouting, count=3)
    assert truth(figures)["wrong_texts"] == 3
    assert "did not get what was sent" in verdict(figures)
