"""What is done to an instance, and how long until nobody notices it any more.

What can be struck is a `Target`: a role's processes (here) or a host (`hosts`). Each has its own loop: a
pause, a strike, and the wait until it is back; so it is hit once at a time, and different targets are at the
same time. Only processes of the instance's own group are ever sent a signal.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.benchmarks.process_group import ProcessGroup, Role
from tests.support.instance import is_alive

__all__ = ["CUT", "Condition", "Happening", "Mischief", "Processes", "ROLES", "Target"]

KILLED, STOPPED, CUT = "killed", "stopped", "cut"

ROLES = (Role.CARRIER, Role.REGISTRY, Role.LEDGER, Role.REPLICA, Role.PROXY, Role.SERVE)
"""Whose processes are struck."""

_BACK_TIMEOUT_S = 90.0
"""What is not back by then is told as not recovered."""

_POLL_S = 0.1
_STOPS_S = (1.0, 10.0)

Condition = Callable[[], Awaitable[bool]]


class Target(Protocol):
    """Something that can be struck in one or several ways, `acts`."""

    @property
    def name(self) -> str: ...

    @property
    def acts(self) -> Sequence[str]: ...

    async def strike(self, act: str, dice: random.Random) -> Condition | None:
        """Do it, and undo it where it is one that passes; None where there is nothing to strike.

        Returns: whether the target is back, to be asked from then on.
        Cancel: it is undone.
        """
        ...


@dataclass(slots=True)
class Happening:
    """One strike. `recovered_s` is None until, and unless, all is well again.

    Times are wall clock. What passes is counted from its passing: before, nothing can recover.
    """

    fault: str
    at_s: float
    counted_from_s: float = 0.0
    recovered_s: float | None = None

    @property
    def recovery_s(self) -> float | None:
        return (
            None if self.recovered_s is None else max(0.0, self.recovered_s - self.counted_from_s)
        )

    def touched(self, began_s: float, ended_s: float) -> bool:
        """Whether what lived then lived through it."""
        until_s = self.recovered_s or float("inf")
        return began_s <= until_s and ended_s >= self.at_s


class Mischief:
    """Strikes for as long as it runs.

    Args:
        is_well: whether a small completion is answered at this moment.
        pause_s: about how long each target is left alone in between.
        at_once: how many strikes may be on their way, or not recovered from, at one moment.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        is_well: Condition,
        *,
        seed: int,
        pause_s: float,
        at_once: int,
    ) -> None:
        self._targets = targets
        self._is_well = is_well
        self._seed = seed
        self._pause_s = pause_s
        self._room = asyncio.Semaphore(at_once)
        self.happened: list[Happening] = []

    @property
    def faults(self) -> tuple[str, ...]:
        """All that it does, as rows are named."""
        return tuple(f"{target.name} {act}" for target in self._targets for act in target.acts)

    async def run(self, until_s: float) -> None:
        """Strike until that moment of the monotonic clock; all is over then, or given up."""
        async with asyncio.TaskGroup() as tasks:
            for target in self._targets:
                tasks.create_task(self._vex(target, until_s))

    async def _vex(self, target: Target, until_s: float) -> None:
        dice = random.Random(f"{self._seed}/{target.name}")
        count = 0
        while True:
            await asyncio.sleep(dice.uniform(0.5, 1.5) * self._pause_s)
            async with self._room:
                if time.monotonic() >= until_s:
                    return
                # In turn, so that each is done as often as the others.
                await self._strike(target, target.acts[count % len(target.acts)], dice)
            count += 1

    async def _strike(self, target: Target, act: str, dice: random.Random) -> None:
        happening = Happening(f"{target.name} {act}", time.time())
        is_back = await target.strike(act, dice)
        if is_back is None:
            return
        happening.counted_from_s = time.time() if act != KILLED else happening.at_s
        self.happened.append(happening)
        deadline_s = time.monotonic() + _BACK_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if await is_back() and await self._is_well():
                happening.recovered_s = time.time()
                return
            await asyncio.sleep(_POLL_S)


class Processes:
    """The processes of a role, one of which is struck."""

    acts = (KILLED, STOPPED)

    def __init__(self, role: Role, group: ProcessGroup) -> None:
        self._role = role
        self._group = group

    @property
    def name(self) -> str:
        return self._role.value

    async def strike(self, act: str, dice: random.Random) -> Condition | None:
        pids = sorted((await self._by_role()).get(self._role, ()))
        if not pids:
            return None
        pid = dice.choice(pids)
        if act == STOPPED:
            await _stop_for(pid, dice.uniform(*_STOPS_S))
            return _at_once
        _signal(pid, signal.SIGKILL)

        async def is_back() -> bool:
            if is_alive(pid):
                return False
            # Of carriers as many are started as are needed; of proxies there are more for a while, since
            # each reload, and each stand-in, leaves an old one to its connections.
            count = 0 if self._role in (Role.CARRIER, Role.PROXY) else len(pids)
            return len((await self._by_role()).get(self._role, ())) >= count

        return is_back

    async def _by_role(self) -> Mapping[Role, list[int]]:
        return await asyncio.to_thread(self._group.by_role)


async def _at_once() -> bool:
    return True


async def _stop_for(pid: int, seconds: float) -> None:
    _signal(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # It had ended by itself, or was killed as another's part.
