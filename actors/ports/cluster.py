"""What the registry needs of the cluster: processes that carry completions, started, watched and ended.

`actors.cluster.carriers` does it with Ray's actors; the simulation with objects that it lets die. The
registry decides, and this does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from actors.ports.registry import CarrierReport
from actors.ports.runtime import CompletionRow

__all__ = ["CARRIER_PREFIX", "CarrierFacts", "Cluster", "OtherProtocol"]

CARRIER_PREFIX = "completion-"
"""A carrier's name is this and a ULID in small letters."""


class OtherProtocol(Exception):
    """The carrier is of a release that speaks otherwise; it carries `running`, None if it does not say."""

    def __init__(self, running: int | None) -> None:
        super().__init__(running)
        self.running = running


@dataclass(frozen=True, slots=True)
class CarrierFacts:
    """What a carrier says of itself.

    Args:
        fingerprint: of the deploy that it was made for; see `Deployed.fingerprint`.
        slots: completions that it carries while others are free, `slots_max` at the most.
        report: a whole one.
    """

    actor: str
    node_id: str
    pid: int
    fingerprint: str
    slots: int
    slots_max: int
    report: CarrierReport
    rows: tuple[CompletionRow, ...] = ()


class Cluster(Protocol):
    """Carriers by name. Each call may raise `ActorAway`: it could not be asked now, and nothing is known."""

    async def nodes(self) -> list[str]:
        """Return the ids of the nodes that live."""
        ...

    async def living(self) -> list[str]:
        """Return the names of all carriers that live, whoever started them."""
        ...

    async def start(self, name: str, node_id: str) -> None:
        """Begin to start a carrier of that name there; `describe` answers once it stands."""
        ...

    async def end(self, name: str) -> None:
        """End a carrier's process at once. Idempotent."""
        ...

    async def died(self, name: str) -> None:
        """Return when that carrier's process is dead, and not before."""
        ...

    async def describe(self, name: str) -> CarrierFacts:
        """Ask a carrier; waits for one that is starting.

        Raises: CarrierLost: it is dead. OtherProtocol: it lives, and does not speak ours.
        """
        ...

    async def shut_down(self, name: str, timeout_s: float) -> None:
        """Let a carrier cancel what it carries and settle it. Raises: CarrierLost."""
        ...

    async def wake_simulator(self) -> None:
        """Make sure that the simulator listens, where there is one: one that was restarted needs a call."""
        ...
