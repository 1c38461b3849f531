"""Which slots a replica has leased, who waits for one, and which slot goes to whom. Decides; does nothing.

A slot that comes free is used for the next start at once, so a replica under load asks nobody. One that
lies unused for `IDLE_S` is let go, for other replicas to have. A slot of a carrier that is known to be
dead is nobody's: it is neither handed out nor renewed, whoever still offers it. A shared slot is for one
completion; where nobody waits for it any more it is let go.

Times are seconds of the event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from actors.core.errors import Overloaded
from actors.ports.registry import Slot

__all__ = ["IDLE_S", "WAITING_MAX", "SlotLeases", "Wish"]

IDLE_S = 1.0

WAITING_MAX = 10_000
"""Starts of one replica that wait for a slot; one more is told at once that we are overloaded."""

_DEAD_MAX = 1_024
"""Dead carriers that are remembered. The registry may offer their slots until it hears of the death too,
which is a matter of seconds."""


class Wish:
    """A start that wants a slot; `slot` is what it got, None while it waits."""

    __slots__ = ("slot",)

    def __init__(self) -> None:
        self.slot: Slot | None = None

    def __repr__(self) -> str:
        return f"<Wish {self.slot.carrier if self.slot else 'waits'}>"


class SlotLeases:
    """Every slot that is held is either in use by one start or completion, or idle.

    `given` counts all slots that were ever granted; the registry needs it to tell a slot that was let
    go from one whose grant had not arrived yet.
    """

    def __init__(self, *, waiting_max: int = WAITING_MAX) -> None:
        self.given = 0
        self._held: Counter[str] = Counter()  # by carrier
        self._idle: list[tuple[Slot, float]] = []  # the latest last
        self._waiting: dict[Wish, None] = {}  # in the order they came
        self._waiting_max = waiting_max
        self._shunned: frozenset[str] = frozenset()
        self._dead: dict[str, None] = {}

    def __repr__(self) -> str:
        held, idle, waiting = self._held.total(), len(self._idle), len(self._waiting)
        return f"<SlotLeases {held} held, {idle} idle, {waiting} waiting>"

    @property
    def held(self) -> dict[str, int]:
        """Slots by carrier, used and idle: what is to be renewed. A copy."""
        return dict(self._held)

    @property
    def wanted(self) -> int:
        """How many starts wait: what is to be asked for."""
        return len(self._waiting)

    # Who wants a slot.

    def wish(self) -> Wish:
        """Queue a start. Raises: Overloaded: too many wait."""
        if len(self._waiting) >= self._waiting_max:
            raise Overloaded("Too many requests wait for an actor.", retry_after_s=5.0)
        wish = Wish()
        self._waiting[wish] = None
        return wish

    def assign(self) -> list[Wish]:
        """Give idle slots to those who wait, first come, first served; return who got one.

        The slot that was used last goes first, so that those which nobody needs grow old.
        """
        got = list(islice(self._waiting, len(self._idle)))
        for wish in got:
            del self._waiting[wish]
            wish.slot, _ = self._idle.pop()
        return got

    def withdraw(self, wish: Wish, *, now_s: float) -> None:
        """The start wants nothing any more; a slot that it got meanwhile is the next one's."""
        self._waiting.pop(wish, None)
        if wish.slot is not None:
            self._keep(wish.slot, now_s=now_s, is_wanted=bool(self._waiting))

    def refuse(self, count: int) -> list[Wish]:
        """Take the first so many out of the queue, for they get none; return them."""
        refused = list(islice(self._waiting, count))
        for wish in refused:
            del self._waiting[wish]
        return refused

    # What becomes of slots.

    def grant(self, slots: Sequence[Slot], *, now_s: float) -> bool:
        """Take what the registry leased; False if there is nothing usable in it."""
        self.given += len(slots)
        living = [slot for slot in slots if slot.carrier not in self._dead]
        self._held.update(slot.carrier for slot in living)
        # The shared ones last: of them only as many are kept as somebody waits for.
        for number, slot in enumerate(sorted(living, key=lambda slot: slot.is_shared)):
            self._keep(slot, now_s=now_s, is_wanted=number < len(self._waiting))
        return bool(living)

    def put_back(self, slot: Slot, *, now_s: float) -> None:
        """A slot that was used is free again, unless its carrier has died since."""
        self._keep(slot, now_s=now_s, is_wanted=False)

    def let_go(self, carrier: str) -> None:
        """Give up a slot in use, of which it is not known whether it is free."""
        if carrier in self._held:
            self._held[carrier] -= 1
            if not self._held[carrier]:
                del self._held[carrier]

    def let_idle_go(self, *, now_s: float) -> None:
        """Give up what has been idle for too long."""
        self._let_go_where(lambda _slot, since_s: now_s - since_s >= IDLE_S)

    def recall(self, count: int) -> None:
        """Give up so many idle slots, those that have been idle for longest: others wait for them."""
        recalled, self._idle = self._idle[:count], self._idle[count:]
        for slot, _ in recalled:
            self.let_go(slot.carrier)

    def shun(self, carriers: Iterable[str]) -> None:
        """Use no slot of these carriers again: those in use go when their completion ends."""
        self._shunned = frozenset(carriers)
        self._let_go_where(lambda slot, _since_s: slot.carrier in self._shunned)

    def forget(self, carrier: str) -> None:
        """The carrier is dead, and its slots with it."""
        self._dead[carrier] = None
        if len(self._dead) > _DEAD_MAX:
            del self._dead[next(iter(self._dead))]
        self._let_go_where(lambda slot, _since_s: slot.carrier == carrier)
        self._held.pop(carrier, None)

    def _keep(self, slot: Slot, *, now_s: float, is_wanted: bool) -> None:
        """Keep a free slot as idle, or let it go: a shared one is kept only for who waits already."""
        if slot.carrier not in self._held:
            return  # It died.
        if slot.carrier in self._shunned or (slot.is_shared and not is_wanted):
            self.let_go(slot.carrier)
        else:
            self._idle.append((slot, now_s))

    def _let_go_where(self, is_to_go: Callable[[Slot, float], bool]) -> None:
        idle, self._idle = self._idle, []
        for slot, since_s in idle:
            if is_to_go(slot, since_s):
                self.let_go(slot.carrier)
            else:
                self._idle.append((slot, since_s))
