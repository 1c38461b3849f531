"""Carriers that live and do nothing: found by asking them, again and again.

A process that hangs is not dead to the cluster, and what it carries would be nobody's until its hold expires.
One that has been silent through `_MISSES_MAX` looks in a row is hung. Each look sees its own timeout pass, so
that a registry which was stopped, or is slow, misses one look and no more. A call that breaks says nothing.

Silence may be the network's. So a carrier of another node is believed to hang only where a neighbour there
has answered all the while; where a whole node is silent, the cluster will say what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from actors.registry.pool import CarrierState

__all__ = ["PROBE_PAUSE_S", "Probes"]

PROBE_PAUSE_S = 1.5
"""Between two looks."""

_LOOK_TIMEOUT_S = 3.0
_MISSES_MAX = 3
"""With the pause: found within 15 s of its last answer."""


class Probes:
    """Args:
    answers: asks a carrier something; returns whether it answered or could not be asked, and may wait
        for ever.
    own_node_id: where the registry runs: between it and that node's carriers there is no network.
    """

    def __init__(self, answers: Callable[[str], Awaitable[bool]], *, own_node_id: str) -> None:
        self._answers = answers
        self._own_node_id = own_node_id
        self._missed: dict[str, int] = {}  # looks in a row
        self._answered: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Probes {sum(map(bool, self._missed.values()))} silent of {len(self._missed)}>"

    async def look(self, carriers: Sequence[CarrierState]) -> list[str]:
        """Ask those that carry something, and a neighbour of each; return which of them hang."""
        asked = _asked(carriers)
        answers = await asyncio.gather(*(self._answers_in_time(state.name) for state in asked))
        missed, answered = self._missed, self._answered
        self._missed, self._answered = {}, {}
        for state, is_heard in zip(asked, answers, strict=True):
            name = state.name
            is_silent = is_heard is None
            self._missed[name] = 0 if is_heard else missed.get(name, 0) + is_silent
            self._answered[name] = answered.get(name, 0) + 1 if is_heard else 0
        reached = {s.node_id for s in asked if self._answered[s.name] >= _MISSES_MAX}
        reached.add(self._own_node_id)
        return [
            state.name
            for state in asked
            if self._missed[state.name] >= _MISSES_MAX and state.node_id in reached
        ]

    async def _answers_in_time(self, name: str) -> bool | None:
        """Return None where it was silent."""
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                return await self._answers(name)
        except TimeoutError:
            return None


def _asked(carriers: Sequence[CarrierState]) -> list[CarrierState]:
    """Return those in use, and of each node one more, which is told apart from a node that is cut off."""
    asked = [state for state in carriers if state.taken]
    for node_id in sorted({state.node_id for state in asked}):
        idle = (state for state in carriers if state.node_id == node_id and not state.taken)
        asked += [neighbour for neighbour in [next(idle, None)] if neighbour is not None]
    return asked
