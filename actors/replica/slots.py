"""A replica's slots: taken for a start, given back, asked for, and renewed while they are held.

`SlotLeases` decides which slot goes to whom; here it is done. One call for slots is under way at a time,
for as many as wait then, and once a second the registry hears what is held and says what it wants back.
It may be restarted, be cut off or answer nonsense: who waits then goes on waiting, for its own time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from actors.core.errors import ActorAway, CompletionRuntimeError, Overloaded
from actors.ports.registry import Registry, Slot
from actors.replica.slot_leases import WAITING_MAX, SlotLeases, Wish

__all__ = ["Slots"]

_log = logging.getLogger(__name__)

_RENEW_S = 1.0

_RENEW_TIMEOUT_S = 2.0
"""A renewal that takes longer is given up and the next one made: leases end after 5 s without any."""

_ASK_PAUSE_S = 0.1
"""Before the registry is asked again when it had nothing: it is being restarted, or offered the dead."""


class Slots:
    """The slots of one replica. Who takes one owes it back: by `release`, or by `lost`.

    Args:
        replica: its name, unique among all replicas that ever were.
        node_id: where it runs; slots near it are preferred.
    """

    def __init__(
        self, registry: Registry, *, replica: str, node_id: str, waiting_max: int = WAITING_MAX
    ) -> None:
        self._registry = registry
        self._replica = replica
        self._node_id = node_id
        self._leases = SlotLeases(waiting_max=waiting_max)
        self._waiting: dict[Wish, asyncio.Future[None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Slots {self._leases!r}>"

    async def acquire(self, *, deadline_s: float) -> Slot:
        """Take a slot.

        Args:
            deadline_s: the loop's time until which it may take.

        Raises: Overloaded: none came free in time, or too many wait.
        Cancel: no slot is taken, also where one was handed out in this very turn of the loop.
        """
        wish = self._leases.wish()
        self._hand_out()
        if wish.slot is None:
            await self._wait(wish, deadline_s)
        if wish.slot is None:
            raise Overloaded("No actor came free in time.", retry_after_s=5.0)
        return wish.slot

    def release(self, slot: Slot, *, is_free: bool) -> None:
        """Give a slot back; `is_free` says that its completion has ended, or never began."""
        if is_free:
            self._leases.put_back(slot, now_s=_now_s())
            self._hand_out()
        else:
            self._leases.let_go(slot.carrier)

    def lost(self, carrier: str) -> None:
        """The carrier is dead: all its slots are gone."""
        self._leases.forget(carrier)

    async def aclose(self) -> None:
        """Ask and renew no more; the registry has the slots back when their leases end."""
        tasks = [task for task in (self._asking, self._renewing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Those who wait.

    async def _wait(self, wish: Wish, deadline_s: float) -> None:
        """Wait until the wish is granted, refused or late."""
        loop = asyncio.get_running_loop()
        woken = self._waiting[wish] = loop.create_future()
        if self._asking is None:
            self._asking = loop.create_task(self._ask())
        try:
            async with asyncio.timeout_at(deadline_s):
                await woken
        except TimeoutError:
            # Where a slot was handed out in the same turn, it is the start's all the same.
            if wish.slot is None:
                self._leases.withdraw(wish, now_s=_now_s())
        except BaseException:
            self._leases.withdraw(wish, now_s=_now_s())
            self._hand_out()
            raise
        finally:
            del self._waiting[wish]

    def _hand_out(self) -> None:
        for wish in self._leases.assign():
            woken = self._waiting.get(wish)
            if woken is not None and not woken.done():
                woken.set_result(None)

    def _refuse(self, count: int, error: CompletionRuntimeError) -> None:
        for wish in self._leases.refuse(count):
            woken = self._waiting[wish]
            if not woken.done():
                woken.set_exception(error)

    # The registry.

    async def _ask(self) -> None:
        """Ask for as many slots as are wanted now, again until nobody wants one."""
        try:
            while self._leases.wanted:
                if not await self._ask_once():
                    await asyncio.sleep(_ASK_PAUSE_S)
        finally:
            self._asking = None

    async def _ask_once(self) -> bool:
        """Ask once; False where it brought nothing, and must not be done again at once."""
        count = self._leases.wanted
        try:
            slots = await self._registry.lease(
                self._replica, self._node_id, count, self._leases.given
            )
        except ActorAway:
            return False
        except CompletionRuntimeError as error:
            # Its word is for those that it was asked for; who came since is asked for anew.
            self._refuse(count, error)
            return False
        except Exception:
            _log.exception("asking for slots failed")
            return False
        has_any = self._leases.grant(slots, now_s=_now_s())
        self._hand_out()
        if self._renewing is None and self._leases.held:
            self._renewing = asyncio.get_running_loop().create_task(self._keep_renewing())
        return has_any

    async def _keep_renewing(self) -> None:
        """Tell the registry every second which slots are held, until none is and it was told so."""
        recalls = asyncio.get_running_loop().create_task(self._follow_recalls())
        try:
            is_told = False
            while self._leases.held or not is_told:
                await asyncio.sleep(_RENEW_S)
                self._leases.let_idle_go(now_s=_now_s())
                is_told = await self._renew()
        finally:
            self._renewing = None
            recalls.cancel()
            await asyncio.wait({recalls})

    async def _renew(self) -> bool:
        """Tell the registry once; whether it heard that nothing is held."""
        held = self._leases.held
        try:
            async with asyncio.timeout(_RENEW_TIMEOUT_S):
                self._leases.shun(
                    await self._registry.renew(self._replica, held, self._leases.given)
                )
        except (CompletionRuntimeError, TimeoutError):
            return False  # It is being restarted, and learns with the next renewal.
        except Exception:
            # Whatever it was, slots that are in use must not look as if they had been let go.
            _log.exception("renewing the leases failed")
            return False
        return not held

    async def _follow_recalls(self) -> None:
        """Give idle slots up whenever others wait for them."""
        while True:
            try:
                stream = self._registry.recalls(self._replica)
                async with aclosing(cast("AsyncGenerator[int, None]", stream)) as recalls:
                    async for count in recalls:
                        self._leases.recall(count)
                        await self._renew()
            except CompletionRuntimeError:
                pass  # It is being restarted.
            except Exception:
                _log.exception("following the recalls failed")
            await asyncio.sleep(_RENEW_S)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
