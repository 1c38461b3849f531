"""A completion's money as its driver asks for it: placed once, extended, and settled until it stands.

It owns how often a ledger that is away is asked again, and what becomes of a completion that cannot be
settled. It knows nothing of the machine.

Rules:
- A ledger that is away is asked again until the hold has expired by itself; that is logged, once.
- A hold of which nobody said whether it was placed is undone: the start is told, and the slot waits.
- An exception that nobody foresaw is a bug of ours: logged once, tried again a few times, and then
  the completion ends as failed with nothing charged. Its hold is left to the ledger, which finds that
  nobody carries it.
- A record is encoded once, however often it is sent, and a long one off the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor

from msgspec.structs import replace

from actors.core.completion.transitions import (
    ExtensionRefused,
    HoldExtended,
)
from actors.core.errors import (
    CompletionNotFound,
    CompletionRuntimeError,
    Failure,
    FailureCode,
    IllegalTransition,
    InsufficientCredit,
    LedgerBusy,
    OtherDeploy,
    Overloaded,
)
from actors.core.events import Charge, Finished, FinishReason, Status, Usage
from actors.core.money.holds import HoldState
from actors.core.record import CompletionHeader, CompletionRecord, Timeline
from actors.core.request import StartCommand
from actors.ports.clock import Clock
from actors.ports.ledger import HoldExtension, HoldLedger, HoldPlacement, Placed, Settlement

__all__ = ["HoldKeeper"]

_log = logging.getLogger(__name__)

_HOLD_SLACK_S = 120.0
"""How long a hold outlives its completion's last possible moment, for a ledger that is away."""

_RETRY_S = (0.05, 1.0)
"""First and largest pause between tries to settle or to extend."""

_EVENTS_INLINE_MAX = 1_000
"""Records up to this length are encoded on the loop (some 2 ms)."""

_BUG_TRIES = 3
"""A bug of ours is met again with every try, but for one that a race brought about."""

_AWAY = Failure(FailureCode.COMPLETION_LOST, "The ledger was away until the hold expired.")
_UNSURE = Failure(
    FailureCode.INTERNAL,
    "The ledger did not say in time whether this may start; nothing was asked.",
)
_BUG = Failure(FailureCode.INTERNAL, "The runtime failed while settling the completion.")


