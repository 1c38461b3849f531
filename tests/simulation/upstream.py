"""A scripted provider: each request is answered as its own story says, well or badly."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from enum import StrEnum

from actors.core.errors import Failure, FailureCode, UpstreamError
from actors.core.events import FinishReason, TextDelta, Usage, UsageReported
from actors.core.request import StartCommand
from actors.core.upstream import UpstreamBatch
from tests.simulation.processes import SimProcess
from tests.simulation.world import World

__all__ = ["SimProvider", "Story"]


class Story(StrEnum):
    WELL = "well"
    REFUSED = "refused"
    SILENT_HEAD = "no answer"
    FAILS = "an error frame in mid-stream"
    CUT = "ends without a finish reason"
    STALLS = "falls silent"
    LATE_END = "its end comes late"
    BUG = "our own decoder raises"


_CLOSE_S_MAX = 0.9
"""A closing may be given up after a second."""

_ANSWERS_S = (0.002, 0.01, 0.01, 0.03, 0.12)

_PACES_S = (0.001, 0.01, 0.05, 0.5, 1.0, 4.0)
_PACES_WEIGHTS = (5, 5, 5, 5, 5, 2)

_WEIGHTS = {
    Story.WELL: 70,
    Story.REFUSED: 6,
    Story.SILENT_HEAD: 3,
    Story.FAILS: 6,
    Story.CUT: 4,
    Story.STALLS: 4,
    Story.LATE_END: 5,
    Story.BUG: 1,
}


class SimProvider:
    """The provider as one carrier's process reaches it; `told` counts what was sent, by completion."""

    def __init__(self, world: World, process: SimProcess, told: Counter[str]) -> None:
        self._world = world
        self._process = process
        self.told = told

    def open(self, command: StartCommand) -> _SimUpstream:
        return _SimUpstream(self._world, self._process, command, self.told)


class _SimUpstream:
    def __init__(
        self, world: World, process: SimProcess, command: StartCommand, told: Counter[str]
    ) -> None:
        rng = world.rng
        self._world = world
        self._process = process
        self._command = command
        self._told = told
        self._story = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        self._segments: deque[UpstreamBatch | Exception] = deque()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()
        self._is_closed = False
        self._is_over = False
        self._pace_s = rng.choices(_PACES_S, _PACES_WEIGHTS)[0]
        # Segments of text; a slow one is long, so that much may happen to its readers.
        self._left = 4 if self._pace_s == _PACES_S[-1] else rng.choice((1, 1, 1, 2, 3))
        self._ends_at_once = rng.random() < 0.7  # in the same moment as the last of them

    async def connect(self) -> None:
        if self._story is not Story.SILENT_HEAD:
            self._world.later(self._world.rng.choice(_ANSWERS_S), self._answer)
        await self._opened

    def batches(self) -> AsyncIterator[UpstreamBatch]:
        return self

    def __aiter__(self) -> AsyncIterator[UpstreamBatch]:
        return self

    async def __anext__(self) -> UpstreamBatch:
        if self._is_over:
            raise StopAsyncIteration
        while not self._segments:
            self._news.clear()
            await self._news.wait()
        batch = self._segments.popleft()
        if isinstance(batch, Exception):
            raise batch
        self._is_over = batch.is_end or batch.failure is not None
        return batch

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            if self._world.chance(0.1):
                await self._close_slowly(self._world.rng.choice((0.001, 0.2, 1.5)))

    async def _close_slowly(self, seconds: float) -> None:
        began_s = self._world.now_s
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if self._world.now_s - began_s < _CLOSE_S_MAX:
                closing = f"the upstream of {self._command.completion_id}"
                self._world.trouble.append(f"{closing} was cut while it told its provider to stop")
            raise

    # The provider's side.

    def _answer(self) -> None:
        if self._process.is_dead or self._opened.done():
            return
        self._world.step("upstream", self._command.completion_id)
        if self._story is Story.REFUSED:
            failure = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "The provider said 503.")
            self._opened.set_exception(UpstreamError(failure))
            return
        self._opened.set_result(None)
        self._again()

    def _again(self) -> None:
        rng = self._world.rng
        self._world.later(self._pace_s * rng.choice((0.1, 1.0, 1.0, 3.0)), self._segment)

    def _segment(self) -> None:
        if self._process.is_dead or self._is_closed:
            return
        self._world.step("upstream", self._command.completion_id)
        rng = self._world.rng
        if self._left > 0:
            self._left -= 1
            tokens = rng.randrange(1, 6)
            words = " ".join(str(rng.randrange(10)) for _ in range(tokens))
            self._told[self._command.completion_id] += tokens
            self._say(UpstreamBatch((TextDelta(0, words + " ", tokens),)))
            if self._left == 0 and self._story in (Story.STALLS, Story.FAILS, Story.CUT, Story.BUG):
                self._left = -1
                if self._story is Story.STALLS:
                    return
            if self._left <= 0 and self._ends_at_once:
                self._end()
            else:
                self._again()
        else:
            self._end()

    def _end(self) -> None:
        match self._story:
            case Story.FAILS:
                failure = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "The provider broke off.")
                self._say(UpstreamBatch(failure=failure))
            case Story.CUT:
                self._say(UpstreamBatch(is_end=True))
            case Story.BUG:
                self._say(RuntimeError("planned: a decoder's bug"))
            case Story.LATE_END if self._left == 0:
                self._left = -1
                self._say(UpstreamBatch(finish_reason=FinishReason.STOP))
                self._world.later(self._world.rng.choice((1.0, 4.9, 5.0, 8.0)), self._segment)
            case Story.LATE_END:
                self._say(UpstreamBatch((self._usage(),), is_end=True))
            case _:
                self._say(UpstreamBatch((self._usage(),), None, FinishReason.STOP, is_end=True))

    def _usage(self) -> UsageReported:
        tokens = self._told[self._command.completion_id]
        return UsageReported(Usage(self._command.prompt_tokens_estimated, tokens))

    def _say(self, segment: UpstreamBatch | Exception) -> None:
        self._segments.append(segment)
        if not self._is_closed and not self._process.loop.is_dead:
            self._news.set()
