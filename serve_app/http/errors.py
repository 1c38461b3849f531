"""The errors that only HTTP has, and what all dialects agree on about errors: when to come
back, whether to, and which methods a path has.

    CompletionRuntimeError
    `- HttpError
       |- RouteNotFound
       |- MethodNotAllowed       `allowed` says which are
       |- RequestTimedOut        the body did not come in time
       |- UnsupportedCoding      the body is compressed in a way that is not known here
       |- UnsupportedVersion     a version header that names no version of the API
       `- AlreadyTerminal        a cancel of what had ended, in dialects that refuse it

Status, code and shape of the body are the dialect's: see its `errors` module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from actors.core.errors import (
    CompletionIdInUse,
    CompletionRuntimeError,
    FailureCode,
    IdempotencyConflict,
    IllegalTransition,
    InsufficientCredit,
    Overloaded,
    RateLimited,
    UpstreamError,
)

__all__ = [
    "AlreadyTerminal",
    "HttpError",
    "MethodNotAllowed",
    "RequestTimedOut",
    "RouteNotFound",
    "UnsupportedCoding",
    "UnsupportedVersion",
    "error_headers",
    "refusal_status",
]


_RawHeaders = Sequence[tuple[bytes, bytes]]


class HttpError(CompletionRuntimeError):
    """Base of the shell's own; catch it, do not raise it."""


class RouteNotFound(HttpError):
    code = "route_not_found"

    def __init__(self, message: str = "There is nothing at this path.") -> None:
        super().__init__(message)


class MethodNotAllowed(HttpError):
    code = "method_not_allowed"

    def __init__(self, *, allowed: tuple[str, ...]) -> None:
        super().__init__(f"Use {', '.join(allowed) or 'another method'} here.")
        self.allowed = allowed


class RequestTimedOut(HttpError):
    code = "request_timeout"

    def __init__(self, *, timeout_s: float) -> None:
        super().__init__(f"The request body did not arrive within {timeout_s:g} s.")


class UnsupportedCoding(HttpError):
    code = "unsupported_encoding"

    def __init__(self, *, known: tuple[str, ...]) -> None:
        super().__init__(f"Content-Encoding may be {', '.join(known)} or identity.")


class UnsupportedVersion(HttpError):
    code = "unknown_version"

    def __init__(self, *, header: str, known: str) -> None:
        super().__init__(f"{header} must be the date of a version of this API, such as {known}.")
        self.header = header


class AlreadyTerminal(HttpError):
    code = "already_terminal"

    def __init__(self) -> None:
        super().__init__("The completion has already ended.")


_UPSTREAM_RETRY_AFTER_S = 1.0
"""What a caller is told where the provider that refused it (429) named no time of its own."""


_FINAL = (
    UpstreamError,
    InsufficientCredit,
    IdempotencyConflict,
    CompletionIdInUse,
    IllegalTransition,
)
"""What the same call again, by a client that repeats whatever failed, would only do twice, or in vain."""


def error_headers(error: CompletionRuntimeError, status: int) -> list[tuple[bytes, bytes]]:
    """Return `Allow`, `Retry-After` in whole seconds and at least 1, and `X-Should-Retry: false`.

    The SDKs repeat a call that was answered 408, 409, 429 or 5xx, and know nothing of what it came to: where
    a provider was asked, where we are in conflict, and where the credit is used up, they are told not to.
    """
    if isinstance(error, MethodNotAllowed):
        return [(b"allow", ", ".join(error.allowed).encode("ascii"))]
    return [*_retry_after(error), *_should_retry(error, status)]


def _should_retry(error: CompletionRuntimeError, status: int) -> _RawHeaders:
    is_final = status == 409 or isinstance(error, _FINAL)
    return ((b"x-should-retry", b"false"),) if is_final else ()


def _retry_after(error: CompletionRuntimeError) -> _RawHeaders:
    seconds: float | None = None
    if isinstance(error, RateLimited | Overloaded):
        seconds = error.retry_after_s
    elif isinstance(error, UpstreamError):
        failure = error.failure
        if failure.code is FailureCode.UPSTREAM_RATE_LIMITED:
            seconds = failure.retry_after_s or _UPSTREAM_RETRY_AFTER_S
    if seconds is None:
        return ()
    return ((b"retry-after", b"%d" % max(1, math.ceil(seconds))),)


_REFUSAL_STATUSES = frozenset({400, 404, 409, 413, 415, 422})


def refusal_status(upstream_status: int | None) -> int:
    """Return the status of a request that the provider refused: its own, where it is about the request.

    What a provider says of our key or our account is no fault of the caller.
    """
    if upstream_status in _REFUSAL_STATUSES:
        return upstream_status
    return 400
