"""SIGKILL in mid-load, three times on one store: nothing acknowledged is lost, no batch is half there.

Method: a process places holds in groups, each group one transaction, settles half of each, and
prints what was acknowledged. It is killed without warning while it does; the store is opened again,
and what it says is held against what was printed.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter

from actors.ledger.store import Store, records
from tests.support.instance import killed_after
from tests.support.ledger import TEAM, open_ledger, store_url
from tests.support.ledger_load import CREDITS, GROUP
from tests.support.postgres import postgres_server

__all__ = ["postgres_server", "store_url"]

_CHARGE = 12 * 75 + 3 * 450


def _load_and_kill(url: str, round_: int, lines: int) -> tuple[set[int], set[int]]:
    """Return the groups that were acknowledged as placed and as settled."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.ledger_load", url, str(round_)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        with killed_after(process, 60):
            said = [process.stdout.readline() for _ in range(lines)]
        assert said[-1], f"it has not said {lines} lines within 60 s"
    finally:
        process.kill()
        rest, _ = process.communicate(timeout=30)
    # What was written before the kill was acknowledged, whenever we read it.
    said += rest.splitlines(keepends=True)
    words = [line.split() for line in said if line.endswith("\n")]
    placed = {int(number) for what, number in words if what == "placed"}
    settled = {int(number) for what, number in words if what == "settled"}
    assert settled, "the load had not begun when it was killed"
    return placed, settled


def _statuses(url: str, round_: int) -> dict[int, Counter[str]]:
    """Return how many completions of each group have which status."""
    store = Store(url)
    found: dict[int, Counter[str]] = {}
    with store.read() as connection:
        rows = connection.exec_driver_sql("SELECT completion_id, status FROM completions").all()
        for completion_id, status in rows:
            _, row_round, number, _ = completion_id.split("_")
            if int(row_round) == round_:
                found.setdefault(int(number), Counter())[status] += 1
        for completion_id, status in rows:
            stored = records.find_record(connection, completion_id)
            assert stored is not None
            assert (stored.body is None) == (status == "running")
    store.close()
    return found


def test_what_was_acknowledged_survives_a_kill(store_url: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    charged = 0
    for round_ in range(3):
        placed, settled = _load_and_kill(store_url, round_, lines=rng.randrange(20, 120))
        statuses = _statuses(store_url, round_)
        for number, counts in statuses.items():
            whole = {"running": GROUP}, {"running": GROUP // 2, "completed": GROUP // 2}
            assert counts in whole, f"half a batch: group {number} has {counts}"
        assert placed <= statuses.keys()
        assert settled <= {number for number, counts in statuses.items() if counts["completed"]}
        charged += sum(counts["completed"] for counts in statuses.values()) * _CHARGE
        assert asyncio.run(_give_back(store_url)) == (CREDITS - charged, 0)


async def _give_back(url: str) -> tuple[int, int]:
    """Open the store as a restarted ledger does, fail what was left open; return the balance."""
    async with open_ledger(url) as ledger:
        await ledger.check()
        left = [located.completion_id for located in await ledger.service.open_completions()]
        assert sorted(await ledger.service.lose_completions(left)) == sorted(left)
        await ledger.check()
        balance: tuple[int, int] = await ledger.balance(TEAM)
        return balance
