"""What is done to the processes of an instance, and how long until nobody notices it any more.

Each role has its own loop: a pause, a kill or a stop of one of its processes, and the wait until it is back;
so a role is hit once at a time, and different roles at the same time. Only processes that carry the
instance's mark are ever sent a signal.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.benchmarks.process_group import ProcessGroup, Role
from tests.support.instance import is_alive

__all__ = ["FAULTS", "Act", "Fault", "Happening", "Mischief"]

_BACK_TIMEOUT_S = 60.0
"""What is not back by then is told as not recovered."""

_POLL_S = 0.1
_STOPS_S = (1.0, 10.0)


class Act(StrEnum):
    KILLED = "killed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table."""

    role: Role
    act: Act

    @property
    def name(self) -> str:
        return f"{self.role.value} {self.act.value}"


FAULTS = tuple(
    Fault(role, act)
    for role in (
        Role.CARRIER,
        Role.REGISTRY,
        Role.LEDGER,
        Role.REPLICA,
        Role.PROXY,
        Role.SERVE,
    )
    for act in Act
)


@dataclass(slots=True)
class Happening:
    """One fault that was done. `recovered_s` is None until, and unless, all is well again.

    Times are wall clock. A stopped process is counted from its going on: before, it cannot recover.
    """

    fault: Fault
    pid: int
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
    """Does the faults for as long as it runs.

    Args:
        group: the instance's processes.
        is_well: whether a small completion is answered at this moment.
        pause_s: about how long each role is left alone in between.
    """

    def __init__(
        self,
        group: ProcessGroup,
        is_well: Callable[[], Awaitable[bool]],
        *,
        seed: int,
        faults: tuple[Fault, ...] = FAULTS,
        pause_s: float,
    ) -> None:
        self._group = group
        self._is_well = is_well
        self._seed = seed
        self._faults = faults
        self._pause_s = pause_s
        self.happened: list[Happening] = []

    async def run(self, until_s: float) -> None:
        """Do faults until that moment of the monotonic clock; all of them are over then, or given up.

        Cancel: whatever is stopped goes on.
        """
        roles = dict.fromkeys(fault.role for fault in self._faults)
        async with asyncio.TaskGroup() as tasks:
            for role in roles:
                acts = [fault for fault in self._faults if fault.role is role]
                tasks.create_task(self._vex(role, acts, until_s))

    async def _vex(self, role: Role, faults: list[Fault], until_s: float) -> None:
        dice = random.Random(f"{self._seed}/{role}")
        # In turn, so that each is done as often as the others.
        for count in range(1_000_000):
            await asyncio.sleep(dice.uniform(0.5, 1.5) * self._pause_s)
            if time.monotonic() >= until_s:
                return
            fault = faults[count % len(faults)]
            before = await self._pids()
            pids = sorted(before.get(role, ()))
            if pids:
                await self._do(fault, dice.choice(pids), len(pids), dice)

    async def _do(self, fault: Fault, pid: int, count: int, dice: random.Random) -> None:
        happening = Happening(fault, pid, time.time())
        self.happened.append(happening)
        if fault.act is Act.KILLED:
            _signal(pid, signal.SIGKILL)
        else:
            await _stop_for(pid, dice.uniform(*_STOPS_S))
        happening.counted_from_s = time.time()
        deadline_s = time.monotonic() + _BACK_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if await self._is_back(fault, pid, count) and await self._is_well():
                happening.recovered_s = time.time()
                return
            await asyncio.sleep(_POLL_S)

    async def _is_back(self, fault: Fault, pid: int, count: int) -> bool:
        if fault.act is Act.STOPPED:
            return True
        if is_alive(pid):
            return False
        if fault.role is Role.CARRIER:
            return True  # As many of them as are needed are started; others carry on meanwhile.
        return len((await self._pids()).get(fault.role, ())) >= count

    async def _pids(self) -> Mapping[Role, list[int]]:
        return await asyncio.to_thread(self._group.by_role)


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
