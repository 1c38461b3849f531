"""A process that keeps a ledger busy and says what was acknowledged, until it is killed.

`python -m tests.support.ledger_load URL ROUND`: prints `placed N` when the holds of group N are
acknowledged, all of one transaction, and `settled N` when the first half of them is settled.
The completions of group N are `cmp_ROUND_N_0` to `cmp_ROUND_N_7`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Sequence

from actors.core.errors import CompletionRuntimeError
from actors.ledger.service import LedgerService
from actors.ledger.store import Store
from actors.ports.ledger import HoldPlacement, Settlement, TeamLimits
from actors.settings import Settings
from tests.support.books import completed, header

GROUP = 8
HOLD_MICROCREDITS = 10_000
CREDITS = 10**12

_CALLERS = 6


async def main(url: str, round_: str) -> None:
    service = LedgerService(Store(url), settings=Settings(), clock=time.time)
    await service.create_team("acme", "org_acme", credits_microcredits=CREDITS, limits=TeamLimits())
    key = await service.create_key("acme", "load")
    numbers = itertools.count()

    async def keep_busy() -> None:
        for number in numbers:
            heads = [
                header(
                    completion_id=f"cmp_{round_}_{number}_{index}",
                    wire_id=f"{round_}_{number}_{index}",
                    hold_microcredits=HOLD_MICROCREDITS,
                )
                for index in range(GROUP)
            ]
            _check(
                await service.place_many(
                    [HoldPlacement(head, key.key_id, time.time() + 900) for head in heads]
                )
            )
            _say(f"placed {number}")
            half = [Settlement(completed(head, tokens=3)) for head in heads[: GROUP // 2]]
            _check(await service.settle_many(half))
            _say(f"settled {number}")

    await asyncio.gather(*(keep_busy() for _ in range(_CALLERS)))


def _say(line: str) -> None:
    # One write per line: a kill cuts between lines and not inside one.
    os.write(1, f"{line}\n".encode())


def _check(outcomes: Sequence[object]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, CompletionRuntimeError):
            raise outcome


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
