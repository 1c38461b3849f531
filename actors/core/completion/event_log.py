"""The log of one completion: append-only, bounded in bytes, read by cursor.

The log knows nothing of its readers. A reader keeps its own cursor, the sequence of the last event
it has seen (-1 before the first), and pulls; so a thousand observers cost no queue, and a slow one
gets larger batches instead of holding anybody up.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.core.errors import ReplayGap
from actors.core.events import (
    Event,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)

__all__ = ["EventLog"]

_EVENT_BYTES = 64
"""What an event is counted as beside its text: its slots and its place in the list."""


class EventLog:
    """Events with dense sequences from 0.

    Args:
        bytes_max: what the events may weigh; `is_full` says when the next delta must not come. The
            closing events of a completion are admitted past it, since they are few and small.
    """

    def __init__(self, *, bytes_max: int) -> None:
        self._events: list[Event] = []
        self._bytes = 0
        self._bytes_max = bytes_max

    def __len__(self) -> int:
        return len(self._events)

    def __repr__(self) -> str:
        return f"<EventLog {len(self._events)} events, {self._bytes}/{self._bytes_max} bytes>"

    @property
    def size_bytes(self) -> int:
        """What the events weigh."""
        return self._bytes

    @property
    def is_full(self) -> bool:
        return self._bytes >= self._bytes_max

    @property
    def finished(self) -> Finished | None:
        """The terminal event, None while there is none."""
        last = self._events[-1] if self._events else None
        return last if isinstance(last, Finished) else None

    def append(self, event: Event) -> int:
        """Add an event; return its sequence."""
        assert self.finished is None, "nothing follows the terminal event"
        self._events.append(event)
        self._bytes += _EVENT_BYTES + _text_bytes(event)
        return len(self._events) - 1

    def read_after(self, cursor: int, limit: int = 10_000) -> Sequence[Event]:
        """Return at most `limit` events whose sequence is above the cursor; a copy.

        Raises:
            ReplayGap: the cursor is below -1 or past the end of the log.
        """
        if not -1 <= cursor < len(self._events):
            raise ReplayGap(f"No event has the sequence {cursor}.")
        return self._events[cursor + 1 : cursor + 1 + limit]


def _text_bytes(event: Event) -> int:
    match event:
        case TextDelta() | ReasoningDelta() | RefusalDelta():
            return _bytes(event.text)
        case ToolCallDelta():
            return _bytes(event.arguments)
        case ToolCallStarted():
            return _bytes(event.call_id) + _bytes(event.name)
    return 0


def _bytes(text: str) -> int:
    # Encoding is needed only where a character may take more than one byte.
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
