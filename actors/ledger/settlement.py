"""A settlement in the form in which it is stored.

Whoever carried the completion packs it, so that the single writer of the ledger spends nothing on
encoding. It knows neither Ray nor the store.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors import IllegalTransition
from actors.core.events import Status
from actors.core.request import Dialect, Retention
from actors.ports.ledger import Settlement

__all__ = ["PackedSettlement"]


@dataclass(frozen=True, slots=True)
class PackedSettlement:
    """What the ledger needs of a terminal record, and the record as bytes.

    `charge_microcredits` is posted; where it is 0 and the completion did not complete, the hold is
    voided. `failure` is a failed one's code. `body` is `CompletionRecord.to_bytes()`.
    """

    completion_id: str
    dialect: Dialect
    retention: Retention
    status: Status
    source: str | None
    failure: str | None
    tokens_output: int
    charge_microcredits: int
    absorbed_microcredits: int
    body: bytes

    @property
    def is_void(self) -> bool:
        return self.charge_microcredits == 0 and self.status is not Status.COMPLETED

    @classmethod
    def of(cls, settlement: Settlement) -> PackedSettlement:
        """Pack a settlement. Costs an encoding of the whole record.

        Raises:
            IllegalTransition: the record is not terminal: the caller's bug.
        """
        record = settlement.record
        finished = record.finished
        if finished is None:
            raise IllegalTransition("A settlement needs a terminal record.")
        return cls(
            completion_id=record.header.completion_id,
            dialect=record.header.dialect,
            retention=record.header.retention,
            status=finished.status,
            source=finished.source.value if finished.source else None,
            failure=finished.error.code.value if finished.error else None,
            tokens_output=finished.usage.completion_tokens + finished.usage.reasoning_tokens,
            charge_microcredits=finished.charge.total_microcredits,
            absorbed_microcredits=finished.charge.absorbed_microcredits,
            body=record.for_store().to_bytes(),
        )
