"""An answer on its way: frames on a schedule, until its end or until the client leaves.

Owns pacing, and what is counted as sent. The schedule is absolute: the token after k others is due
at start + first_token_delay_s + k / tokens_per_s, and whatever is due goes in one write, so that
lateness never adds up. A stream has one task, one timer and no queue, however many tokens it has.

A token is counted when its frame was handed to the transport of a client that had not been seen to
leave. The first frame, which has the role, travels with the first token, as a real model's does.
"""

from __future__ import annotations

import asyncio
import time

from actors.core.events import Delta, ReasoningDelta, TextDelta, Usage
from actors.simulator.connection import Connection
from actors.simulator.log import RequestEntry
from actors.simulator.models import OUTPUT_TOKENS_MAX, Ending, SimulatedModel
from actors.simulator.request import Ask, Fault
from actors.simulator.wires.base import Heading, Wire

__all__ = ["SILENCE_MAX_S", "send_completion", "stream_completion"]

FRAMES_PER_WRITE = 128  # about 25 KB, below the transport's high-water mark of 64 KB
EARLY_S = 0.001  # the event loop's timers may fire so much early; to wait again would spin
SILENCE_MAX_S = 3600.0  # then a silent connection is closed
SEGMENT_PAUSE_S = 0.002  # so that two segments of one frame are read one by one

_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
)
_FAILURE = Fault(
    "The simulated model failed, as it always does.", 500, None, "simulated_failure", "server_error"
)

_PROPER_ENDS = frozenset({Ending.FINISH, Ending.ERROR_FRAME, Ending.CLEAN_EOF})
"""Endings after which the body is whole; after the others the connection closes in mid-body."""


async def stream_completion(
    connection: Connection, wire: Wire, model: SimulatedModel, ask: Ask
) -> None:
    """Send the answer as a stream; returns at its end or when the client has left."""
    entry = connection.entry
    frames = _Frames(entry, wire, model, ask)
    schedule = _Schedule(model)
    await connection.start(200, _STREAM_HEADERS)
    while entry.is_open:
        tokens_due = schedule.tokens_due()
        if tokens_due <= entry.tokens_sent and not frames.are_over:
            await connection.wait(schedule.due_in_s(entry.tokens_sent))
            continue
        body = frames.take(tokens_due)
        is_last = frames.are_over and model.ending in _PROPER_ENDS
        if model.is_split:
            body = await _write_split(connection, body)
        await connection.write(body, is_last=is_last)
        frames.count_sent()
        if frames.are_over:
            break
        if schedule.is_unpaced:
            await asyncio.sleep(0)  # A long answer lets the others go on.
    if model.ending is Ending.SILENCE:
        await connection.wait(SILENCE_MAX_S)


async def _write_split(connection: Connection, body: bytes) -> bytes:
    """Write segments that end within characters; returns the last one, which is not written."""
    start = 0
    for position, byte in enumerate(body):
        if byte >= 0xC0:  # The first byte of a character of several.
            await connection.write(body[start : position + 1])
            await connection.wait(SEGMENT_PAUSE_S)
            start = position + 1
    return body[start:]


async def send_completion(
    connection: Connection, wire: Wire, model: SimulatedModel, ask: Ask
) -> None:
    """Send the answer as one body, when its last token is due."""
    entry = connection.entry
    deltas = list(entry.answer)
    tokens = sum(delta.tokens for delta in deltas)
    schedule = _Schedule(model)
    await connection.wait(max(0.0, schedule.due_in_s(tokens - 1)))
    if model.ending is Ending.SILENCE:
        await connection.wait(SILENCE_MAX_S)
    if not entry.is_open:
        return
    if model.ending is not Ending.FINISH:
        await connection.answer_json(_FAILURE.status, wire.error_body(_FAILURE))
        return
    usage = _UsageCount(entry.prompt_tokens)
    for delta in deltas:
        usage.add(delta)
    reason = entry.answer.finish_reason
    body = wire.body(_heading(entry, ask), deltas, reason, usage.figures())
    entry.first_token_at = time.time()
    await connection.answer_json(200, body)
    entry.tokens_sent, entry.deltas_sent = tokens, len(deltas)


