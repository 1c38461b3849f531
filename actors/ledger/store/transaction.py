"""What one transaction of the ledger writes: rows gathered while it is decided, written at once.

A transaction holds many placements and settlements, and a statement a row would cost more than the rows;
so they are kept in lists and go out as one statement per table. Who reads rows of its own
transaction calls `flush` first. The rows' order within a table is the order of operations.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, null, update

from actors.core.money.journal import Entry
from actors.core.money.rate_limit import RequestBucket
from actors.core.money.rules import Account, Hold
from actors.core.record import CompletionHeader
from actors.ledger.store.prepared import Prepared
from actors.ledger.store.tables import (
    RUNNING,
    checkpoints,
    completions,
    entries,
    holds,
    records,
    teams,
    tombstones,
)
from actors.ports.ledger import Checkpoint, CompletionKey, Settlement

__all__ = ["Transaction"]

_Row = dict[str, Any]

_INSERT_HOLD = Prepared(insert(holds))
_INSERT_COMPLETION = Prepared(insert(completions))
_INSERT_ENTRY = Prepared(insert(entries))
_INSERT_RECORD = Prepared(insert(records))
_INSERT_CHECKPOINT = Prepared(insert(checkpoints))

_IS_OF_HOLD = holds.c.hold_id == bindparam("of_hold_id")
_EXTEND_HOLD = Prepared(update(holds).where(_IS_OF_HOLD))
_RESOLVE_HOLD = Prepared(update(holds).where(_IS_OF_HOLD))

_SETTLE_COMPLETION = Prepared(
    update(completions)
    .where(completions.c.completion_id == bindparam("of_completion_id"))
    .values(header=null())
)

# By the difference and not to the new value: a balance that somebody edited stays wrong, and shows.
_MOVE_BALANCE = Prepared(
    update(teams)
    .where(teams.c.team == bindparam("of_team"))
    .values(
        credits_microcredits=teams.c.credits_microcredits + bindparam("credits_more"),
        held_microcredits=teams.c.held_microcredits + bindparam("held_more"),
    )
)

_DROP_CHECKPOINTS = Prepared(
    delete(checkpoints).where(checkpoints.c.completion_id == bindparam("of_completion_id"))
)

_USE_TOMBSTONE = Prepared(
    delete(tombstones).where(
        tombstones.c.team == bindparam("of_team"),
        tombstones.c.dialect == bindparam("of_dialect"),
        tombstones.c.wire_id == bindparam("of_wire_id"),
    )
)


class Transaction:
    """The rows of one transaction that is open on `connection`.

    `drawn` are the request buckets that its changes drew from, once for each draw: they are not stored, so
    who finds that it failed gives back.
    """

    def __init__(self, connection: Connection, now_s: float) -> None:
        self.connection = connection
        self.now_s = now_s
        self._balances: dict[str, tuple[Account, int, int]] = {}
        self._placed: set[str | CompletionKey] = set()
        self.drawn: list[RequestBucket] = []
        # In the order in which they are written: a row's references are written before it.
        self._rows: dict[Prepared, list[_Row]] = {
            statement: []
            for statement in (
                _INSERT_HOLD,
                _INSERT_COMPLETION,
                _INSERT_ENTRY,
                _EXTEND_HOLD,
                _RESOLVE_HOLD,
                _SETTLE_COMPLETION,
                _INSERT_RECORD,
                _INSERT_CHECKPOINT,
                _DROP_CHECKPOINTS,
                _USE_TOMBSTONE,
            )
        }

    def touch(self, account: Account) -> None:
        """Note an account's balance before an operation changes it."""
        if account.team not in self._balances:
            self._balances[account.team] = (
                account,
                account.credits_microcredits,
                account.held_microcredits,
            )

    def add_entries(self, journal: list[Entry]) -> None:
        self._rows[_INSERT_ENTRY] += [
            {
                "kind": entry.kind.value,
                "team": entry.team,
                "amount_microcredits": entry.amount_microcredits,
                "at_s": entry.at_s,
                "hold_id": entry.hold_id,
                "grant_id": entry.grant_id,
            }
            for entry in journal
        ]

    def has_placed(self, completion_id: str, key: CompletionKey) -> bool:
        """Return whether this very transaction gave away either id, so that no row can show it yet."""
        return completion_id in self._placed or key in self._placed

    def add_placement(
        self,
        hold: Hold,
        header: CompletionHeader,
        key: CompletionKey,
        *,
        is_cancelled_at_birth: bool,
    ) -> None:
        """Add a hold and its completion, which runs from here."""
        self._placed |= {header.completion_id, key}
        self._rows[_INSERT_HOLD].append(
            {
                "hold_id": hold.hold_id,
                "team": hold.team,
                "amount_microcredits": hold.amount_microcredits,
                "billing_mode": hold.billing_mode.value,
                "state": hold.state.value,
                "charged_microcredits": 0,
                "placed_at_s": self.now_s,
                "expires_at_s": hold.expires_at_s,
            }
        )
        self._rows[_INSERT_COMPLETION].append(
            {
                "completion_id": header.completion_id,
                "team": header.team,
                "dialect": header.dialect.value,
                "wire_id": header.wire_id,
                "model": header.model,
                "actor": header.actor,
                "node_id": header.node_id,
                "pid": header.pid,
                "tags": json.dumps(header.tags, separators=(",", ":")) if header.tags else "[]",
                "status": RUNNING,
                "is_cancelled_at_birth": is_cancelled_at_birth,
                "created_at_s": header.created_at_s,
                "header": header.to_json().decode(),
                "tokens_output": 0,
                "charge_microcredits": 0,
                "record_bytes": 0,
            }
        )

    def add_extension(self, hold: Hold) -> None:
        """Add that a hold was extended."""
        self._rows[_EXTEND_HOLD].append(
            {
                "of_hold_id": hold.hold_id,
                "extended_microcredits": hold.extended_microcredits,
            }
        )

    def add_resolution(self, hold: Hold) -> None:
        """Add how a hold was resolved."""
        self._rows[_RESOLVE_HOLD].append(
            {
                "of_hold_id": hold.hold_id,
                "state": hold.state.value,
                "charged_microcredits": hold.charged_microcredits,
                "resolved_at_s": self.now_s,
            }
        )

    def add_record(self, settled: Settlement, hold: Hold, *, kept_for_s: float) -> None:
        """Add the record of a completion whose hold was resolved."""
        self._rows[_SETTLE_COMPLETION].append(
            {
                "of_completion_id": settled.completion_id,
                "status": settled.status.value,
                "source": settled.source,
                "failure": settled.failure,
                "tokens_output": settled.tokens_output,
                "charge_microcredits": hold.charged_microcredits,
                "absorbed_microcredits": settled.absorbed_microcredits,
                "record_bytes": len(settled.body),
                "record_expires_at_s": self.now_s + kept_for_s,
                "settled_at_s": self.now_s,
            }
        )
        self._rows[_INSERT_RECORD].append(
            {"completion_id": settled.completion_id, "body": settled.body}
        )

    def add_checkpoint(self, stretch: Checkpoint) -> None:
        """Add the next stretch of a running completion's log."""
        self._rows[_INSERT_CHECKPOINT].append(
            {
                "completion_id": stretch.completion_id,
                "first": stretch.first,
                "events_count": stretch.count,
                "events": stretch.events,
            }
        )

    def drop_checkpoints(self, completion_id: str) -> None:
        """Add the removal of what is kept of a log: its record is there now."""
        self._rows[_DROP_CHECKPOINTS].append({"of_completion_id": completion_id})

    def use_tombstone(self, key: CompletionKey) -> None:
        """Add the removal of a remembered cancellation that met its completion."""
        self._rows[_USE_TOMBSTONE].append(
            {"of_team": key.team, "of_dialect": key.dialect.value, "of_wire_id": key.wire_id}
        )

    def flush(self) -> None:
        """Write what was gathered; the transaction stays open."""
        for statement, rows in self._rows.items():
            if rows:
                statement.run(self.connection, rows)
                rows.clear()
        moves = [
            {
                "of_team": account.team,
                "credits_more": account.credits_microcredits - credits_before,
                "held_more": account.held_microcredits - held_before,
            }
            for account, credits_before, held_before in self._balances.values()
            if (account.credits_microcredits, account.held_microcredits)
            != (credits_before, held_before)
        ]
        self._balances.clear()
        if moves:
            _MOVE_BALANCE.run(self.connection, moves)
