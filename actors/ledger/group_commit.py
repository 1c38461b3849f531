"""Group commit: operations that come while a commit runs travel in the next one, together.

It owns the queue and the writing thread. It does not know what an operation is.

Rules:

1. Idle, it commits at once: the first operation waits for nothing but the other operations of its
   own loop turn. Busy, it gathers: whatever came meanwhile is the next batch.
2. A caller is answered after the commit that has its operation, never before.
3. The queue is bounded: at the bound an operation is refused with `Overloaded`, unseen.
4. A batch that could not be committed refuses all its callers with `Overloaded`. Whether it is in
   the store is then unknown to them, so they ask again: every operation is idempotent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from actors.core.errors import CompletionRuntimeError, Overloaded

__all__ = ["BATCH_MAX", "QUEUE_MAX", "GroupCommit"]

_log = logging.getLogger(__name__)

BATCH_MAX = 256
"""Operations of one commit; bounds how long the next caller waits behind it."""

QUEUE_MAX = 8_192
"""Operations that wait; at some 2,000 a second that is all that a caller's patience holds."""

Operation = TypeVar("Operation")


class GroupCommit(Generic[Operation]):
    """Runs `apply` over batches, in a thread of its own, one batch at a time.

    Args:
        apply: takes the operations of a batch and returns an outcome for each, after the commit; an
            exception means that the batch was not committed.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[Operation]], list[Any]],
        *,
        batch_max: int = BATCH_MAX,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        self._apply = apply
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._queue: deque[tuple[Operation, asyncio.Future[Any]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-writer")
        self._runner: asyncio.Task[None] | None = None
        self._is_closed = False
        self.batches = 0
        self.operations = 0

    def __repr__(self) -> str:
        return (
            f"<GroupCommit waiting={len(self._queue)} batches={self.batches} "
            f"operations={self.operations}>"
        )

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def submit(self, operation: Operation) -> Any:
        """Commit one operation.

        Returns: its outcome.
        Raises: the outcome, where that is an error.
        Cancel: the operation is carried out all the same.
        """
        outcome = await self._enqueue(operation)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def submit_many(self, operations: Sequence[Operation]) -> list[Any]:
        """Commit operations, in this order; return an outcome or an error for each.

        Cancel: they are carried out all the same.
        """
        futures = [self._enqueue(operation) for operation in operations]
        return [await future for future in futures]

    async def aclose(self) -> None:
        """Refuse new operations, commit those that wait, end the thread. Idempotent."""
        self._is_closed = True
        while self._runner is not None:
            await asyncio.wait({self._runner})
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    def _enqueue(self, operation: Operation) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._is_closed:
            future.set_result(Overloaded("The ledger is closed."))
        elif len(self._queue) >= self._queue_max:
            future.set_result(Overloaded("Too many operations wait for the ledger."))
        else:
            self._queue.append((operation, future))
            if self._runner is None:
                # The task's first step comes after this turn of the loop: its other calls join.
                self._runner = loop.create_task(self._run())
        return future

    async def _run(self) -> None:
        try:
            while self._queue:
                size = min(len(self._queue), self._batch_max)
                await self._commit([self._queue.popleft() for _ in range(size)])
        finally:
            self._runner = None

    async def _commit(self, batch: list[tuple[Operation, asyncio.Future[Any]]]) -> None:
        loop = asyncio.get_running_loop()
        operations = [operation for operation, _ in batch]
        outcomes: Sequence[Any]
        try:
            outcomes = await loop.run_in_executor(self._thread, self._apply, operations)
        except Exception as error:
            # Only the kind of error: a database's message may quote what it was given.
            _log.error("a batch of %d was not committed: %s", len(batch), type(error).__name__)
            outcomes = [_not_committed(error)] * len(batch)
        self.batches += 1
        self.operations += len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if not future.done():  # A caller that was cancelled left a future that is.
                future.set_result(outcome)


def _not_committed(error: Exception) -> CompletionRuntimeError:
    return Overloaded(f"The ledger could not commit ({type(error).__name__}).")
