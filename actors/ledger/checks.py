"""What a value must be before it may meet a database: checked before it is queued.

One row that a database refuses fails the transaction that it travels in, which is then done again one by
one: nothing that a client or an administrator wrote gets that far unseen.
"""

from __future__ import annotations

from dataclasses import astuple

from actors.core.errors import InvalidRequest
from actors.core.money.rules import BillingMode
from actors.ports.ledger import HoldPlacement, LimitsChange

__all__ = [
    "check_billing_mode",
    "check_limits",
    "check_name",
    "check_placement",
    "check_text",
    "is_storable",
]

_LENGTH_MAX = 256
_LIMIT_MAX = 10_000_000


def is_storable(*texts: str | None) -> bool:
    """Return whether a database can hold these: no NUL, and no half of a surrogate pair."""
    for text in texts:
        if text is None:
            continue
        if "\0" in text:
            return False
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


def check_text(text: str, param: str, *, length_min: int = 1) -> None:
    """Raises: InvalidRequest: it is too short, longer than 256 characters, or not storable."""
    if not length_min <= len(text) <= _LENGTH_MAX or not is_storable(text):
        raise InvalidRequest(
            f"{param} must be {length_min} to {_LENGTH_MAX} characters.", param=param
        )


def check_name(text: str, param: str) -> None:
    """Raises: InvalidRequest: `check_text` refuses it, or it is a name that paths give another meaning."""
    check_text(text, param)
    if not text.strip("."):
        raise InvalidRequest(f"{param} must be more than dots.", param=param)


def check_placement(placement: HoldPlacement) -> None:
    """Raises: InvalidRequest: a name in it cannot be stored."""
    header = placement.header
    check_text(header.wire_id, "id")
    check_text(header.completion_id, "completion_id")
    check_text(header.model, "model")
    if placement.idempotency is not None and placement.idempotency.key is not None:
        check_text(placement.idempotency.key, "Idempotency-Key")


def check_limits(limits: LimitsChange) -> LimitsChange:
    """Raises: InvalidRequest: a limit is below 1, or too large to mean anything."""
    for limit in astuple(limits):
        if isinstance(limit, int) and not 1 <= limit <= _LIMIT_MAX:
            raise InvalidRequest(f"A limit must be 1 to {_LIMIT_MAX}.", param="limits")
    return limits


def check_billing_mode(text: str) -> BillingMode:
    """Raises: InvalidRequest: it is not one of ours."""
    try:
        return BillingMode(text)
    except ValueError:
        raise InvalidRequest(
            "billing_mode must be metered or exempt.", param="billing_mode"
        ) from None
