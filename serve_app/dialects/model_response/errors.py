"""Errors in the model-response dialect's words: status, type, code, param and the published messages.

Where the primary page prints a message, it is sent as it is printed. An error of a member that the
runtime names in its own words is told in this API's: `max_tokens` is `maxOutputSynapses` here.

Source: contract of the model-response dialect, section 6; design, section 7.
"""

from __future__ import annotations

from typing import Any

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
    NotCancellable,
    Overloaded,
    RateLimited,
    ReplayGap,
    RequestTooLarge,
    Unauthenticated,
    UnknownModel,
    UpstreamError,
)
from serve_app.dialects.base import Reply
from serve_app.dialects.errors import (
    INTERNAL_SAYS,
    ErrorRow,
    ErrorWords,
    error_answer,
    with_failure,
)
from serve_app.dialects.model_response.request import ORGANIZATION
from serve_app.http.errors import (
    AlreadyTerminal,
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
)

__all__ = ["INVALID_STATUS", "envelope", "error_object", "error_reply", "failure_object"]


_INVALID = "invalid_request_error"

INVALID_STATUS = ErrorRow(
    400,
    _INVALID,
    "invalid_status",
    "response_id",
    "Response cannot be cancelled. Only responses with status 'processing' can be cancelled.",
)
"""Of a cancel whose target failed."""

_ERRORS = ErrorWords(
    rows={
        UnknownModel: ErrorRow(404, "not_found_error", "model_not_found", "model"),
        Unauthenticated: ErrorRow(
            401, "authentication_error", "invalid_api_key", message="Invalid API key provided"
        ),
        Forbidden: ErrorRow(
            403,
            "permission_error",
            "insufficient_permissions",
            ORGANIZATION,
            "Organization access denied",
        ),
        CompletionNotFound: ErrorRow(
            404, "not_found_error", "response_not_found", message="Response not found"
        ),
        AlreadyTerminal: ErrorRow(
            409,
            _INVALID,
            "response_already_finalized",
            message="Response already completed or cancelled",
        ),
        NotCancellable: ErrorRow(409, _INVALID, "response_not_cancellable"),
        RouteNotFound: ErrorRow(404, "not_found_error", "route_not_found"),
        MethodNotAllowed: ErrorRow(405, _INVALID, "method_not_allowed"),
        RequestTimedOut: ErrorRow(408, _INVALID, "request_timeout"),
        UnsupportedCoding: ErrorRow(415, _INVALID, "unsupported_encoding"),
        RequestTooLarge: ErrorRow(413, _INVALID, "request_too_large"),
        IdempotencyKeyReused: ErrorRow(422, _INVALID, "idempotency_key_in_use"),
        CompletionIdInUse: ErrorRow(409, _INVALID, "completion_id_in_use"),
        InsufficientCredit: ErrorRow(402, "billing_error", "insufficient_credits"),
        RateLimited: ErrorRow(429, "rate_limit_error", "rate_limit"),
        Overloaded: ErrorRow(503, "api_error", "model_unavailable"),
        ReplayGap: ErrorRow(400, _INVALID, "invalid_parameter", "starting_after"),
    },
    failures={
        FailureCode.COMPLETION_LOST: ErrorRow(500, "api_error", "internal_error"),
        FailureCode.UPSTREAM_RATE_LIMITED: ErrorRow(429, "rate_limit_error", "rate_limit"),
        FailureCode.UPSTREAM_REJECTED: ErrorRow(400, _INVALID, "invalid_request"),
    },
    unavailable=ErrorRow(502, "api_error", "api_error"),
    internal=ErrorRow(500, "api_error", "internal_error", message=INTERNAL_SAYS),
    called="response",
)

_CODES = {
    "missing_field": "missing_required_parameter",
    "invalid_json": "invalid_json",
    "unsupported": "unsupported_parameter",
    "max_tokens_exceeds_hard_cap": "max_output_exceeded",
    "max_input_tokens_exceeded": "max_input_exceeded",
}

_PARAMS = {"max_tokens": "maxOutputSynapses", "messages": "inputs"}


def error_reply(error: CompletionRuntimeError) -> Reply:
    return error_answer(error, _row(error).status, envelope(error))


def envelope(error: CompletionRuntimeError) -> dict[str, Any]:
    """Return `{"error": {...}}`, with `midstream.failure` beside it for a failed completion."""
    if isinstance(error, UpstreamError):
        return with_failure(error, {"error": failure_object(error.failure)})
    return error_object(_row(error), error.message)


def error_object(row: ErrorRow, message: str = "") -> dict[str, Any]:
    value = {"message": row.message or message, "type": row.type, "code": row.code}
    if row.param is not None:
        value["param"] = row.param
    return {"error": value}


def failure_object(failure: Failure) -> dict[str, Any]:
    """Return why a completion failed, as an answer, a GET and a stream show it."""
    row = _ERRORS.failure_row(failure)
    message = row.message or _ERRORS.failure_message(failure)
    return {"message": message, "type": row.type, "code": row.code}


def _row(error: CompletionRuntimeError) -> ErrorRow:
    if isinstance(error, InvalidRequest):
        code = _CODES.get(error.reason, "invalid_parameter")
        return ErrorRow(400, _INVALID, code, _PARAMS.get(error.param or "", error.param))
    return _ERRORS.row(error)
