"""What the registry needs of the cluster: processes that carry completions, named, started, watched, ended.

`actors.cluster.carriers` does it with Ray's actors; the simulation with objects that it lets die. The
registry decides, and this does.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["CARRIER_PREFIX", "Cluster"]

CARRIER_PREFIX = "completion-"
"""A carrier's name is this and a ULID in small letters."""


class Cluster(Protocol):
    """Carriers by name. Each call may raise `ActorAway`: it could not be asked now, and nothing is known."""

    async def nodes(self) -> list[str]:
        """Return the ids of the nodes that live."""
        ...

    async def living(self) -> list[str]:
        """Return the names of all carriers that live, whoever started them."""
        ...

    async def start(self, name: str, node_id: str) -> None:
        """Begin to start a carrier of that name there; it answers once it stands."""
        ...

    async def end(self, name: str) -> None:
        """End a carrier's process at once. Idempotent."""
        ...

    async def died(self, name: str) -> None:
        """Return when that carrier's process is dead, and not before."""
        ...

    async def is_idle(self, name: str) -> bool:
        """Whether a carrier of another release, which our calls do not reach, says that it carries nothing.

        Raises: CarrierLost: it is dead.
        """
        ...

    async def wake_simulator(self) -> None:
        """Make sure that the simulator listens, where there is one: one that was restarted needs a call."""
        ...
