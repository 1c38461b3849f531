"""Who comes with the clients and means no good: what they do must cost nobody else anything.

Each does one thing at a replica in the moment in which a wave of clients arrives: a change of which the
ledger's store chokes, many keys that nobody has, an operation that there is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from actors.core.errors import IllegalTransition, Overloaded, Unauthenticated
from actors.ledger.writer import LedgerWriter
from actors.rpc.contracts import LEDGER

if TYPE_CHECKING:
    from tests.simulation.invariants import Invariants
    from tests.simulation.processes import SimProcess

__all__ = ["STRANGERS", "spoiling"]

_SPOILS = "spoils-"
_KEYS = 60


async def _spoil(process: SimProcess, invariants: Invariants, name: str) -> None:
    """Ask for a change that raises what nobody foresaw."""
    try:
        await process.ledger.grant_credits("poor", 1, f"{_SPOILS}{name}")
    except (IllegalTransition, Overloaded):
        pass


async def _knock(process: SimProcess, invariants: Invariants, name: str) -> None:
    """Come with keys that nobody has, all at once."""
    asked = [process.keys.principal({"x-api-key": f"{name}-{n}"}) for n in range(_KEYS)]
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        if not isinstance(answer, Unauthenticated | Overloaded):
            invariants.broken(f"a key that nobody has was answered with {answer!r}")


async def _ask_unknown(process: SimProcess, invariants: Invariants, name: str) -> None:
    """Ask for an operation that only another version has."""
    method = copy(LEDGER.methods[0])
    method.name = "Ledger.of_another_version"
    try:
        await process.ledger_peer.call(method, ())
    except Overloaded:
        return
    invariants.broken("an operation that there is not was answered")


STRANGERS = (_spoil, _spoil, _knock, _ask_unknown)


@contextmanager
def spoiling(invariants: Invariants) -> Iterator[None]:
    """Let the spoilers' changes raise, and see that no other is refused for them."""
    make, apply = LedgerWriter._make, LedgerWriter.apply

    def spoils(change: Any) -> bool:
        grant_id = change.keywords.get("grant_id") if isinstance(change, partial) else None
        return str(grant_id).startswith(_SPOILS)

    def making(writer: LedgerWriter, change: Any, transaction: Any) -> Any:
        if spoils(change):
            raise RuntimeError("planned: this change spoils its transaction")
        return make(writer, change, transaction)

    def applied(writer: LedgerWriter, changes: Sequence[Any]) -> list[Any]:
        outcomes = apply(writer, changes)
        for change, outcome in zip(changes, outcomes, strict=True):
            if isinstance(outcome, IllegalTransition) and not spoils(change):
                invariants.broken("a change was refused for what another one did to its batch")
        return outcomes

    with patch.object(LedgerWriter, "_make", making), patch.object(LedgerWriter, "apply", applied):
        yield
