"""Where the carriers are: the port between a replica and the cluster.

`actors.cluster.directory` finds them among Ray's actors, `actors.testing` has one in its own process.
"""

from __future__ import annotations

from typing import Protocol

from actors.ports.carrier import CarrierLink
from actors.ports.transport import Address

__all__ = ["CarrierLost", "Carriers", "Directory"]


class CarrierLost(Exception):
    """The carrier's process is dead; what it carried is for the store to say."""


class Directory(Protocol):
    """Who knows where each carrier listens, and which have died."""

    async def address(self, carrier: str) -> Address:
        """Return where it listens now.

        Raises: CarrierLost: it is dead. ActorAway: the cluster does not answer.
        """
        ...


class Carriers(Protocol):
    """The ways to the carriers, by their names."""

    def link(self, carrier: str) -> CarrierLink:
        """Return the way to that carrier; everybody here shares it.

        It looks for the carrier when it is first asked something, and after a break. Each of its calls
        raises `CarrierLost` where there is no such carrier any more, `ActorAway` where that is not known.

        Raises: CarrierLost: that is known already.
        """
        ...

    async def look(self, carrier: str) -> None:
        """Return when it says that it lives: a carrier that is silent may be long in saying so.

        Raises: CarrierLost: it is dead, although a connection to it may stand. ActorAway: nobody says.
        """
        ...

    def forget(self, carrier: str) -> None:
        """The carrier is dead: end the way to it."""
        ...
