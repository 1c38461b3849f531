"""Statements about checkpoints: stretches of the logs of what runs. No rule is decided here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, func, select

from actors.core.money.rules import BillingMode, Hold
from actors.core.record import CompletionHeader
from actors.ledger.store.tables import checkpoints, completions, holds

__all__ = ["KeptLog", "load_kept", "load_losses", "stretches"]


@dataclass(frozen=True, slots=True)
class KeptLog:
    """How much of a log is kept."""

    count: int
    characters: int


def load_kept(connection: Connection) -> Iterator[tuple[str, KeptLog]]:
    """Yield how much is kept of each completion of which something is."""
    of = checkpoints.c.completion_id
    query = select(
        of,
        func.sum(checkpoints.c.events_count),
        func.sum(func.length(checkpoints.c.events)),
    ).group_by(of)
    for completion_id, count, characters in connection.execute(query):
        yield completion_id, KeptLog(int(count), int(characters))


def stretches(
    connection: Connection, completion_ids: Sequence[str]
) -> Iterator[tuple[str, int, list[str]]]:
    """Yield of each completion of which something is kept how many events, and its stretches in order."""
    query = (
        select(checkpoints)
        .where(checkpoints.c.completion_id.in_(completion_ids))
        .order_by(checkpoints.c.completion_id, checkpoints.c.first)
    )
    rows = connection.execute(query)
    for completion_id, group in groupby(rows, key=lambda row: row.completion_id):
        kept = list(group)
        yield completion_id, sum(row.events_count for row in kept), [row.events for row in kept]


def load_losses(
    connection: Connection, completion_ids: Sequence[str]
) -> Iterator[tuple[CompletionHeader, Hold]]:
    """Yield header and hold of those of these completions that run."""
    query = (
        select(completions.c.header, holds)
        .join_from(completions, holds)
        .where(completions.c.completion_id.in_(completion_ids), completions.c.header.is_not(None))
    )
    for row in connection.execute(query):
        hold = Hold(
            row.hold_id,
            row.team,
            row.amount_microcredits,
            row.expires_at_s,
            BillingMode(row.billing_mode),
            extended_microcredits=row.extended_microcredits,
        )
        yield CompletionHeader.from_json(row.header), hold