class HoldKeeper:
    """Asks the ledger for one completion.

    Args:
        thread: where a long record is encoded; None encodes it where it is.
    """

    __slots__ = ("_clock", "_command", "_header", "_ledger", "_thread", "is_charged")

    def __init__(
        self,
        command: StartCommand,
        header: CompletionHeader,
        *,
        ledger: HoldLedger,
        clock: Clock,
        thread: Executor | None,
    ) -> None:
        self._command = command
        self._header = header
        self._ledger = ledger
        self._clock = clock
        self._thread = thread
        self.is_charged = True

    @property
    def _expires_at_s(self) -> float:
        return self._command.created_at_s + self._command.total_timeout_s + _HOLD_SLACK_S

    async def place(self) -> Placed:
        """Place the hold.

        Raises: what the ledger refused with. IllegalTransition: a bug of ours; there may be a hold.
        """
        placement = HoldPlacement(
            header=self._header.for_store(),
            key_id=self._command.key_id,
            expires_at_s=self._expires_at_s,
            idempotency=self._command.idempotency,
        )
        try:
            placed = await self._ledger.place(placement)
        except CompletionRuntimeError:
            raise
        except Exception:
            _log.exception("placing the hold of %s failed", self._header.completion_id)
            raise IllegalTransition("The runtime failed while placing the hold.") from None
        self.is_charged = placed.is_charged
        return placed

    async def undo(self, error: CompletionRuntimeError) -> None:
        """Make sure that nothing is held, where a hold was refused in a way that leaves it open.

        The record says that no provider was asked, so the start may be made again under its name.
        """
        if not isinstance(error, Overloaded) or isinstance(error, LedgerBusy | OtherDeploy):
            return
        end = Finished(
            Status.FAILED,
            FinishReason.ERROR,
            None,
            _UNSURE,
            Usage(),
            Charge(),
            finished_at_s=self._clock.wall_s(),
        )
        timeline = Timeline(finished_at_s=end.finished_at_s)
        await self.settle(CompletionRecord(self._header, (end,), timeline))

    async def extend(
        self, total_microcredits: int, *, is_wanted: Callable[[], bool]
    ) -> HoldExtended | ExtensionRefused | None:
        """Ask for more, again and again while the ledger is away; None where it is not wanted any more."""
        extension = HoldExtension(self._header.completion_id, total_microcredits)
        pause_s, pause_max_s = _RETRY_S
        while is_wanted():
            try:
                return HoldExtended(await self._ledger.extend(extension))
            except Overloaded:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, pause_max_s)
            except (InsufficientCredit, CompletionNotFound):
                # The second is of a hold that was resolved meanwhile: an earlier asking came late.
                return ExtensionRefused()
            except Exception:
                _log.exception("%s is not extended", self._header.completion_id)
                return ExtensionRefused()
        return None

    async def settle(self, record: CompletionRecord) -> tuple[CompletionRecord, HoldState]:
        """Settle a terminal record; return the one that stands, and what became of the hold.

        Where the ledger stays away, or a bug of ours stands in the way, that is a failure that charges
        nothing: it is not in the store yet, and the hold expires.
        """
        failure = _BUG
        try:
            settlement = await self._encoded(record)
            stands = await self._settle_durably(settlement)
        except Overloaded:
            failure = _AWAY
            _log.error("%s: the ledger was away until its hold expired", self._header.completion_id)
        except Exception:
            _log.exception("%s is given up: it cannot be settled", self._header.completion_id)
        else:
            stands = stands or record
            end = stands.finished
            if end is not None:
                return stands, _hold_state(end)
            _log.error("%s: what stands has no end", self._header.completion_id)
        return _failed(record, failure), HoldState.EXPIRED

    async def _encoded(self, record: CompletionRecord) -> Settlement:
        if self._thread is None or len(record.events) <= _EVENTS_INLINE_MAX:
            return Settlement.of(record)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, Settlement.of, record)

    async def _settle_durably(self, settlement: Settlement) -> CompletionRecord | None:
        pause_s, pause_max_s = _RETRY_S
        bugs = 0
        is_logged = False
        while True:
            try:
                return await self._ledger.settle(settlement)
            except Overloaded:
                if self._clock.wall_s() >= self._expires_at_s:
                    raise
                if not is_logged:
                    _log.warning("%s waits for the ledger to settle", self._header.completion_id)
                    is_logged = True
            except Exception:
                bugs += 1
                if bugs >= _BUG_TRIES:
                    raise
                if bugs == 1:
                    _log.exception("settling %s failed", self._header.completion_id)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, pause_max_s)


def _hold_state(end: Finished) -> HoldState:
    if end.status is Status.COMPLETED or end.charge.total_microcredits:
        return HoldState.POSTED
    return HoldState.VOIDED


def _failed(record: CompletionRecord, failure: Failure) -> CompletionRecord:
    """Return what a reader is shown of a completion that could not be settled: nothing was charged."""
    end = record.finished
    assert end is not None, "a settlement is of a terminal record"
    charge = Charge(
        absorbed_microcredits=end.charge.total_microcredits + end.charge.absorbed_microcredits,
        held_microcredits=end.charge.held_microcredits,
    )
    failed = replace(
        end,
        status=Status.FAILED,
        finish_reason=FinishReason.ERROR,
        source=None,
        error=failure,
        charge=charge,
        stop_sequence=None,
    )
    return CompletionRecord(record.header, (*record.events[:-1], failed), record.timeline)
