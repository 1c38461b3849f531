"""What all dialects agree on about errors: how one is found in a table, when to come back, and whether to.

A dialect's `errors` module has a table of its own words (`ErrorWords`) and the shape of its envelope.
What no table names is our own bug (IllegalTransition, say) and no fault of the caller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from actors.core.errors import (
    CompletionIdInUse,
    CompletionRuntimeError,
    Failure,
    FailureCode,
    IdempotencyConflict,
    IllegalTransition,
    InsufficientCredit,
    Overloaded,
    RateLimited,
    UpstreamError,
)
from serve_app.dialects.base import Reply, render
from serve_app.http.errors import MethodNotAllowed

__all__ = ["INTERNAL_SAYS", "ErrorRow", "ErrorWords", "error_answer", "refused", "with_failure"]

INTERNAL_SAYS = "Something went wrong on our side; the request id finds it in our logs."


class ErrorRow(NamedTuple):
    """How an error is told. `message` is the published one, None where the error's own is sent."""

    status: int
    type: str
    code: str | None = None
    param: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ErrorWords:
    """One dialect's table.

    Args:
        rows: by error; one that is not there is told as what it is a kind of.
        failures: of a failed completion, by its failure's code.
        unavailable: of all other failures.
        internal: of all other errors, and of a failure of our own.
        called: what the dialect calls a completion.
    """

    rows: Mapping[type[CompletionRuntimeError], ErrorRow]
    failures: Mapping[FailureCode, ErrorRow]
    unavailable: ErrorRow
    internal: ErrorRow
    called: str = "completion"

    def row(self, error: CompletionRuntimeError) -> ErrorRow:
        if isinstance(error, UpstreamError):
            return self.failure_row(error.failure)
        rows = (self.rows[kind] for kind in type(error).__mro__ if kind in self.rows)
        return next(rows, self.internal)

    def failure_row(self, failure: Failure) -> ErrorRow:
        if failure.code is FailureCode.INTERNAL:
            return self.internal
        return self.failures.get(failure.code, self.unavailable)

    def message(self, error: CompletionRuntimeError, row: ErrorRow) -> str:
        if isinstance(error, UpstreamError):
            return self.failure_message(error.failure)
        return row.message or error.message

    def failure_message(self, failure: Failure) -> str:
        if failure.code is FailureCode.COMPLETION_LOST:
            return f"The {self.called} was lost and is not charged. {failure.message}"
        return failure.message


def with_failure(error: CompletionRuntimeError, envelope: dict[str, Any]) -> dict[str, Any]:
    """Return the envelope, with the runtime's own word for why a completion failed beside the error."""
    if not isinstance(error, UpstreamError):
        return envelope
    return {**envelope, "midstream": {"failure": error.failure.code.value}}


_REFUSAL_STATUSES = frozenset({400, 404, 409, 413, 415, 422})


def refused(failure: Failure, row: ErrorRow) -> ErrorRow:
    """Return the row of a request that the provider refused, as the provider told it.

    Its status stands where it is about the request: what a provider says of our key or our account is no
    fault of the caller. Clients go by status, type and code when they ask again without what was refused.
    """
    status = failure.upstream_status
    return ErrorRow(
        status if status in _REFUSAL_STATUSES else 400,
        failure.upstream_type or row.type,
        failure.upstream_code or row.code,
        failure.param,
    )


_FINAL = (
    UpstreamError,
    InsufficientCredit,
    IdempotencyConflict,
    CompletionIdInUse,
    IllegalTransition,
)
"""What the same call again, by a client that repeats whatever failed, would only do twice, or in vain."""

_UPSTREAM_RETRY_AFTER_S = 1.0
"""What a caller is told where the provider that refused it (429) named no time of its own."""


def error_answer(
    error: CompletionRuntimeError,
    status: int,
    value: dict[str, Any],
    *,
    challenge: bytes = b"Bearer",
    retry_after_s: float | None = None,
) -> Reply:
    """Return the whole HTTP answer but for the headers that every answer has.

    `Retry-After` is in whole seconds and at least 1. The SDKs repeat a call that was answered 408, 409, 429
    or 5xx, and know nothing of what it came to: where a provider was asked, where we are in conflict, and
    where the credit is used up, they are told not to (`X-Should-Retry: false`).

    Args:
        challenge: what a caller without a key is asked for.
        retry_after_s: what the dialect says where the error itself knows no time.
    """
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode("ascii")))
    seconds = _retry_after_s(error)
    seconds = retry_after_s if seconds is None else seconds
    if seconds is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(seconds))))
    if status == 409 or isinstance(error, _FINAL):
        headers.append((b"x-should-retry", b"false"))
    if status == 401:
        headers.append((b"www-authenticate", challenge))
    return Reply(status, render(value), tuple(headers))


def _retry_after_s(error: CompletionRuntimeError) -> float | None:
    if isinstance(error, RateLimited | Overloaded):
        return error.retry_after_s
    if isinstance(error, UpstreamError):
        failure = error.failure
        if failure.code is FailureCode.UPSTREAM_RATE_LIMITED:
            return failure.retry_after_s or _UPSTREAM_RETRY_AFTER_S
    return None
