"""Bugs planted on purpose, as patches of the product's own classes: each must be found.

One per invariant, and one per fault that was ever mended in the ring and lives on as a patch. Each is a
mistake in one place and nothing more: that something is wrong is for the invariants to say. Where the
product has changed so that a patch is no mistake any more but an error, `is_found_by` does not count it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from tests.simulation import (
    mistakes,
    mistakes_in_calls,
    mistakes_in_readers,
    mistakes_in_slots,
    mistakes_in_texts,
)

__all__ = ["PLANTED", "Bug", "planted"]


@dataclass(frozen=True, slots=True)
class Bug:
    """A planted bug.

    Args:
        patches: what of the product.
        plant: returns the context in which it is there.
        breaks: a part of what the invariant says that is to find it; any of them where it is empty.
        seed: one of its own, where the run's may not meet it.
    """

    patches: str
    plant: Callable[[], Any]
    breaks: str = ""
    seed: int | None = None

    def is_found_by(self, failure: str | None) -> bool:
        """Whether it was found, and not merely met code that it does not fit any more."""
        if failure is None or _NO_FIT.search(failure):
            return False
        return re.search(self.breaks, failure) is not None


_NO_FIT = re.compile(r"\b(Type|Attribute|Name|Import|Key)Error\b")

PLANTED: dict[str, Bug] = {
    "posted-twice": Bug("Transaction.add_entries", mistakes.posted_twice),
    "balance-not-written": Bug("Transaction.touch", mistakes.balance_not_written, "books of"),
    "answered-before-commit": Bug("LedgerWriter.apply", mistakes.answered_before_commit),
    "own-record-stands": Bug(
        "settling._standing", mistakes.own_record_stands, "ended twice|was charged"
    ),
    "batch-fails-together": Bug(
        "LedgerWriter.apply", mistakes.batch_fails_together, "to its batch"
    ),
    "hold-not-undone": Bug(
        "HoldKeeper.undo", mistakes.hold_not_undone, "whose hold is open", seed=1
    ),
    "epoch-not-checked": Bug("fence.check", mistakes.epoch_not_checked, "writes in epoch"),
    "queue-without-bound": Bug(
        "GroupCommit.submit", mistakes.queue_without_bound, "wait for a commit"
    ),
    "gap-taken": Bug("Mirror.receive", mistakes.gap_taken, "not in the log"),
    "two-ends": Bug("Mirror.extend", mistakes.two_ends),
    "not-woken": Bug("Mirror.extend", mistakes.not_woken, "wait for ever"),
    "terminal-moves": Bug("Completion.handle", mistakes.terminal_moves),
    "cancelled-keeps-slot": Bug(
        "SlotLeases.withdraw", mistakes_in_slots.cancelled_keeps_slot, "lost a slot"
    ),
    "dead-slots-stay": Bug("SlotLeases.forget", mistakes_in_slots.dead_slots_stay, "slot"),
    "slot-not-returned": Bug("Starts.ended", mistakes_in_slots.slot_not_returned, "slot"),
    "slot-returned-twice": Bug(
        "SlotLeases.put_back", mistakes_in_slots.slot_returned_twice, "slots"
    ),
    "maybe-running-is-free": Bug(
        "Starts.start", mistakes_in_slots.maybe_running_is_free, "runs in it"
    ),
    "leased-twice": Bug("CarrierState.taken", mistakes_in_slots.leased_twice, "are leased"),
    "carrier-takes-all": Bug("Carrier._begin", mistakes_in_slots.carrier_takes_all, "carries"),
    "renewing-ends": Bug("Slots._renew", mistakes_in_slots.renewing_ends),
    "starts-wait-without-bound": Bug(
        "SlotLeases.wish", mistakes_in_slots.starts_wait_without_bound, "wait for a slot"
    ),
    "waiters-without-bound": Bug(
        "Waiters.add", mistakes_in_slots.waiters_without_bound, "are waited for"
    ),
    "news-without-bound": Bug(
        "Reporter._changed", mistakes_in_slots.news_without_bound, "news wait"
    ),
    "keys-wait-without-bound": Bug(
        "Authenticator.principal", mistakes_in_slots.keys_wait_without_bound, "whose their keys"
    ),
    "unknown-call-hangs-up": Bug(
        "serving._Caller._take", mistakes_in_calls.unknown_call_hangs_up, "hung up"
    ),
    "stream-left-open": Bug(
        "Mirrors._read_lease", mistakes_in_calls.stream_left_open, "garbage collector"
    ),
    "started-waits": Bug(
        "ChannelSource.mark", mistakes_in_calls.started_waits, "nothing will send it"
    ),
    "closing-is-cut": Bug("UpstreamPump.close", mistakes_in_calls.closing_is_cut, "was cut"),
    "dead-proxy-is-leaving": Bug(
        "leaving.departure_of", mistakes_in_readers.dead_proxy_is_leaving, "no client left"
    ),
    "stall-is-leaving": Bug(
        "StallClock.has_stalled", mistakes_in_readers.stall_is_leaving, "no client left"
    ),
    "lost-is-not-awaited": Bug(
        "Readers.leave", mistakes_in_readers.lost_is_not_awaited, "no client left"
    ),
    "back-in-vain": Bug(
        "Readers.handle_timer", mistakes_in_readers.back_in_vain, "while it is read"
    ),
    "given-up-start-is-read-on": Bug(
        "watched_start._give_up", mistakes_in_readers.given_up_start_is_read_on
    ),
    "no-verdict": Bug("Deaths.lose, .find_orphans", mistakes_in_calls.no_verdict),
    "location-stays": Bug("Locations.forget", mistakes_in_calls.location_stays, "still locates"),
    "lost-while-carried": Bug(
        "Deaths.find_orphans", mistakes_in_calls.lost_while_carried, "carries it"
    ),
    "drain-takes-new": Bug(
        "Carrier.drain", mistakes_in_calls.drain_takes_new, "that drains", seed=2
    ),
    "drain-cancels": Bug(
        "Carrier.drain", mistakes_in_calls.drain_cancels, "nobody ordered", seed=2
    ),
    "drain-never-lapses": Bug(
        "Drain.begin", mistakes_in_calls.drain_never_lapses, "drains", seed=2
    ),
    "place-fails": Bug("CompletionDriver._place", mistakes_in_calls.place_fails),
    "cancel-is-told-the-refusal": Bug(
        "CompletionDriver._refused",
        mistakes_in_calls.cancel_is_told_the_refusal,
        "a cancel was answered",
    ),
    "refused-is-not-told": Bug("CompletionDriver._refused", mistakes_in_calls.refused_is_not_told),
    "hung-is-not-looked-for": Bug(
        "Probes.look", mistakes_in_texts.hung_is_not_looked_for, "hangs and is not ended|wait for"
    ),
    "first-mirror-stands": Bug(
        "checkpointing._follows", mistakes_in_texts.first_mirror_stands, "in its record"
    ),
    "verdict-at-once": Bug("deaths._WITNESS_S", mistakes_in_texts.verdict_at_once, "mirrors"),
    "checkpoints-dropped": Bug(
        "Checkpointer._keep", mistakes_in_texts.checkpoints_dropped, "were kept|when its owner"
    ),
    "checkpoints-stay": Bug(
        "Transaction.drop_checkpoints", mistakes_in_texts.checkpoints_stay, "checkpoint"
    ),
    "finished-is-witnessed": Bug(
        "checkpointing.checkpoint", mistakes_in_texts.finished_is_witnessed, "checkpoint"
    ),
}


def planted(name: str | None) -> Any:
    """Return the context in which that bug is in the product; none for None."""
    return nullcontext() if name is None else PLANTED[name].plant()
