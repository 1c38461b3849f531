"""An answer on its way: frames on a schedule, until its end or until the client leaves.

Owns pacing, and what is counted as sent. Whatever is due goes in one write. A stream has one task, one
timer and no queue, however many tokens it has.

A token is counted when its frame was handed to the transport of a client that had not been seen to
leave. What comes before the first token travels with it, as a real
model's does.
"""

from __future__ import annotations

import asyncio
import time

from actors.simulator.connection import SimulatedConnection
from actors.simulator.frames import FAILURE, Frames, UsageCount
from actors.simulator.log import RequestEntry
from actors.simulator.models import Ending, SimulatedModel
from actors.simulator.request import Ask
from actors.simulator.schedule import Schedule
from actors.simulator.wires.base import Heading, Wire

__all__ = ["PROPER_ENDS", "SILENCE_MAX_S", "STREAM_HEADERS", "send_completion", "stream_completion"]

SILENCE_MAX_S = 3600.0  # then a silent connection is closed
SEGMENT_PAUSE_S = 0.002  # so that two segments of one frame are read one by one

STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
)
PROPER_ENDS = frozenset({Ending.FINISH, Ending.ERROR_FRAME, Ending.CLEAN_EOF})
"""Endings after which the body is whole; after the others the connection closes in mid-body."""


async def stream_completion(
    connection: SimulatedConnection, wire: Wire, model: SimulatedModel, ask: Ask
) -> None:
    """Send the answer as a stream; returns at its end or when the client has left."""
    entry = connection.entry
    frames = Frames(entry, wire.writer(_heading(entry, ask)), model, ask)
    schedule = Schedule(model)
    await connection.start(200, STREAM_HEADERS)
    while entry.is_open:
        tokens_due = schedule.tokens_due()
        if tokens_due <= entry.tokens_sent and not frames.are_over:
            await connection.wait(schedule.due_in_s(entry.tokens_sent))
            continue
        start = b"" if frames.deltas_taken or frames.are_over else frames.start()
        body = start + frames.take(tokens_due)
        is_last = frames.are_over and model.ending in PROPER_ENDS
        if model.is_split:
            body = await _write_split(connection, body)
        await connection.write(body, is_last=is_last)
        _count_sent(entry, frames)
        if frames.are_over:
            break
        if schedule.is_unpaced:
            await asyncio.sleep(0)  # A long answer lets the others go on.
    if model.ending is Ending.SILENCE:
        await connection.wait(SILENCE_MAX_S)


async def _write_split(connection: SimulatedConnection, body: bytes) -> bytes:
    """Write segments that end within characters; returns the last one, which is not written."""
    start = 0
    for position, byte in enumerate(body):
        if byte >= 0xC0:  # The first byte of a character of several.
            await connection.write(body[start : position + 1])
            await connection.wait(SEGMENT_PAUSE_S)
            start = position + 1
    return body[start:]


async def send_completion(
    connection: SimulatedConnection, wire: Wire, model: SimulatedModel, ask: Ask
) -> None:
    """Send the answer as one body, when its last token is due."""
    entry = connection.entry
    deltas = list(entry.answer)
    tokens = sum(delta.tokens for delta in deltas)
    schedule = Schedule(model)
    await connection.wait(max(0.0, schedule.due_in_s(tokens - 1)))
    if model.ending is Ending.SILENCE:
        await connection.wait(SILENCE_MAX_S)
    if not entry.is_open:
        return
    if model.ending is not Ending.FINISH:
        await connection.answer_json(FAILURE.status, wire.error_body(FAILURE))
        return
    usage = UsageCount(entry.prompt_tokens)
    for delta in deltas:
        usage.add(delta)
    reason = entry.answer.finish_reason
    body = wire.body(_heading(entry, ask), deltas, reason, usage.figures())
    entry.first_token_at = time.time()
    await connection.answer_json(200, body)
    entry.tokens_sent, entry.deltas_sent = tokens, len(deltas)


def _count_sent(entry: RequestEntry, frames: Frames) -> None:
    if not entry.is_open:
        return
    if entry.first_token_at is None and frames.tokens_taken:
        entry.first_token_at = time.time()
    entry.tokens_sent = frames.tokens_taken
    entry.deltas_sent = frames.deltas_taken


def _heading(entry: RequestEntry, ask: Ask) -> Heading:
    return Heading(entry.completion_id or "simulated", ask.model, entry.opened_at, ask)
