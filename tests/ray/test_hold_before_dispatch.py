"""Goal: money is held before the provider is asked, durably: the provider itself finds the hold.

The simulator's hook runs before a request is answered, and looks into the store by a connection of
its own, as any other process would after a crash at that very moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from tests.support.chat_streams import body, stream
from tests.support.hooked_simulator import HookedSimulator
from tests.support.instance import Instance

pytestmark = pytest.mark.ray

HOLD = """
    SELECT holds.state, holds.amount_microcredits, holds.team, completions.wire_id
    FROM holds JOIN completions ON completions.completion_id = holds.hold_id
    WHERE holds.hold_id = ?
"""

Row = tuple[str, int, str, str]


def look_up(instance: Instance, completion_id: str) -> Row | None:
    uri = f"file:{instance.data_dir / 'midstream.db'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=5)) as store:
        row: Row | None = store.execute(HOLD, (completion_id,)).fetchone()
        return row


@contextmanager
def holds_seen(midstream: Instance, simulator: HookedSimulator) -> Iterator[dict[str, Row | None]]:
    """Collect what the provider finds in the store when it is asked, by the completion's id."""
    seen: dict[str, Row | None] = {}

    async def hook(completion_id: str) -> None:
        seen[completion_id] = look_up(midstream, completion_id)

    simulator.hook = hook
    try:
        yield seen
    finally:
        simulator.hook = None


def test_the_provider_finds_the_hold_when_it_is_asked(
    midstream: Instance, hooked_simulator: HookedSimulator
) -> None:
    with holds_seen(midstream, hooked_simulator) as seen:
        reader = stream(midstream, "hooked", max_tokens=5).join()
    assert reader.has_done
    row = seen[reader.completion_id]
    assert row is not None, "the provider was asked before the hold was durable"
    state, amount, team, wire_id = row
    assert (state, team, wire_id) == ("pending", "demo", reader.completion_id)
    prompt = reader.last["usage"]["prompt_tokens"]
    assert amount == (11 * prompt * 75 + 9) // 10 + 5 * 450
    settled = look_up(midstream, reader.completion_id)
    assert settled is not None
    assert settled[0] == "posted"


def test_so_does_each_of_a_burst(midstream: Instance, hooked_simulator: HookedSimulator) -> None:
    """Holds that are written together are each there before their own dispatch."""
    with (
        holds_seen(midstream, hooked_simulator) as seen,
        midstream.client() as client,
        ThreadPoolExecutor(16) as pool,
    ):
        request = body("hooked", max_tokens=3)
        answers = list(
            pool.map(lambda _: client.post("/v1/chat/completions", json=request), range(48))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert set(seen) == {answer.json()["id"] for answer in answers}
    assert {row[0] for row in seen.values() if row} == {"pending"}
    assert None not in seen.values()
