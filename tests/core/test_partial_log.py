"""Goal: what is left of a completion is its log as far as it is known, closed, free, and absorbed."""

from __future__ import annotations

import pytest

from actors.core.completion.partial_log import closings, joined, lost_record, packed
from actors.core.errors import Failure, FailureCode
from actors.core.events import (
    BlockFinished,
    Charge,
    Event,
    FinishReason,
    Opaque,
    ReasoningDelta,
    Started,
    Status,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.record import CompletionRecord
from actors.core.request import Dialect
from tests.support.ledger import completed, header

LOST = Failure(FailureCode.COMPLETION_LOST, "Its process ended.")
LOG: tuple[Event, ...] = (
    Started(12),
    ReasoningDelta(0, "so", 2),
    BlockFinished(0, is_complete=True),
    TextDelta(1, "snow \U0001f300 \0", 3),
    ToolCallStarted(2, "call_1", "weather", 4),
    ToolCallDelta(2, '{"city"', 2),
    Opaque(3, Dialect.MESSAGES, {"type": "server_tool_use"}, 1),
)


def lost(events: tuple[Event, ...], **changes: object) -> CompletionRecord:
    options = {"held_microcredits": 50_000, "is_charged": True, "now_s": 9.0} | changes
    return lost_record(header(), events, LOST, **options)  # type: ignore[arg-type]


def test_what_is_kept_comes_back_in_order_and_whole() -> None:
    assert joined(packed(LOG[at : at + 2]) for at in range(0, len(LOG), 2)) == LOG
    assert joined([]) == ()


@pytest.mark.parametrize(
    "spoiled", ['[["text",0,"a"', "nonsense", packed(completed(header()).events)]
)
def test_what_is_no_running_log_ends_it(spoiled: str) -> None:
    assert joined([packed(LOG[:3]), spoiled, packed(LOG[3:])]) == LOG[:3]


def test_open_blocks_are_closed_as_cut_off() -> None:
    assert closings(LOG) == tuple(BlockFinished(block, is_complete=False) for block in (1, 2, 3))
    assert closings(LOG[:3]) == ()
    assert closings((*LOG, UsageReported(Usage(1, 2)), completed(header()).events[-1])) == closings(
        LOG
    )


def test_nothing_is_charged_and_what_it_cost_is_absorbed() -> None:
    record = lost(LOG)
    end = record.finished
    assert end is not None
    assert record.events == (*LOG, *closings(LOG), end)
    assert (end.status, end.finish_reason, end.error) == (Status.FAILED, FinishReason.ERROR, LOST)
    assert (end.usage.completion_tokens, end.usage.reasoning_tokens) == (10, 2)
    assert end.charge == Charge(absorbed_microcredits=12 * 75 + 12 * 450)
    assert end.finished_at_s == record.timeline.finished_at_s == 9.0


def test_the_providers_own_figures_are_told() -> None:
    end = lost((*LOG, UsageReported(Usage(20, 10, 2)))).finished
    assert end is not None
    assert end.usage.prompt_tokens == 20
    assert end.charge.absorbed_microcredits == 20 * 75 + 12 * 450


def test_of_what_nothing_is_known_nothing_is_told() -> None:
    end = lost((), held_microcredits=60_000).finished
    assert end is not None
    assert end.usage == Usage()
    assert end.charge == Charge(held_microcredits=60_000), "it was extended"


def test_a_team_that_pays_nothing_owes_nothing() -> None:
    end = lost(LOG, is_charged=False).finished
    assert end is not None
    assert end.charge == Charge()
