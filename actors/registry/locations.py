"""Which carrier has which completion, as the carriers report it. A cache: the store knows what is not here.

What a carrier said is dropped with the carrier: one that dies right after a settlement did not get to
say that it ended.
"""

from __future__ import annotations

from actors.ports.ledger import CompletionKey, Located
from actors.ports.registry import CarrierReport

__all__ = ["Locations"]


class Locations:
    def __init__(self) -> None:
        self._located: dict[CompletionKey, Located] = {}
        self._keys: dict[str, dict[str, CompletionKey]] = {}  # by carrier and completion id
        self._numbers: dict[str, int] = {}  # of each carrier's last report

    def __repr__(self) -> str:
        return f"<Locations {len(self._located)} completions at {len(self._keys)} carriers>"

    def __len__(self) -> int:
        return len(self._located)

    def get(self, key: CompletionKey) -> Located | None:
        return self._located.get(key)

    def take(self, report: CarrierReport, node_id: str) -> bool:
        """Take a carrier's news; False if a later report of it was here before."""
        if report.number <= self._numbers.get(report.actor, -1):
            return False
        self._numbers[report.actor] = report.number
        if report.is_whole:
            self._drop_all(report.actor)
        keys = self._keys.setdefault(report.actor, {})
        for began in report.began:
            keys[began.completion_id] = began.key
            self._located[began.key] = Located(
                began.completion_id, report.actor, node_id, is_settled=False
            )
        for completion_id in report.ended:
            self._drop(keys, completion_id)
        return True

    def forget(self, carrier: str) -> None:
        """The carrier is dead."""
        self._drop_all(carrier)
        self._numbers.pop(carrier, None)

    def _drop_all(self, carrier: str) -> None:
        keys = self._keys.pop(carrier, {})
        for completion_id in tuple(keys):
            self._drop(keys, completion_id)

    def _drop(self, keys: dict[str, CompletionKey], completion_id: str) -> None:
        key = keys.pop(completion_id, None)
        located = self._located.get(key) if key is not None else None
        # The key may be another's by now: a start that was refused leaves its id to the next.
        if key is not None and located is not None and located.completion_id == completion_id:
            del self._located[key]
