"""The ledger as a simulation has it: no thread, no file, a clock that jumps, and nothing that is random."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from actors.core.errors import Overloaded
from actors.ledger.service import LedgerService
from actors.ports.threads import InlineExecutor
from actors.settings import Settings
from tests.ledger.test_service import refused
from tests.support.faulty_store import Fault
from tests.support.ledger import HOLD, Clock, Ledger, completed, header
from tests.support.memory_store import MemoryStore
from tests.support.virtual_time import run_virtual


def opened(store: MemoryStore) -> Ledger:
    numbers = itertools.count()
    service = LedgerService(
        store.open(),
        settings=Settings(),
        clock=Clock(),
        threads=InlineExecutor,
        token_hex=lambda size: f"{next(numbers):0{2 * size}x}",
    )
    return Ledger(service, Clock())


def test_a_ledger_dies_and_its_successor_knows_what_was_committed() -> None:
    async def story() -> Any:
        store = MemoryStore()
        first = opened(store)
        await first.make_team()
        head, other = await first.place(), header()
        store.faults = [Fault.BEFORE_COMMIT, Fault.BEFORE_COMMIT]
        await refused(Overloaded, first.place(other))
        store.faults = []
        # Nothing of it is closed: its process is no more.
        second = opened(store)
        second.key_id = first.key_id
        assert await second.balance() == (10 * HOLD, HOLD)
        record = completed(head)
        assert await second.settle(record) is record
        await second.place(other)
        await second.check()
        await second.service.close()
        await second.service.close()
        with pytest.raises(Overloaded):
            await second.place()
        store.discard()
        return first.secret, first.key_id

    assert run_virtual(story()) == run_virtual(story()), "the same again is the same"
