"""What this runtime adds to every dialect's object: its own id, why it ended, and what became of the hold.

Credits are micro-credits divided by a million: the nearest double, which prints as the exact
decimal for every amount below eight billion credits.

Source: design, sections 4 and 5.
"""

from __future__ import annotations

from typing import Any

from actors.core.events import ChargeBasis, Finished
from actors.core.record import CompletionHeader, Receipt

__all__ = ["credits", "midstream_object", "receipt_object"]


def credits(amount_microcredits: int) -> float:
    return amount_microcredits / 1_000_000


def midstream_object(header: CompletionHeader, finished: Finished | None) -> dict[str, Any]:
    """Return the member `midstream` of a completion, running (`finished` is None) or settled."""
    value: dict[str, Any] = {"completion_id": header.completion_id}
    if finished is None:
        value["hold"] = {"placed_credits": credits(header.hold_microcredits)}
        return value
    charge = finished.charge
    value["source"] = finished.source.value if finished.source else None
    value["charge_basis"] = {
        "prompt": charge.prompt_basis.value,
        "output": charge.output_basis.value,
    }
    if charge.reasoning_basis is not ChargeBasis.NONE:
        value["charge_basis"]["reasoning"] = charge.reasoning_basis.value
    value["hold"] = _hold_object(header, finished)
    if finished.error is not None:
        value["failure"] = finished.error.code.value
    return value


def _hold_object(header: CompletionHeader, finished: Finished) -> dict[str, Any]:
    charge = finished.charge
    held_microcredits = charge.held_microcredits or header.hold_microcredits
    value = {
        "placed_credits": credits(held_microcredits),
        "charged_credits": credits(charge.total_microcredits),
        "released_credits": credits(held_microcredits - charge.total_microcredits),
    }
    if charge.absorbed_microcredits:
        value["absorbed_credits"] = credits(charge.absorbed_microcredits)
    return value


def receipt_object(receipt: Receipt) -> dict[str, Any]:
    """Return what the cancellation did."""
    return {
        "source": receipt.source.value,
        "requested_at": receipt.requested_at_s,
        "upstream_closed_at": receipt.upstream_closed_at_s,
        "tokens_after_request": receipt.tokens_after_request,
    }
