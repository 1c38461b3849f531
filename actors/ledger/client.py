"""The ledger from afar: the port itself, asked over one connection, with a limit to each wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from actors.cluster.calls import Singleton
from actors.core.errors import ActorAway
from actors.ports.ledger import Ledger
from actors.ports.transport import Transport
from actors.rpc.contract import Asker, RemoteMethod
from actors.rpc.contracts import LEDGER
from actors.rpc.peer import Peer

__all__ = ["LEDGER_NAME", "PATIENCE_S", "far_ledger", "patient"]

LEDGER_NAME = "completion-ledger"

_READS = (
    "authenticate", "balance", "describe", "extend", "find", "find_by_id", "find_started",
    "list_completions", "record",
)  # fmt: skip

PATIENCE_S: Mapping[str, float] = {**dict.fromkeys(_READS, 5.0), "place": 10.0, "checkpoint": 2.0}
"""How long an operation's answer is waited for: a host that is cut off neither answers nor breaks the call.
A hold that is not answered for may be there all the same: the registry finds that nobody carries it.
Those that are not here change what may not be changed twice, or need it durable: they wait."""


class _Patient:
    """Gives up what takes longer than that. What it asked may be done all the same."""

    def __init__(self, asker: Asker, patience_s: Mapping[str, float]) -> None:
        self._asker = asker
        self._patience_s = patience_s

    async def call(self, method: RemoteMethod, arguments: tuple[Any, ...]) -> Any:
        """Raises: ActorAway: it did not answer in time. Whatever else the call raises."""
        try:
            async with asyncio.timeout(self._patience_s.get(method.attribute)):
                return await self._asker.call(method, arguments)
        except TimeoutError:
            raise ActorAway("The ledger did not answer in time.") from None

    def stream(self, method: RemoteMethod, arguments: tuple[Any, ...]) -> AsyncIterator[Any]:
        return self._asker.stream(method, arguments)


def patient(asker: Asker, patience_s: Mapping[str, float] = PATIENCE_S) -> Ledger:
    """Return the ledger that is asked so. Args: patience_s: by operation; none waits for ever."""
    return LEDGER.client(_Patient(asker, patience_s))


def far_ledger(handle: Any, transport: Transport) -> Ledger:
    """Return the ledger of the deploy. Args: handle: its actor's, as far as it is known."""
    return patient(Peer(transport, Singleton(LEDGER_NAME, handle).address))
