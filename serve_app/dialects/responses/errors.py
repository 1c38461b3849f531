"""Errors in the Responses dialect's words: status, type, code and envelope.

One table from error to row, and one from a failure's code to row. All four members of the envelope are
always there. `midstream.failure` beside it has the runtime's own word for a failed completion.

Source: contract of the Responses dialect, sections 5 and 7; design, section 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from actors.core.errors import (
    CompletionIdInUse,
    CompletionNotFound,
    CompletionRuntimeError,
    Failure,
    FailureCode,
    Forbidden,
    IdempotencyKeyReused,
    InsufficientCredit,
    InvalidRequest,
    NativeUnsupported,
    NotCancellable,
    Overloaded,
    RateLimited,
    ReplayGap,
    RequestTooLarge,
    Unauthenticated,
    UnknownModel,
    UnknownProvider,
    UpstreamError,
)
from serve_app.dialects.base import Reply, render
from serve_app.http.errors import (
    HttpError,
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
    error_headers,
    refusal_status,
)

__all__ = [
    "ItemNotFound",
    "NotBackground",
    "PreviousResponseNotFound",
    "envelope",
    "error_reply",
    "failure_message",
]

_BUDGET_RETRY_AFTER_S = 60
"""Credits come back when somebody grants them, which no clock tells."""


class PreviousResponseNotFound(HttpError):
    """`previous_response_id`, or what that one named itself, is no response of this team."""

    code = "previous_response_not_found"

    def __init__(self, wire_id: str) -> None:
        super().__init__(f"Previous response with id {wire_id[:256]!r} not found.")


class ItemNotFound(HttpError):
    """An `item_reference` names nothing that this team has here."""

    code = "item_not_found"

    def __init__(self, id: str) -> None:
        super().__init__(f"Item with id {id[:256]!r} not found.")


class NotBackground(HttpError):
    """A cancel, where only background responses may be cancelled."""

    code = "not_background"

    def __init__(self) -> None:
        super().__init__("Cannot cancel a synchronous response.")


class _Row(NamedTuple):
    status: int
    type: str
    code: str | None = None
    param: str | None = None


_INVALID = "invalid_request_error"
_NOT_FOUND = "not_found_error"
_PROVIDER = "provider_error"
_RATE = "rate_limit_error"

_INTERNAL = _Row(500, _PROVIDER)

_FAILURES: Mapping[FailureCode, _Row] = MappingProxyType(
    {
        FailureCode.UPSTREAM_UNAVAILABLE: _Row(502, _PROVIDER),
        FailureCode.UPSTREAM_UNAUTHORIZED: _Row(502, _PROVIDER),
        FailureCode.UPSTREAM_TIMEOUT: _Row(502, _PROVIDER),
        FailureCode.COMPLETION_LOST: _Row(502, _PROVIDER, "completion_lost"),
        FailureCode.UPSTREAM_RATE_LIMITED: _Row(429, _RATE, "rate_limit_exceeded"),
        FailureCode.UPSTREAM_REJECTED: _Row(400, _INVALID),
        FailureCode.INTERNAL: _INTERNAL,
    }
)

_ROWS: Mapping[type[CompletionRuntimeError], _Row] = MappingProxyType(
    {
        InvalidRequest: _Row(400, _INVALID),
        UnknownModel: _Row(404, _INVALID, "model_not_found", "model"),
        UnknownProvider: _Row(400, _INVALID, None, "provider"),
        Unauthenticated: _Row(401, "authentication_error", "invalid_api_key"),
        Forbidden: _Row(403, "authentication_error"),
        CompletionNotFound: _Row(404, _NOT_FOUND, "response_not_found"),
        PreviousResponseNotFound: _Row(
            404, _NOT_FOUND, "previous_response_not_found", "previous_response_id"
        ),
        ItemNotFound: _Row(404, _INVALID, None, "input"),
        NotBackground: _Row(400, _INVALID),
        NativeUnsupported: _Row(501, _INVALID, "unsupported_response_operation"),
        RouteNotFound: _Row(404, _NOT_FOUND),
        MethodNotAllowed: _Row(405, _INVALID, "method_not_allowed"),
        RequestTimedOut: _Row(408, _INVALID),
        UnsupportedCoding: _Row(415, _INVALID),
        RequestTooLarge: _Row(413, _INVALID, "request_too_large"),
        IdempotencyKeyReused: _Row(422, _INVALID, "idempotency_key_in_use"),
        CompletionIdInUse: _Row(409, _INVALID, "completion_id_in_use"),
        InsufficientCredit: _Row(429, _RATE, "budget_exceeded"),
        RateLimited: _Row(429, _RATE, "rate_limit_exceeded"),
        Overloaded: _Row(503, _PROVIDER, "overloaded"),
        NotCancellable: _Row(504, _PROVIDER, "response_not_cancellable"),
        ReplayGap: _Row(400, _INVALID, None, "starting_after"),
    }
)

_PARAMS = {"max_tokens": "max_output_tokens", "messages": "input"}
"""What the runtime calls after chat's members, in this API's words."""


def error_reply(error: CompletionRuntimeError) -> Reply:
    """Return the whole HTTP answer but for the headers that every answer has."""
    row = _row(error)
    headers = error_headers(error, row.status)
    if isinstance(error, InsufficientCredit):
        headers.append((b"retry-after", b"%d" % _BUDGET_RETRY_AFTER_S))
    if row.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return Reply(row.status, render(envelope(error)), tuple(headers))


def envelope(error: CompletionRuntimeError) -> dict[str, Any]:
    """Return `{"error": {...}}`, with `midstream.failure` beside it for a failed completion."""
    row = _row(error)
    body = {
        "message": _message(error, row),
        "type": row.type,
        "param": _param(error, row),
        "code": _code(error, row),
    }
    if not isinstance(error, UpstreamError):
        return {"error": body}
    return {"error": body, "midstream": {"failure": error.failure.code.value}}


def failure_message(failure: Failure) -> str:
    if failure.code is FailureCode.COMPLETION_LOST:
        return f"The response was lost and is not charged. {failure.message}"
    return failure.message


def _row(error: CompletionRuntimeError) -> _Row:
    if isinstance(error, UpstreamError):
        return _failure_row(error.failure)
    # Anything else is our own bug (IllegalTransition, say) and no fault of the caller.
    rows = (_ROWS[kind] for kind in type(error).__mro__ if kind in _ROWS)
    return next(rows, _INTERNAL)


def _failure_row(failure: Failure) -> _Row:
    """Return the row of a failed completion; a refusal is told as the provider told it."""
    row = _FAILURES[failure.code]
    if failure.code is not FailureCode.UPSTREAM_REJECTED:
        return row
    return _Row(
        refusal_status(failure.upstream_status),
        failure.upstream_type or row.type,
        failure.upstream_code,
        failure.param,
    )


def _param(error: CompletionRuntimeError, row: _Row) -> str | None:
    if isinstance(error, InvalidRequest) and error.param is not None:
        return _PARAMS.get(error.param, error.param)
    return row.param


def _code(error: CompletionRuntimeError, row: _Row) -> str | None:
    if isinstance(error, InvalidRequest) and error.reason == "max_input_tokens_exceeded":
        return "context_length_exceeded"
    return row.code


def _message(error: CompletionRuntimeError, row: _Row) -> str:
    if isinstance(error, UpstreamError):
        return failure_message(error.failure)
    if isinstance(error, CompletionNotFound):
        return "No response with that id."
    if row is _INTERNAL:
        return "Something went wrong on our side; the request id finds it in our logs."
    return error.message
