"""The journal: what happened to credits, one immutable entry per operation, and what it adds up to.

This file owns the entries and their meaning. It does not know why an operation was allowed
(`core.ledger` decides that) or where entries are kept. `fold_entries` is written apart from the
ledger's own arithmetic on purpose: the two must agree, and tests hold one against the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["RESOLVING_KINDS", "Entry", "EntryKind", "fold_entries"]


class EntryKind(StrEnum):
    GRANT = "grant"
    PLACE = "place"
    EXTEND = "extend"
    POST = "post"
    VOID = "void"
    EXPIRE = "expire"


RESOLVING_KINDS = (EntryKind.POST, EntryKind.VOID, EntryKind.EXPIRE)
"""A hold has exactly one entry of these kinds once it is resolved."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal. Immutable; the order of lines is the order of operations.

    `amount_microcredits` is what was granted, held (by an extension: more than before), charged, or
    given back by a void or an expiry.
    Exactly one of `hold_id` and `grant_id` is set.
    """

    kind: EntryKind
    team: str
    amount_microcredits: int
    at_s: float
    hold_id: str | None = None
    grant_id: str | None = None


def fold_entries(entries: Iterable[Entry]) -> Mapping[str, tuple[int, int]]:
    """Return (credits, held) per team as the journal alone tells it."""
    credits: dict[str, int] = {}
    placed: dict[str, tuple[str, int]] = {}
    for entry in entries:
        credits.setdefault(entry.team, 0)
        match entry.kind:
            case EntryKind.GRANT:
                credits[entry.team] += entry.amount_microcredits
            case EntryKind.PLACE:
                assert entry.hold_id is not None and entry.hold_id not in placed
                placed[entry.hold_id] = (entry.team, entry.amount_microcredits)
            case EntryKind.EXTEND:
                assert entry.hold_id is not None
                team, amount_microcredits = placed[entry.hold_id]
                placed[entry.hold_id] = (team, amount_microcredits + entry.amount_microcredits)
            case EntryKind.POST:
                credits[entry.team] -= entry.amount_microcredits
        if entry.kind in RESOLVING_KINDS:
            assert entry.hold_id is not None
            del placed[entry.hold_id]
    held = dict.fromkeys(credits, 0)
    for team, amount_microcredits in placed.values():
        held[team] += amount_microcredits
    return {team: (credits[team], held[team]) for team in credits}
