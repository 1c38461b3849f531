"""The ledger as a Ray actor: one process, named `completion-ledger`, restarted for ever.

It opens the store, starts the service and lets the deploy's processes ask it; the service does the rest.
With SQLite it is pinned to the node that has the data directory; with PostgreSQL Ray starts it elsewhere when
its node is dead, and should the old one still live it finds that the store has a later ledger, and ends. The
deployer makes it a Ray class; nothing here starts Ray.

A store that cannot be opened now is opened for whoever asks next: Ray starts no actor again whose constructor
failed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import Any

import ray

from actors.cluster.calls import has_failed
from actors.cluster.deployed import Deployed
from actors.cluster.garbage import spare_what_stands
from actors.ledger.service import LedgerService
from actors.ledger.store import Store, StoreError
from actors.ports.transport import Address
from actors.rpc.contracts import LEDGER
from actors.rpc.serving import Server
from actors.settings import PROTOCOL_VERSION

__all__ = ["LedgerActor"]

_log = logging.getLogger(__name__)

_HOUSEKEEPING_S = 2.0

_FENCED_CODE = 3
"""How the process ends whose store has a later ledger. Ray starts it again, should it be the one that has its
name."""

_SWITCH_INTERVAL_S = 0.0005
"""How long the event loop may keep the writing thread from running Python. With the default, 5 ms, a
loop that is never idle kept a commit waiting for 11 s; with this one, for 30 ms at most."""

_DEMO_TEAM = "demo"
_DEMO_ORGANIZATION = "org_demo"
_DEMO_MICROCREDITS = 1_000_000_000


class LedgerActor:
    """See the module. The constructor takes only the place where `Deployed` is kept."""

    def __init__(self, location: str) -> None:
        self._deployed = Deployed.load(location)
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._service: LedgerService | None = None
        self._server: Server | None = None
        self._opening: asyncio.Task[Address] | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self._told = ""

    def __repr__(self) -> str:
        return f"LedgerActor({self._service!r})"

    async def endpoint(self) -> Address:
        """Return where the operations of the port `Ledger` are answered.

        Raises: StoreError: the store is in use, too new, damaged or out of reach; one sentence says which.
        """
        # Done once, on the loop, since the constructor could not; again, where it failed.
        if self._opening is None or has_failed(self._opening):
            self._opening = asyncio.get_running_loop().create_task(self._open())
        # Shielded: a caller that goes away does not take the others' opening with it.
        return await asyncio.shield(self._opening)

    async def describe(self) -> dict[str, Any]:
        await self.endpoint()
        assert self._service is not None, "the opening made it"
        return {
            "protocol": PROTOCOL_VERSION,
            "fingerprint": self._deployed.fingerprint,
            "kind": "ledger",
            **await self._service.describe(),
        }

    async def drain(self) -> None:
        """Refuse new holds; returns when what was asked before is committed."""
        await self.endpoint()
        assert self._service is not None, "the opening made it"
        await self._service.drain()

    async def _open(self) -> Address:
        if self._service is None:
            self._service = await asyncio.to_thread(self._open_service)
        if self._deployed.demo_key_digest:
            await self._service.ensure_demo(
                _DEMO_TEAM, _DEMO_ORGANIZATION, _DEMO_MICROCREDITS, self._deployed.demo_key_digest
            )
        self._server = Server(self._deployed.transport(), {LEDGER: self._service})
        address = await self._server.start(ray.util.get_node_ip_address())
        self._housekeeping = asyncio.get_running_loop().create_task(self._keep_house(self._service))
        spare_what_stands()
        return address

    def _open_service(self) -> LedgerService:
        settings = self._deployed.settings
        context = ray.get_runtime_context()
        try:
            store = Store(
                settings.database_url,
                cluster=self._deployed.cluster,
                # Of a ledger that Ray started again the one before it has made the store.
                is_known=self._deployed.is_store_known
                or bool(context.was_current_actor_reconstructed),
            )
        except StoreError as error:
            if self._told != str(error):  # Once, however often it is asked.
                self._told = str(error)
                _log.error("%s", error)
            raise
        identity = {"pid": os.getpid(), "node_id": context.get_node_id()}
        return LedgerService(store, settings=settings, clock=time.time, identity=identity)

    async def _keep_house(self, service: LedgerService) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            try:
                await service.housekeeping()
            except Exception as error:
                # The store is away, or a bug of ours: either way the next round tries again.
                _log.warning("housekeeping failed: %s", type(error).__name__)
            if service.fenced is not None:
                _log.error("%s", service.fenced)
                logging.shutdown()
                os._exit(_FENCED_CODE)
