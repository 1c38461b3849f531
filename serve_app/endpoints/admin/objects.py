"""What the admin routes show: rows of lists, a completion in full, and its log as events."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from msgspec import Struct, structs

from actors.core.errors import CompletionRuntimeError
from actors.core.events import Event, Finished
from actors.core.record import CompletionRecord, Timeline
from actors.ports.ledger import Balance
from actors.ports.runtime import CompletionRow, KeyRow
from serve_app.dialects.base import DialectRules, Operation, Snapshot, render
from serve_app.dialects.chat.errors import envelope
from serve_app.dialects.midstream_object import credits

__all__ = ["EventRows", "balance_object", "completion_detail", "completion_row", "key_row"]


def completion_row(row: CompletionRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "wire_id": row.wire_id,
        "team": row.team,
        "dialect": row.dialect,
        "model": row.model,
        "status": row.status,
        "source": row.source,
        "node_id": row.node_id,
        "actor": row.actor,
        "pid": row.pid,
        "created_at": row.created_at,
        "tokens_output": row.tokens_output,
        "credits": credits(row.charge_microcredits),
        "readers": row.readers,
        "shared_with": row.shared_with,
        "tags": dict(row.tags),
    }


def completion_detail(record: CompletionRecord, dialect: DialectRules) -> dict[str, Any]:
    """Return the record, its timeline, the receipt of its cancellation, and who owned it."""
    shown = Snapshot.of(record)
    header, answer = shown.header, shown.answer
    finished, usage = answer.finished, answer.usage
    return {
        "id": header.completion_id,
        "wire_id": header.wire_id,
        "team": header.team,
        "dialect": header.dialect.value,
        "model": header.model,
        "provider": header.provider,
        "status": finished.status.value if finished else "in_progress",
        "source": finished.source.value if finished and finished.source else None,
        "failure": finished.error.code.value if finished and finished.error else None,
        "created_at": header.created_at_s,
        "tokens_output": usage.completion_tokens + usage.reasoning_tokens,
        "credits": credits(finished.charge.total_microcredits if finished else 0),
        "hold_credits": credits(_held(finished) or header.hold_microcredits),
        "events": len(record.events),
        "owner": {"actor": header.actor, "node_id": header.node_id, "pid": header.pid},
        "timeline": _timeline(record.timeline),
        "receipt": _without_units(asdict(record.receipt)) if record.receipt else None,
        "tags": dict(header.tags),
        "record": dialect.body(shown),
    }


def _held(finished: Finished | None) -> int:
    """Return what was held in the end of a completion whose hold was extended."""
    return finished.charge.held_microcredits if finished else 0


def balance_object(team: str, balance: Balance) -> dict[str, Any]:
    return {
        "team": team,
        "credits": credits(balance.credits_microcredits),
        "held_credits": credits(balance.held_microcredits),
        "available_credits": credits(balance.available_microcredits),
        "billing_mode": balance.billing_mode,
    }


def key_row(row: KeyRow) -> dict[str, Any]:
    return {
        "key_id": row.key_id,
        "team": row.team,
        "name": row.name,
        "created_at": row.created_at_s,
        "revoked_at": row.revoked_at_s,
    }


class EventRows:
    """The log itself as server-sent events: one frame per event, numbered by its sequence.

    `event:` is the event's tag in records; `data` is its own members.
    """

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._sequence = 0

    def encode(self, event: Event) -> list[bytes]:
        sequence = self._sequence
        self._sequence = sequence + 1
        tag = type(event).__struct_config__.tag
        assert isinstance(tag, str)
        value = {"sequence": sequence, "type": tag, **_members(event)}
        return [b"id: %d\nevent: %b\ndata: %b\n\n" % (sequence, tag.encode("ascii"), render(value))]

    def interrupted(self, error: CompletionRuntimeError) -> bytes:
        value = envelope(error, Operation.READ, self._request_id, is_strict=False)
        return b"event: error\ndata: %b\n\n" % render(value)


def _members(value: Any) -> Any:
    """Return a struct's members by their names; in records it is an array of them."""
    if not isinstance(value, Struct):
        return value
    return {name: _members(member) for name, member in structs.asdict(value).items()}


def _timeline(timeline: Timeline) -> dict[str, Any]:
    return _without_units(asdict(timeline))


def _without_units(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value as the wire has it: `finished_at`, not `finished_at_s`."""
    return {name.removesuffix("_s"): part for name, part in value.items()}
