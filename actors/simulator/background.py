"""Answers that go on without their connection: made in the background, kept, read again, cancelled.

Owns their progress and for how long they are kept. An answer in the background has no task and keeps
no frames: a timer says when its next tokens are due, and a reader renders them anew, since frames are a
fold over the answer. What is produced counts as sent, whether anybody reads it or not.

Bounds: `ANSWERS_MAX` are kept, each for `KEPT_S` from its start; the oldest is dropped first, and is ended
when it still runs. No answer runs for longer than `RUNNING_S_MAX`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from typing import Protocol

from actors.core.events import Delta, FinishReason, Usage
from actors.simulator.frames import UsageCount
from actors.simulator.log import ClosedBy, RequestEntry
from actors.simulator.models import Ending, SimulatedModel
from actors.simulator.request import Ask
from actors.simulator.schedule import Schedule
from actors.simulator.wires.base import Heading

__all__ = ["ANSWERS_MAX", "KEPT_S", "BackgroundAnswer", "BackgroundAnswers", "Progress"]

ANSWERS_MAX = 4096
KEPT_S = 3600.0
RUNNING_S_MAX = 3600.0
DELTAS_PER_STEP = 1024  # of a model without pace: a long answer lets the others go on


class Progress(StrEnum):
    """How far an answer is; the last three are for ever."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class _Reader(Protocol):
    def wake(self) -> None: ...


class BackgroundAnswer:
    """One answer, which starts when it is made, within a running loop.

    Its `entry` in the log is closed by the server when it ends, and by `ClosedBy.CANCEL` when a
    request of its own ends it; after that `tokens_sent` stands still.
    """

    def __init__(self, heading: Heading, model: SimulatedModel, entry: RequestEntry) -> None:
        self.heading = heading
        self.model = model
        self.entry = entry
        self.progress = Progress.RUNNING
        self.ended_at_s: float | None = None
        self._deltas = iter(entry.answer)
        self._next = next(self._deltas, None)
        self._readers: set[_Reader] = set()
        self._schedule = Schedule(model)
        self._loop = asyncio.get_running_loop()
        self._expires_at = self._loop.time() + RUNNING_S_MAX
        self._timer = self._loop.call_later(self._delay_s(), self._step)

    @property
    def is_running(self) -> bool:
        return self.progress is Progress.RUNNING

    @property
    def finish_reason(self) -> FinishReason:
        """The reason with which a completed answer ends."""
        return self.entry.answer.finish_reason

    def deltas(self) -> Iterator[Delta]:
        """Return what was produced so far."""
        return islice(self.entry.answer, self.entry.deltas_sent)

    def usage(self) -> Usage | None:
        """Return the figures so far, None of a model that reports none."""
        if not self.model.reports_usage:
            return None
        count = UsageCount(self.entry.prompt_tokens)
        for delta in self.deltas():
            count.add(delta)
        return count.figures()

    def cancel(self) -> None:
        """End it now; one that has ended stays as it is."""
        self._end(Progress.CANCELLED, ClosedBy.CANCEL)

    def drop(self) -> None:
        """End it now, since it is kept no longer."""
        self._end(Progress.FAILED, ClosedBy.SERVER)

    def add_reader(self, reader: _Reader) -> None:
        """Wake the reader whenever there is more, until `remove_reader`."""
        self._readers.add(reader)

    def remove_reader(self, reader: _Reader) -> None:
        self._readers.discard(reader)

    def _step(self) -> None:
        self._produce(self._schedule.tokens_due())
        if self._next is None and self.model.ending is not Ending.SILENCE:
            is_proper = self.model.ending is Ending.FINISH
            self._end(Progress.COMPLETED if is_proper else Progress.FAILED, ClosedBy.SERVER)
        elif self._loop.time() >= self._expires_at:
            self.drop()
        else:
            self._timer = self._loop.call_later(self._delay_s(), self._step)
            self._wake()

    def _produce(self, tokens_due: int) -> None:
        entry = self.entry
        deltas_max = entry.deltas_sent + DELTAS_PER_STEP
        while (delta := self._next) is not None and entry.tokens_sent < tokens_due:
            if entry.deltas_sent >= deltas_max:
                break
            entry.tokens_sent += delta.tokens
            entry.deltas_sent += 1
            self._next = next(self._deltas, None)
        if entry.first_token_at is None and entry.tokens_sent:
            entry.first_token_at = time.time()

    def _delay_s(self) -> float:
        left_s = max(0.0, self._expires_at - self._loop.time())
        if self._next is None and self.model.ending is Ending.SILENCE:
            return left_s
        return min(left_s, self._schedule.due_in_s(self.entry.tokens_sent))

    def _end(self, progress: Progress, by: ClosedBy) -> None:
        if not self.is_running:
            return
        self._timer.cancel()
        self.progress = progress
        self.ended_at_s = time.time()
        self.entry.close(by, at=self.ended_at_s)
        self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()


class BackgroundAnswers:
    """The answers that are kept, by their `heading.answer_id`, the oldest first."""

    def __init__(self, *, answers_max: int = ANSWERS_MAX) -> None:
        self._answers_max = answers_max
        self._answers: dict[str, BackgroundAnswer] = {}
        self._started = 0

    def start(self, entry: RequestEntry, model: SimulatedModel, ask: Ask) -> BackgroundAnswer:
        """Begin to answer; the entry has what the model says."""
        self._started += 1
        # Two requests of one completion are two answers.
        answer_id = f"{entry.completion_id or 'simulated'}-{self._started}"
        heading = Heading(answer_id, ask.model, entry.opened_at, ask)
        self._drop_expired()
        while len(self._answers) >= self._answers_max:
            self._drop_oldest()
        answer = self._answers[answer_id] = BackgroundAnswer(heading, model, entry)
        return answer

    def find(self, answer_id: str) -> BackgroundAnswer | None:
        self._drop_expired()
        return self._answers.get(answer_id)

    def delete(self, answer_id: str) -> bool:
        """Forget an answer, and cancel one that runs; returns whether there was one."""
        self._drop_expired()
        answer = self._answers.pop(answer_id, None)
        if answer is None:
            return False
        answer.cancel()
        return True

    def _drop_expired(self) -> None:
        before = time.time() - KEPT_S
        while self._answers and next(iter(self._answers.values())).entry.opened_at < before:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        answer_id = next(iter(self._answers))
        self._answers.pop(answer_id).drop()
