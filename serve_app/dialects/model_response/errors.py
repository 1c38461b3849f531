"""Errors in the model-response dialect's words: status, type, code, param and the published messages.

Where the primary page prints a message, it is sent as it is printed. An error of a member that the
runtime names in its own words is told in this API's: `max_tokens` is `maxOutputSynapses` here.

Source: contract of the model-response dialect, section 6; design, section 7.
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
    NotCancellable,
    Overloaded,
    RateLimited,
    ReplayGap,
    RequestTooLarge,
    Unauthenticated,
    UnknownModel,
    UpstreamError,
)
from serve_app.dialects.base import Reply, render
from serve_app.dialects.model_response.request import ORGANIZATION
from serve_app.http.errors import (
    AlreadyTerminal,
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
    error_headers,
)

__all__ = [
    "FAILURES",
    "INVALID_STATUS",
    "ModelResponseErrorRow",
    "envelope",
    "error_object",
    "error_reply",
    "failure_object",
]


class ModelResponseErrorRow(NamedTuple):
    """`message` is the published one, None where the error's own is sent."""

    status: int
    type: str
    code: str
    param: str | None = None
    message: str | None = None


_INVALID = "invalid_request_error"

_INTERNAL = ModelResponseErrorRow(
    500,
    "api_error",
    "internal_error",
    message="Something went wrong on our side; the request id finds it in our logs.",
)
_UNAVAILABLE = ModelResponseErrorRow(502, "api_error", "api_error")

INVALID_STATUS = ModelResponseErrorRow(
    400,
    _INVALID,
    "invalid_status",
    "response_id",
    "Response cannot be cancelled. Only responses with status 'processing' can be cancelled.",
)
"""Of a cancel whose target failed."""

FAILURES: Mapping[FailureCode, ModelResponseErrorRow] = MappingProxyType(
    {
        FailureCode.UPSTREAM_UNAVAILABLE: _UNAVAILABLE,
        FailureCode.UPSTREAM_UNAUTHORIZED: _UNAVAILABLE,
        FailureCode.UPSTREAM_TIMEOUT: _UNAVAILABLE,
        FailureCode.COMPLETION_LOST: _UNAVAILABLE,
        FailureCode.UPSTREAM_RATE_LIMITED: ModelResponseErrorRow(
            429, "rate_limit_error", "rate_limit"
        ),
        FailureCode.UPSTREAM_REJECTED: ModelResponseErrorRow(400, _INVALID, "invalid_request"),
        FailureCode.INTERNAL: _INTERNAL,
    }
)

_ROWS: Mapping[type[CompletionRuntimeError], ModelResponseErrorRow] = MappingProxyType(
    {
        UnknownModel: ModelResponseErrorRow(404, "not_found_error", "model_not_found", "model"),
        Unauthenticated: ModelResponseErrorRow(
            401, "authentication_error", "invalid_api_key", message="Invalid API key provided"
        ),
        Forbidden: ModelResponseErrorRow(
            403,
            "permission_error",
            "insufficient_permissions",
            ORGANIZATION,
            "Organization access denied",
        ),
        CompletionNotFound: ModelResponseErrorRow(
            404, "not_found_error", "response_not_found", message="Response not found"
        ),
        AlreadyTerminal: ModelResponseErrorRow(
            409,
            _INVALID,
            "response_already_finalized",
            message="Response already completed or cancelled",
        ),
        NotCancellable: ModelResponseErrorRow(409, _INVALID, "response_not_cancellable"),
        RouteNotFound: ModelResponseErrorRow(404, "not_found_error", "route_not_found"),
        MethodNotAllowed: ModelResponseErrorRow(405, _INVALID, "method_not_allowed"),
        RequestTimedOut: ModelResponseErrorRow(408, _INVALID, "request_timeout"),
        UnsupportedCoding: ModelResponseErrorRow(415, _INVALID, "unsupported_encoding"),
        RequestTooLarge: ModelResponseErrorRow(413, _INVALID, "request_too_large"),
        IdempotencyKeyReused: ModelResponseErrorRow(422, _INVALID, "idempotency_key_in_use"),
        CompletionIdInUse: ModelResponseErrorRow(409, _INVALID, "completion_id_in_use"),
        InsufficientCredit: ModelResponseErrorRow(402, "billing_error", "insufficient_credits"),
        RateLimited: ModelResponseErrorRow(429, "rate_limit_error", "rate_limit"),
        Overloaded: ModelResponseErrorRow(503, "api_error", "model_unavailable"),
        ReplayGap: ModelResponseErrorRow(400, _INVALID, "invalid_parameter", "starting_after"),
    }
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
    """Return the whole HTTP answer but for the headers that every answer has."""
    headers = error_headers(error, _row(error).status)
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    return Reply(_row(error).status, render(envelope(error)), tuple(headers))


def envelope(error: CompletionRuntimeError) -> dict[str, Any]:
    """Return `{"error": {...}}`, with `midstream.failure` beside it for a failed completion."""
    row = _row(error)
    if isinstance(error, UpstreamError):
        failure = error.failure
        return {"error": failure_object(failure), "midstream": {"failure": failure.code.value}}
    return error_object(row, error.message)


def error_object(row: ModelResponseErrorRow, message: str = "") -> dict[str, Any]:
    value = {"message": row.message or message, "type": row.type, "code": row.code}
    if row.param is not None:
        value["param"] = row.param
    return {"error": value}


def failure_object(failure: Failure) -> dict[str, Any]:
    """Return why a completion failed, as an answer, a GET and a stream show it."""
    row = FAILURES[failure.code]
    message = row.message or failure.message
    if failure.code is FailureCode.COMPLETION_LOST:
        message = f"The response was lost and is not charged. {message}"
    return {"message": message, "type": row.type, "code": row.code}


def _row(error: CompletionRuntimeError) -> ModelResponseErrorRow:
    match error:
        case InvalidRequest():
            param = _PARAMS.get(error.param or "", error.param)
            return ModelResponseErrorRow(
                400, _INVALID, _CODES.get(error.reason, "invalid_parameter"), param
            )
        case UpstreamError():
            return FAILURES[error.failure.code]
        case _:
            # Anything else is our own bug (IllegalTransition, say) and no fault of the caller.
            rows = (_ROWS[kind] for kind in type(error).__mro__ if kind in _ROWS)
            return next(rows, _INTERNAL)
