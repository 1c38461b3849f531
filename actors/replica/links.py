"""The ways from a replica to the carriers: a connection to each, found by its name when it is first asked."""

from __future__ import annotations

import asyncio
from functools import partial

from actors.ports.carrier import CarrierLink
from actors.ports.directory import Directory
from actors.ports.transport import Transport
from actors.rpc.contracts import CARRIER
from actors.rpc.peer import Peer

__all__ = ["Links"]

_LINKS_MAX = 4_096
"""Past it the oldest that answers no call is closed, and found again when it is needed: the channel that
it carried goes on over the next."""


class Links:
    """See `actors.ports.directory.Carriers`, which this implements."""

    def __init__(
        self, transport: Transport, directory: Directory, *, links_max: int = _LINKS_MAX
    ) -> None:
        self._transport = transport
        self._directory = directory
        self._links_max = links_max
        self._links: dict[str, tuple[Peer, CarrierLink]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Links {len(self._links)}>"

    def link(self, carrier: str) -> CarrierLink:
        kept = self._links.get(carrier)
        if kept is None:
            if len(self._links) >= self._links_max:
                idle = (name for name, (peer, _) in self._links.items() if peer.is_idle)
                self.forget(next(idle, next(iter(self._links))))
            peer = Peer(self._transport, partial(self._directory.address, carrier))
            kept = self._links[carrier] = peer, CARRIER.client(peer)
        return kept[1]

    async def look(self, carrier: str) -> None:
        await self._directory.address(carrier)

    def forget(self, carrier: str) -> None:
        kept = self._links.pop(carrier, None)
        if kept is not None:
            closing = asyncio.get_running_loop().create_task(kept[0].aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close every connection: who waits for an answer is told `ActorAway`."""
        for carrier in list(self._links):
            self.forget(carrier)
        await asyncio.gather(*self._closing)