class _UsageCount:
    """The provider's own figures of an answer, as far as it went."""

    __slots__ = ("_completion_tokens", "_prompt_tokens", "_reasoning_tokens")

    def __init__(self, prompt_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._completion_tokens = 0
        self._reasoning_tokens = 0

    def add(self, delta: Delta) -> None:
        if isinstance(delta, ReasoningDelta):
            self._reasoning_tokens += delta.tokens
        else:
            self._completion_tokens += delta.tokens

    def figures(self) -> Usage:
        return Usage(self._prompt_tokens, self._completion_tokens, self._reasoning_tokens)


class _Schedule:
    """When the tokens of an answer are due; it starts when it is made."""

    def __init__(self, model: SimulatedModel) -> None:
        self._start_s = time.monotonic() + model.first_token_delay_s
        self._tokens_per_s = model.tokens_per_s or 0.0
        self.is_unpaced = model.tokens_per_s is None

    def tokens_due(self) -> int:
        """Return how many tokens should have been sent by now."""
        elapsed_s = time.monotonic() + EARLY_S - self._start_s
        if elapsed_s < 0:
            return 0
        return OUTPUT_TOKENS_MAX if self.is_unpaced else int(elapsed_s * self._tokens_per_s) + 1

    def due_in_s(self, tokens_before: int) -> float:
        """Return how long the token after so many has still to wait, 0 when it is due."""
        offset_s = 0.0 if self.is_unpaced else tokens_before / self._tokens_per_s
        return max(0.0, self._start_s + offset_s - time.monotonic())


class _Frames:
    """The frames of one answer, taken as they come due.

    `take` renders, `count_sent` says that what was taken last has been handed to the transport.
    """

    def __init__(self, entry: RequestEntry, wire: Wire, model: SimulatedModel, ask: Ask) -> None:
        self._entry = entry
        self._ending = model.ending
        self._has_running_usage = ask.has_running_usage and model.reports_usage
        self._has_usage = (ask.has_usage or ask.has_running_usage) and model.reports_usage
        self._writer = wire.writer(_heading(entry, ask))
        self._usage = _UsageCount(entry.prompt_tokens)
        self._deltas = iter(entry.answer)
        self._next = next(self._deltas, None)
        self._tokens_taken = 0
        self._deltas_taken = 0

    @property
    def are_over(self) -> bool:
        """Whether the last frame was taken, or there are none but the end."""
        return self._next is None

    def take(self, tokens_due: int) -> bytes:
        """Return the frames that are due, with the answer's end where they are the last."""
        frames = []
        if self._next is not None and not self._deltas_taken:
            frames.append(self._writer.start(self._usage.figures()))
        while self._next is not None and self._tokens_taken < tokens_due:
            if len(frames) >= FRAMES_PER_WRITE:
                break
            frames.append(self._frame(self._next))
            self._tokens_taken += self._next.tokens
            self._deltas_taken += 1
            self._next = next(self._deltas, None)
        if self._next is None:
            frames.append(self._end())
        return b"".join(frames)

    def count_sent(self) -> None:
        entry = self._entry
        if not entry.is_open:
            return
        if entry.first_token_at is None and self._tokens_taken:
            entry.first_token_at = time.time()
        entry.tokens_sent = self._tokens_taken
        entry.deltas_sent = self._deltas_taken

    def _frame(self, delta: Delta) -> bytes:
        self._usage.add(delta)
        usage = self._usage.figures() if self._has_running_usage else None
        return self._writer.delta(delta, usage)

    def _end(self) -> bytes:
        match self._ending:
            case Ending.FINISH:
                usage = self._usage.figures() if self._has_usage else None
                return self._writer.finish(self._entry.answer.finish_reason, usage)
            case Ending.ERROR_FRAME:
                return self._writer.failure(_FAILURE)
            case Ending.HALF_FRAME:
                frame = self._writer.delta(TextDelta(0, " half", 1), None)
                return frame[: len(frame) // 2]
        return b""


def _heading(entry: RequestEntry, ask: Ask) -> Heading:
    return Heading(entry.completion_id or "simulated", ask.model, entry.opened_at, ask)
