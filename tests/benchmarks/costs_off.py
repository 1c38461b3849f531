"""Midstream with one of its costs switched off, to see by the difference what it costs.

Each function is called by every Ray worker of a benchmark's instance before it does anything else
(Ray's variable for a worker's setup hook), and replaces one method there. The product has no switch
for any of it, since nobody should run it so, and no code of a benchmark.

- `ledger`: a carrier grants itself the hold and keeps the settlement to itself. Gone with it are both
  calls to the ledger, its commits, and the records, which travel with the settlement.
- `records`: settlements carry an empty body: nothing is encoded, sent or stored of the record. The rows
  of the journal, the hold and the completion are still written.
- `registry`: carriers report nothing of what they begin and end. Slots are still leased, for a strict
  carrier can serve one replica alone at a time: a call per replica and second under load, whose cost is
  in the registry's own column of CPU.

What a commit's sync costs needs no hook: an instance with its database in memory has none.

What cannot be switched off is read from the CPU by process group: the way through a carrier (the start's
call and the channel, which are the design), the event log and the meter (the machine itself), and the
key's check (a hash and a table in the replica; the ledger is asked once in a while).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from actors.completion.reporter import Reporter
from actors.core.record import CompletionRecord
from actors.ports.ledger import HoldExtension, HoldPlacement, Placed, Settlement
from actors.ports.registry import Registry
from actors.rpc.contract import Asker
from actors.rpc.contracts import LEDGER

__all__ = ["ledger", "records", "registry", "setup_hook"]


def setup_hook(cost: str) -> dict[str, str]:
    """Return the variable by which every Ray worker calls one of the functions below."""
    return {"__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": f"{__name__}.{cost}"}


def ledger() -> None:
    async def place(_self: object, _placement: HoldPlacement) -> Placed:
        return Placed()

    async def extend(_self: object, extension: HoldExtension) -> int:
        return extension.total_microcredits

    async def settle(_self: object, _settlement: Settlement) -> None:
        return None

    _replace(type(LEDGER.client(cast(Asker, None))), place=place, extend=extend, settle=settle)


def records() -> None:
    def to_bytes(_self: CompletionRecord) -> bytes:
        return b""

    _replace(CompletionRecord, to_bytes=to_bytes)


def registry() -> None:
    async def run(_self: Reporter, _registry: Registry) -> None:
        await asyncio.Event().wait()

    _replace(Reporter, run=run)


def _replace(owner: type, **methods: Any) -> None:
    for name, method in methods.items():
        assert hasattr(owner, name), f"{owner.__name__} has no {name} any more."
        setattr(owner, name, method)
