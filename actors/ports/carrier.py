"""A carrier as its callers see it, near or far: `actors.completion.carrier` is one.

What a replica reads there comes over one **channel** for all completions that they share: a call per token
would cost more than the token. A batch has what is new in each of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from actors.core.completion.readers import Departure
from actors.core.events import CancelSource, Event
from actors.core.record import CompletionRecord
from actors.core.request import StartCommand
from actors.ports.ledger import Placed
from actors.ports.registry import CarrierReport
from actors.ports.runtime import CancelAnswer, CompletionRow

__all__ = [
    "ABSENT",
    "CHANNEL_LEASE_S",
    "DRAIN_LEASE_S",
    "CarrierFacts",
    "CarrierLink",
    "ChannelBatch",
]

CHANNEL_LEASE_S = 3.0
"""A channel's stream ends after as long, and a replica that still reads opens it again, saying what it has:
so whatever was lost between two leases is made good by the next one."""

DRAIN_LEASE_S = 10.0
"""A drain lapses after as long, unless it is ordered again: whoever ordered it may have died of it."""

ChannelBatch = list[tuple[str, int, list[Event]]]
"""(completion id, sequence of the first event, events) per completion with news."""

ABSENT = -1
"""In place of a sequence: the completion is not here. It ended and was forgotten, or is on its way here."""


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


class CarrierLink(Protocol):
    """A carrier, near or far. Far ones may raise `Overloaded` from every call."""

    async def start(self, command: StartCommand, channel: str) -> Placed:
        """Carry a completion, read by that channel from its first event; returns when its hold is durable.

        Raises: CarrierBusy: no slot is free. RequestError, AdmissionError: the ledger refused.
        Cancel: the completion goes on.
        """
        ...

    async def cancel(self, completion_id: str, source: CancelSource) -> CancelAnswer:
        """Cancel and wait for the settlement.

        Raises: CompletionNotFound: it is not here, or its hold was refused while the cancel waited for it.
        """
        ...

    async def record(self, completion_id: str) -> CompletionRecord:
        """Return the completion as it stands. Raises: CompletionNotFound."""
        ...

    async def attach(self, completion_id: str, channel: str, cursor: int) -> None:
        """Let the channel read after that sequence. Raises: CompletionNotFound."""
        ...

    async def detach(self, completion_id: str, channel: str, departure: Departure) -> None:
        """The channel's last reader has left; unknown ids are ignored."""
        ...

    def channel(self, channel: str, reading: Mapping[str, int]) -> AsyncIterator[ChannelBatch]:
        """Open the channel's stream of batches for one lease; it ends after `CHANNEL_LEASE_S`.

        Args:
            reading: what the replica reads here, and the sequence of the last event it has of each.
        """
        ...

    # What the registry asks.

    async def ping(self) -> None:
        """Answer, as whoever hangs does not."""
        ...

    async def describe(self) -> CarrierFacts: ...

    async def drain(self, *, cancels: bool) -> int:
        """Refuse what is new for `DRAIN_LEASE_S` from now; what runs goes on to its end.

        Args:
            cancels: whether what runs is cancelled, with source `shutdown`.

        Returns: how many completions are not over, for their readers too.
        """
        ...
