"""What a provider's status or error means to us: one table for every wire format.

Owns our own sentences of a provider's fault. They never hold what the provider said, which can have
keys and addresses in it; what may be told of a refusal is `refusals`'.
"""

from __future__ import annotations

from actors.core.errors import Failure, FailureCode

__all__ = ["BROKEN_STREAM", "TOLD_STATUSES", "failure_of_status"]

BROKEN_STREAM = Failure(
    FailureCode.UPSTREAM_UNAVAILABLE, "The provider's answer broke off or could not be read."
)
"""Bytes that are no stream of the wire format, and a stream that was cut."""

TOLD_STATUSES = frozenset({400, 404, 413, 422})
"""Statuses that blame the request itself: what the provider says beside them is told."""

_MESSAGES = {
    FailureCode.UPSTREAM_UNAVAILABLE: "The provider is unavailable.",
    FailureCode.UPSTREAM_UNAUTHORIZED: "The provider refused this service's credentials.",
    FailureCode.UPSTREAM_RATE_LIMITED: "The provider's rate limit was reached.",
    FailureCode.UPSTREAM_REJECTED: "The provider refused the request.",
}


def failure_of_status(status: int | None, *, retry_after_s: float | None = None) -> Failure:
    """Return what an HTTP status other than 2xx, or the same figure in an error frame, means.

    Args:
        status: None where the provider gave none.
        retry_after_s: what the provider asked us to wait.
    """
    code = _code(status)
    return Failure(code, _MESSAGES[code], upstream_status=status, retry_after_s=retry_after_s)


def _code(status: int | None) -> FailureCode:
    if status in (401, 403):
        return FailureCode.UPSTREAM_UNAUTHORIZED
    if status == 429:
        return FailureCode.UPSTREAM_RATE_LIMITED
    if status in TOLD_STATUSES:
        return FailureCode.UPSTREAM_REJECTED
    # Redirects (which are not followed) and every other status are the provider's state or the
    # operator's mistake in its address, never the caller's fault.
    return FailureCode.UPSTREAM_UNAVAILABLE
