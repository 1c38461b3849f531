"""Where the carriers are: the port between a replica's runtime and the cluster.

`ray_runtime` finds them among Ray's actors, `testing` has one in its own process.
"""

from __future__ import annotations

from typing import Any, Protocol

from actors.completion.carrier import CarrierLink
from actors.ports.ledger import CompletionKey, Located
from actors.ports.runtime import CompletionRow

__all__ = ["CarrierLost", "Directory"]


class CarrierLost(Exception):
    """The carrier's process is dead; what it carried is for the store to say."""


class Directory(Protocol):
    """Where the carriers are."""

    async def acquire(self) -> str:
        """Take a slot; return the name of the carrier that has it. It is owed a `release`.

        Raises: Overloaded: none came free within `admission_timeout_s`.
        """
        ...

    def release(self, actor: str, *, is_free: bool) -> None:
        """Give a slot back; `is_free` says that its completion has ended, or never began."""
        ...

    def lost(self, actor: str) -> None:
        """The carrier is dead: forget its slots."""
        ...

    async def link(self, actor: str) -> CarrierLink:
        """Return the link of that name. Raises: CarrierLost: there is no such carrier any more."""
        ...

    async def locate(self, key: CompletionKey) -> Located | None:
        """Return where the completion is; None when even the store has none."""
        ...

    async def rows(self) -> list[CompletionRow]:
        """Return the living completions with their running figures, from the carriers."""
        ...

    async def describe(self) -> dict[str, Any]: ...
