"""Group commit: changes that come while a commit runs travel in the next one, together.

It owns the queue before the writing thread. It does not know what a change is.

Rules:

1. Idle, it commits at once: the first change waits for nothing but the others of its own loop turn.
   Busy, it gathers: whatever came meanwhile, and a millisecond later, is the next batch.
2. A caller is answered after the commit that has its change, never before.
3. The queue is bounded: at the bound a change is refused with `LedgerBusy`, unseen.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Generic, TypeVar

from actors.core.errors import IllegalTransition, LedgerBusy

__all__ = ["BATCH_MAX", "QUEUE_MAX", "GroupCommit"]

_log = logging.getLogger(__name__)

BATCH_MAX = 256
"""Changes of one commit; bounds how long the next caller waits behind it."""

QUEUE_MAX = 8_192
"""Changes that wait; at some 2,000 a second that is all that a caller's patience holds."""

_GATHER_S = 0.001
_BUSY_FROM = 4
"""After a batch of so many changes the next is gathered for a moment: its callers wait behind each other
anyhow, and each commit costs as much as several changes."""

C = TypeVar("C")


class GroupCommit(Generic[C]):
    """Runs `apply` over batches of changes, in a thread, one batch at a time.

    Args:
        apply: takes the changes of a batch and returns an outcome for each, after the commit.
        thread: of one worker, for this alone; whoever made it shuts it down after `aclose`.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[C]], list[Any]],
        thread: Executor,
        *,
        batch_max: int = BATCH_MAX,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        self._apply = apply
        self._thread = thread
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._queue: deque[tuple[C, asyncio.Future[Any]]] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._is_closed = False
        self._is_busy = False
        self.batches = 0
        self.changes = 0

    def __repr__(self) -> str:
        return (
            f"<GroupCommit waiting={len(self._queue)} batches={self.batches} "
            f"changes={self.changes}>"
        )

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def submit(self, change: C) -> Any:
        """Commit one change.

        Returns: its outcome.
        Raises: the outcome, where that is an error.
        Cancel: the change is made all the same.
        """
        if self._is_closed:
            raise LedgerBusy("The ledger is closed.")
        if len(self._queue) >= self._queue_max:
            raise LedgerBusy("Too many changes wait for the ledger.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.append((change, future))
        if self._runner is None:
            # The task's first step comes after this turn of the loop: its other calls join.
            self._runner = loop.create_task(self._run())
        outcome = await future
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        """Refuse new changes, and commit those that wait. Idempotent."""
        self._is_closed = True
        while self._runner is not None:
            await asyncio.wait({self._runner})

    async def _run(self) -> None:
        try:
            while self._queue:
                if self._is_busy and len(self._queue) < self._batch_max:
                    await asyncio.sleep(_GATHER_S)
                size = min(len(self._queue), self._batch_max)
                await self._commit([self._queue.popleft() for _ in range(size)])
                self._is_busy = size >= _BUSY_FROM
        finally:
            self._runner = None

    async def _commit(self, batch: list[tuple[C, asyncio.Future[Any]]]) -> None:
        changes = [change for change, _ in batch]
        outcomes: Sequence[Any]
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._apply, changes
            )
        except Exception:
            # `apply` answers for all that a store or a change can do: this is its own bug.
            _log.exception("a batch of %d has no outcome", len(batch))
            outcomes = [IllegalTransition("The ledger failed.")] * len(batch)
        self.batches += 1
        self.changes += len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if not future.done():  # A caller that was cancelled left a future that is.
                future.set_result(outcome)
