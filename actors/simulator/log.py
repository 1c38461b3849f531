"""The ground truth: what the simulator was asked, sent, and when and by whom it was ended.

Owns a bounded log of requests. Its figures are the simulator's own, taken where bytes are handed
to the transport and where a disconnect is seen; nothing here comes from the runtime under test.
Times are wall clock, seconds since 1970. Contents of prompts are not kept, only their digest.

At the bound the oldest request is forgotten, whether it has ended or not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

from actors.simulator.answers import NOTHING, SimulatedAnswer, text_of

__all__ = ["REQUESTS_MAX", "ClosedBy", "RequestEntry", "RequestLog"]

REQUESTS_MAX = 20_000


class ClosedBy(StrEnum):
    """Who ended a request's answer."""

    SERVER = "server"
    CLIENT = "client"
    CANCEL = "cancel"  # a request of its own, while the answer ran in the background


@dataclass(slots=True, eq=False)
class RequestEntry:
    """One upstream request.

    `tokens_sent` counts what was handed to the transport, `deltas_sent` the frames that held them;
    `members` are the names of the body's members; `closed_at` and `closed_by` are set together.
    """

    completion_id: str
    opened_at: float
    peer_port: int | None
    model: str = ""
    members: tuple[str, ...] = ()
    body_digest: str = ""
    prompt_tokens: int = 0
    first_token_at: float | None = None
    tokens_sent: int = 0
    deltas_sent: int = 0
    closed_at: float | None = None
    closed_by: ClosedBy | None = None
    answer: SimulatedAnswer = field(default=NOTHING, repr=False)

    @property
    def is_open(self) -> bool:
        return self.closed_by is None

    def close(self, by: ClosedBy, *, at: float) -> None:
        """Record the end; the first one stands."""
        if self.closed_by is None:
            self.closed_by, self.closed_at = by, at

    def to_json(self) -> dict[str, Any]:
        sent = islice(self.answer, self.deltas_sent)
        text = "".join(text_of(delta) for delta in sent)
        return {
            "completion_id": self.completion_id,
            "model": self.model,
            "opened_at": self.opened_at,
            "first_token_at": self.first_token_at,
            "tokens_sent": self.tokens_sent,
            "text_sent": text,
            "closed_at": self.closed_at,
            "closed_by": self.closed_by,
            "peer_port": self.peer_port,
            "prompt_tokens": self.prompt_tokens,
            "members": list(self.members),
            "body_digest": self.body_digest,
        }


class RequestLog:
    """The newest requests, and an index of them by completion id."""

    def __init__(self, requests_max: int = REQUESTS_MAX) -> None:
        self._requests_max = requests_max
        self._entries: deque[RequestEntry] = deque()
        self._by_completion: dict[str, deque[RequestEntry]] = {}

    def add(self, entry: RequestEntry) -> None:
        if len(self._entries) >= self._requests_max:
            self._forget(self._entries.popleft())
        self._entries.append(entry)
        self._by_completion.setdefault(entry.completion_id, deque()).append(entry)

    def find(self, completion_id: str) -> list[RequestEntry]:
        """Return the requests of one completion, oldest first; a retry is a request too."""
        return list(self._by_completion.get(completion_id, ()))

    def newest(self, limit: int) -> list[RequestEntry]:
        """Return the newest requests, oldest of them first."""
        start = max(0, len(self._entries) - limit)
        return list(islice(self._entries, start, None))

    def _forget(self, entry: RequestEntry) -> None:
        entries = self._by_completion[entry.completion_id]
        entries.popleft()  # The oldest of all is the oldest of its completion.
        if not entries:
            del self._by_completion[entry.completion_id]
