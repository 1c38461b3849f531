"""Goal: dense sequences, reads by cursor, a bound that says when it is reached, rows that come back."""

from __future__ import annotations

import msgspec
import pytest

from actors.core.completion.event_log import EventLog
from actors.core.errors import Failure, FailureCode, ReplayGap
from actors.core.events import (
    BlockFinished,
    CancelSource,
    Charge,
    ChargeBasis,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Started,
    Status,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)

FAILED = Finished(
    Status.FAILED,
    FinishReason.ERROR,
    None,
    Failure(FailureCode.UPSTREAM_RATE_LIMITED, "later", 429, 1.5),
    Usage(1, 2, 3, 4),
    Charge(),
)
CANCELLED = Finished(
    Status.CANCELLED,
    FinishReason.CANCELLED,
    CancelSource.BUDGET,
    None,
    Usage(12, 3),
    Charge(900, 1350, 0, 7, ChargeBasis.ESTIMATED, ChargeBasis.COUNTED, 2),
)
ONE_OF_EACH: list[Event] = [
    Started(12),
    TextDelta(0, "é\u2028", 1),
    ReasoningDelta(1, "hm", 2),
    RefusalDelta(2, "no", 1),
    ToolCallStarted(3, "call_1", "f", 1),
    ToolCallDelta(3, '{"a":', 2),
    BlockFinished(3, False),
    UsageReported(Usage(12, 3, 1)),
    CANCELLED,
    FAILED,
]


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda e: type(e).__name__)
def test_a_row_comes_back_as_the_event_it_was(event: Event) -> None:
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Event) == event


def test_sequences_are_dense_and_reads_follow_the_cursor() -> None:
    log = EventLog(bytes_max=10_000)
    assert [log.append(event) for event in ONE_OF_EACH[:4]] == [0, 1, 2, 3]
    assert list(log.read_after(-1)) == ONE_OF_EACH[:4]
    assert list(log.read_after(1, limit=1)) == ONE_OF_EACH[2:3]
    assert list(log.read_after(3)) == []


@pytest.mark.parametrize("cursor", [-2, 4, 99])
def test_a_cursor_outside_the_log_is_a_gap(cursor: int) -> None:
    log = EventLog(bytes_max=10_000)
    for event in ONE_OF_EACH[:4]:
        log.append(event)
    with pytest.raises(ReplayGap):
        log.read_after(cursor)


def test_the_log_says_when_it_is_full() -> None:
    log = EventLog(bytes_max=100)
    log.append(TextDelta(0, "x" * 30, 1))
    assert not log.is_full
    log.append(TextDelta(0, "é", 1))
    assert log.is_full


def test_nothing_follows_the_terminal_event() -> None:
    log = EventLog(bytes_max=100)
    log.append(FAILED)
    assert log.finished == FAILED
    with pytest.raises(AssertionError):
        log.append(Started(1))
