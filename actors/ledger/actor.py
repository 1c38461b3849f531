"""The ledger as a Ray actor: one process, named `completion-ledger`, restarted for ever.

It opens the store, starts the service and lets the deploy's processes ask it; the service does the rest.
With SQLite it is pinned to the node that has the data directory, and a second one cannot open the
store. The deployer makes it a Ray class; nothing here starts Ray.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import Any

import ray

from actors.cluster.deployed import Deployed
from actors.cluster.garbage import spare_what_stands
from actors.ledger.service import LedgerService
from actors.ledger.store import Store
from actors.ports.transport import Address
from actors.rpc.contracts import LEDGER
from actors.rpc.serving import Server
from actors.settings import PROTOCOL_VERSION

__all__ = ["LedgerActor"]

_log = logging.getLogger(__name__)

_HOUSEKEEPING_S = 2.0

_SWITCH_INTERVAL_S = 0.0005
"""How long the event loop may keep the writing thread from running Python. With the default, 5 ms, a
loop that is never idle kept a commit waiting for 11 s; with this one, for 30 ms at most."""

_DEMO_TEAM = "demo"
_DEMO_ORGANIZATION = "org_demo"
_DEMO_MICROCREDITS = 1_000_000_000


class LedgerActor:
    """See the module. The constructor takes only the place where `Deployed` is kept."""

    def __init__(self, location: str) -> None:
        """Open the store. Blocks.

        Raises: StoreError: it is in use, too new or out of reach; one sentence says which.
        """
        deployed = Deployed.load(location)
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._demo_key_digest = deployed.demo_key_digest
        self._fingerprint = deployed.fingerprint
        identity = {"pid": os.getpid(), "node_id": ray.get_runtime_context().get_node_id()}
        self._service = LedgerService(
            Store(deployed.settings.database_url),
            settings=deployed.settings,
            clock=time.time,
            identity=identity,
        )
        self._server = Server(deployed.transport(), {LEDGER: self._service})
        self._address: Address | None = None
        # Ray constructs an actor outside of its loop: what needs one begins with the first call.
        self._opening: asyncio.Task[None] | None = None
        self._housekeeping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        # Ray asks for it also when the constructor failed.
        return f"LedgerActor({getattr(self, '_service', None)!r})"

    async def endpoint(self) -> Address:
        """Return where the operations of the port `Ledger` are answered."""
        await self._ready()
        assert self._address is not None, "the opening made it"
        return self._address

    async def describe(self) -> dict[str, Any]:
        await self._ready()
        return {
            "protocol": PROTOCOL_VERSION,
            "fingerprint": self._fingerprint,
            "kind": "ledger",
            **await self._service.describe(),
        }

    async def drain(self) -> None:
        """Refuse new holds; returns when what was asked before is committed."""
        await self._ready()
        await self._service.drain()

    async def _ready(self) -> None:
        """Do once, on the loop, what the constructor could not."""
        if self._housekeeping is not None:
            return
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
        # Shielded: a caller that goes away does not take the others' opening with it.
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        try:
            if self._demo_key_digest:
                await self._service.ensure_demo(
                    _DEMO_TEAM, _DEMO_ORGANIZATION, _DEMO_MICROCREDITS, self._demo_key_digest
                )
            self._address = await self._server.start(ray.util.get_node_ip_address())
            self._housekeeping = asyncio.get_running_loop().create_task(self._keep_house())
            spare_what_stands()
        finally:
            self._opening = None

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            try:
                await self._service.housekeeping()
            except Exception as error:
                # The store is away, or a bug of ours: either way the next round tries again.
                _log.warning("housekeeping failed: %s", type(error).__name__)
