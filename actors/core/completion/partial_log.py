"""What is left of a completion whose owner is gone: as much of its log as somebody kept, and an end to it.

How it would have ended nobody knows any more. So what was open is closed as cut off, the figures are
counted again from the events that are there, nothing is charged, and what it cost is absorbed.

A stretch of a log is kept as JSON text, as records have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.core.completion.token_meter import TokenMeter
from actors.core.errors import Failure
from actors.core.events import (
    BlockFinished,
    Event,
    Finished,
    FinishReason,
    Started,
    Status,
    UsageReported,
)
from actors.core.json_values import JsonReader, to_json
from actors.core.record import CompletionHeader, CompletionRecord, Timeline

__all__ = ["closings", "joined", "lost_record", "packed"]


def packed(events: Sequence[Event]) -> str:
    """Return a stretch of a log as it is kept."""
    return to_json(events).decode()


def joined(stretches: Iterable[str]) -> tuple[Event, ...]:
    """Return the events of stretches that follow one another, as far as they are a running log's."""
    events: list[Event] = []
    for text in stretches:
        try:
            stretch = _STRETCHES.read(text)
        except ValueError:
            break
        if any(isinstance(event, Finished) for event in stretch):
            break
        events += stretch
    return tuple(events)


def closings(events: Iterable[Event]) -> tuple[BlockFinished, ...]:
    """Return what closes the blocks that are open after these events, as cut off."""
    blocks: set[int] = set()
    for event in events:
        match event:
            case Started() | UsageReported() | Finished():
                pass
            case BlockFinished():
                blocks.discard(event.block)
            case _:
                blocks.add(event.block)
    return tuple(BlockFinished(block, is_complete=False) for block in sorted(blocks))


def lost_record(
    header: CompletionHeader,
    events: Sequence[Event],
    failure: Failure,
    *,
    held_microcredits: int,
    is_charged: bool,
    now_s: float,
) -> CompletionRecord:
    """Return the record of a completion that failed with these events in its log.

    Args:
        held_microcredits: in all.
        is_charged: False for a team that pays nothing.
    """
    meter = TokenMeter(
        prices=header.prices,
        prompt_tokens_estimated=header.prompt_tokens_estimated,
        hold_microcredits=header.hold_microcredits,
        is_exact=True,  # It labels what is charged, and nothing is.
    )
    meter.extend(held_microcredits)
    for event in events:
        match event:
            case UsageReported():
                meter.report(event.usage)
            case Started() | BlockFinished() | Finished():
                pass
            case _:
                meter.count(event)
    usage, charge = meter.settle(Status.FAILED, was_dispatched=bool(events))
    finished = Finished(
        Status.FAILED,
        FinishReason.ERROR,
        None,
        failure,
        usage,
        charge if is_charged else charge.waived(),
        finished_at_s=now_s,
    )
    log = (*events, *closings(events), finished)
    return CompletionRecord(header, log, Timeline(finished_at_s=now_s))


_STRETCHES = JsonReader(tuple[Event, ...])
