"""What is kept of a completion: everything that a GET needs, and the receipt of its cancellation.

A record is also how a running completion is shown: the same header with the events so far.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec.structs import replace as replace_members

from actors.core.events import CancelSource, Event, Finished, Status
from actors.core.json_values import JsonReader, to_json
from actors.core.request import Dialect, Prices, Retention, StartCommand

__all__ = ["CompletionHeader", "CompletionRecord", "Receipt", "Timeline"]


@dataclass(frozen=True, slots=True)
class CompletionHeader:
    """The facts that are fixed when the hold is placed. `echo` is what the dialect shows again."""

    completion_id: str
    wire_id: str
    team: str
    dialect: Dialect
    model: str
    provider: str
    prices: Prices
    hold_microcredits: int
    prompt_tokens_estimated: int
    created_at_s: float
    actor: str = ""
    node_id: str = ""
    pid: int = 0
    tags: tuple[tuple[str, str], ...] = ()
    echo: Mapping[str, Any] = field(default_factory=dict)
    retention: Retention = Retention.FULL

    @classmethod
    def of(
        cls, command: StartCommand, *, actor: str = "", node_id: str = "", pid: int = 0
    ) -> CompletionHeader:
        return cls(
            completion_id=command.completion_id,
            wire_id=command.wire_id,
            team=command.team,
            dialect=command.dialect,
            model=command.model,
            provider=command.provider,
            prices=command.prices,
            hold_microcredits=command.hold_microcredits,
            prompt_tokens_estimated=command.prompt_tokens_estimated,
            created_at_s=command.created_at_s,
            actor=actor,
            node_id=node_id,
            pid=pid,
            echo=command.request.echo,
            retention=command.retention,
        )

    def for_store(self) -> CompletionHeader:
        """Return what of it may be written down."""
        return replace(self, echo={}) if self.retention is Retention.RECEIPT else self

    def to_json(self) -> bytes:
        return to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> CompletionHeader:
        return _HEADERS.read(text)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Wall-clock seconds since 1970; None for what did not happen."""

    hold_placed_at_s: float | None = None
    dispatched_at_s: float | None = None
    upstream_opened_at_s: float | None = None
    first_token_at_s: float | None = None
    finished_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a cancellation did.

    `requested_at_s` is when the request came to the completion's owner, `upstream_closed_at_s` when the
    transport was closed, None where none was open: both by the owner's clock. `tokens_after_request` were
    logged after the request came; the machine takes it at once, so there are none.
    """

    source: CancelSource
    requested_at_s: float
    upstream_closed_at_s: float | None
    tokens_after_request: int = 0


@dataclass(frozen=True, slots=True)
class CompletionRecord:
    """A completion as it stands. Terminal exactly when its last event is `Finished`."""

    header: CompletionHeader
    events: tuple[Event, ...]
    timeline: Timeline = Timeline()
    receipt: Receipt | None = None

    @property
    def finished(self) -> Finished | None:
        if self.events and isinstance(self.events[-1], Finished):
            return self.events[-1]
        return None

    @property
    def status(self) -> Status | None:
        """The terminal state, None while it runs."""
        return self.finished.status if self.finished else None

    def for_store(self) -> CompletionRecord:
        """Return what of it may be written down."""
        return self.without_content() if self.header.retention is Retention.RECEIPT else self

    def without_content(self) -> CompletionRecord:
        """Return what may be kept after a DELETE: header, receipt and the terminal event."""
        kept = tuple(
            replace_members(event, stop_sequence=None)  # The caller chose its words.
            for event in self.events
            if isinstance(event, Finished)
        )
        return replace(self, header=replace(self.header, echo={}), events=kept)

    def to_bytes(self) -> bytes:
        """Return the record as zlib-compressed JSON, the form in which it is stored."""
        return zlib.compress(to_json(self), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> CompletionRecord:
        return _RECORDS.read(zlib.decompress(data))


_HEADERS = JsonReader(CompletionHeader)
_RECORDS = JsonReader(CompletionRecord)
