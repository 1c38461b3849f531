"""The registry as replicas, carriers and the deployer ask it; `actors.registry.service` answers.

A **slot** is room for one completion at a carrier. Replicas lease slots in blocks and use one for a
completion after the other without asking again; every second they say which they hold (`renew`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from actors.ports.ledger import CompletionKey, Located
from actors.ports.runtime import CompletionRow

__all__ = ["REGISTRY_NAME", "Began", "CarrierReport", "Registry", "Slot"]

REGISTRY_NAME = "completion-registry"


@dataclass(frozen=True, slots=True)
class Slot:
    """Room for one completion at a carrier.

    A shared one is beyond what the carrier carries by itself (`streams_per_actor`): it was given since
    nobody else was free. It is for one completion only, and let go when that ends.
    """

    carrier: str
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Began:
    """A completion that a carrier took: its id, and by what its client finds it."""

    completion_id: str
    key: CompletionKey


@dataclass(frozen=True, slots=True)
class CarrierReport:
    """What changed at a carrier since its last report.

    Args:
        number: rises with each report of a carrier; one that comes late is thrown away.
        running: how many completions it carries now.
        began: those that it took since; where `is_whole`, all that it carries.
        ended: ids of those that were settled or refused since.
        is_whole: what is not named here is not there. A carrier that could not report begins anew with
            such a one, so it gathers nothing while the registry is away.
    """

    actor: str
    number: int
    running: int
    began: tuple[Began, ...] = ()
    ended: tuple[str, ...] = ()
    is_whole: bool = False


class Registry(Protocol):
    """Each call may raise `ActorAway`: the registry is being restarted."""

    async def lease(self, replica: str, node_id: str, count: int, given: int) -> list[Slot]:
        """Lease up to `count` slots, at least one; waits for it up to `admission_timeout_s`.

        A replica has one such call under way at a time; another takes the place of the first.

        Args:
            given: how many slots the replica ever got before. The same figure again means that the
                answer was lost: what was granted is granted again.
        Raises: Overloaded.
        """
        ...

    async def renew(self, replica: str, held: dict[str, int], given: int) -> list[str]:
        """Take a replica's word for the slots it has, by carrier; what it does not name is free again.

        Returns: carriers at which it uses no slot again: they carry more than they should, or are to
            end. It lets idle slots there go now, and used ones when their completion ends.
        """
        ...

    def recalls(self, replica: str) -> AsyncIterator[int]:
        """Yield, each time that others wait, how many slots they want.

        The replica lets as many idle slots go and says so at once, by `renew`.
        """
        ...

    async def locate(self, key: CompletionKey) -> Located | None:
        """Return where a completion is; the store answers what is not known here."""
        ...

    async def report(self, report: CarrierReport) -> None:
        """Take a carrier's news. Raises: Overloaded: the registry does not know it, or not yet."""
        ...

    async def rows(self) -> list[CompletionRow]:
        """Return what every carrier carries now; one that does not answer in time is left out."""
        ...

    async def describe(self) -> dict[str, Any]: ...

    async def warm(self, carriers: int, timeout_s: float) -> int:
        """Wait until so many carriers stand ready, or for the timeout; return how many do."""
        ...

    async def drain(self, *, cancels: bool) -> int:
        """Give away no slot for `DRAIN_LEASE_S` from now, and let no carrier take anything.

        What runs goes on to its end, and is read and cancelled as ever. To be ordered again and again:
        see `actors.registry.draining`.

        Args:
            cancels: whether what runs is cancelled, with source `shutdown`.

        Returns: how many completions are not over. A carrier that does not say counts as one at least.
        """
        ...
