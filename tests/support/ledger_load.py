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

from actors.ledger.service import LedgerService
from actors.ledger.store import Store
from actors.ports.ledger import HoldPlacement, Settlement
from actors.settings import Settings
from tests.support.ledger import completed, header

GROUP = 8
HOLD_MICROCREDITS = 10_000
CREDITS = 10**12

_CALLERS = 6


async def main(url: str, round_: str) -> None:
    service = LedgerService(Store(url), settings=Settings(), clock=time.time)
    await service.create_team("acme", "org_acme", credits_microcredits=CREDITS)
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
            expires_at_s = time.time() + 900
            await asyncio.gather(
                *(service.place(HoldPlacement(head, key.key_id, expires_at_s)) for head in heads)
            )
            _say(f"placed {number}")
            half = [Settlement.of(completed(head, tokens=3)) for head in heads[: GROUP // 2]]
            await asyncio.gather(*map(service.settle, half))
            _say(f"settled {number}")

    await asyncio.gather(*(keep_busy() for _ in range(_CALLERS)))


def _say(line: str) -> None:
    # One write per line: a kill cuts between lines and not inside one.
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
