"""Errors in the chat dialect's words: status, code, type and envelope.

Four things no row can hold: a fault of the request, of the key and of the rate say more of themselves,
and what is missing in a create is another thing than what is missing in a cancel.

`completion_lost` reads as `internal_error`: it is the runtime's fault and no provider's. `midstream.failure`
beside the error has the runtime's own word for every failure.

Source: contract of the chat dialect, section 8; design, section 7.
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
    IdempotencyConflict,
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
from serve_app.dialects.base import Operation, Reply
from serve_app.dialects.errors import (
    INTERNAL_SAYS,
    ErrorRow,
    ErrorWords,
    error_answer,
    refused,
    with_failure,
)
from serve_app.http.errors import (
    AlreadyTerminal,
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
    UnsupportedVersion,
)

__all__ = ["CHAT_ERRORS", "envelope", "error_reply", "failure_row"]

DOC_URL = "https://docs.aurous-labs.com/errors#"

_INVALID, _RATE, _SERVER = "invalid_request", "rate_limit", "server_error"
_NOT_FOUND = ErrorRow(404, "not_found", "resource_not_found")
_NO_COMPLETION = _NOT_FOUND._replace(message="No chat completion with that id.")

CHAT_ERRORS = ErrorWords(
    rows={
        UnknownModel: _NOT_FOUND._replace(param="model"),
        Forbidden: _NOT_FOUND,  # This API has no 403 (contract, A13).
        CompletionNotFound: _NO_COMPLETION,
        RouteNotFound: _NOT_FOUND,
        MethodNotAllowed: ErrorRow(405, _INVALID, "method_not_allowed"),
        RequestTimedOut: ErrorRow(408, _INVALID, "request_timeout"),
        UnsupportedCoding: ErrorRow(415, _INVALID, "unsupported_encoding"),
        UnsupportedVersion: ErrorRow(400, _INVALID, "unknown_version"),
        RequestTooLarge: ErrorRow(413, _INVALID, "request_too_large"),
        CompletionIdInUse: ErrorRow(409, _INVALID, "completion_id_in_use"),
        IdempotencyKeyReused: ErrorRow(422, _INVALID, "idempotency_key_in_use"),
        IdempotencyConflict: ErrorRow(409, _INVALID, "idempotency_key_in_use"),
        InsufficientCredit: ErrorRow(402, _INVALID, "balance_too_low"),
        Overloaded: ErrorRow(503, _SERVER, "overloaded"),
        NotCancellable: ErrorRow(409, _INVALID, "chat_cancel_target_not_cancellable"),
        AlreadyTerminal: ErrorRow(409, _INVALID, "chat_cancel_target_already_terminal"),
        ReplayGap: ErrorRow(400, _INVALID, "value_out_of_range", "starting_after"),
    },
    failures={
        FailureCode.COMPLETION_LOST: ErrorRow(500, _SERVER, "internal_error"),
        FailureCode.UPSTREAM_RATE_LIMITED: ErrorRow(429, _RATE, "too_many_requests"),
        FailureCode.UPSTREAM_REJECTED: ErrorRow(400, _INVALID, "invalid_format"),
    },
    unavailable=ErrorRow(502, _SERVER, "chat_provider_unavailable"),
    internal=ErrorRow(500, _SERVER, "internal_error", message=INTERNAL_SAYS),
)

_REASONS = frozenset(
    {
        "missing_field", "invalid_format", "value_out_of_range", "max_tokens_exceeds_hard_cap",
        "max_input_tokens_exceeded", "model_wrong_kind", "tool_choice_required_unsupported",
    }
)  # fmt: skip

_KEY_CODES = {
    "missing": "missing_api_key",
    "invalid": "invalid_api_key",
    "revoked": "revoked_api_key",
}

_RATE_CODES = {"requests": "too_many_requests", "concurrency": "concurrency_limit_exceeded"}


def error_reply(
    error: CompletionRuntimeError, *, operation: Operation, request_id: str, is_strict: bool
) -> Reply:
    status = _row(error, operation, is_strict=is_strict).status
    return error_answer(error, status, envelope(error, operation, request_id, is_strict=is_strict))


def envelope(
    error: CompletionRuntimeError, operation: Operation, request_id: str, *, is_strict: bool
) -> dict[str, Any]:
    """Return `{"error": {...}}`, with `midstream.failure` beside it for a failed completion.

    The page's link to the code's explanation leads to another company's site: it is there under
    strict contracts alone.
    """
    row = _row(error, operation, is_strict=is_strict)
    body = {"type": row.type, "code": row.code, "message": CHAT_ERRORS.message(error, row)}
    if isinstance(error, InvalidRequest) or row.param is not None:
        body["param"] = row.param
    if is_strict:
        body["doc_url"] = f"{DOC_URL}{row.code}"
    body["request_id"] = request_id
    if isinstance(error, UpstreamError):
        return with_failure(error, {"error": body | _of_provider(error.failure)})
    return {"error": body}


def _of_provider(failure: Failure) -> dict[str, Any]:
    said = {"param": failure.param, "status": failure.upstream_status}
    return {name: member for name, member in said.items() if member is not None}


def failure_row(failure: Failure, *, is_strict: bool) -> ErrorRow:
    """Return status, code and type of a failed completion."""
    row = CHAT_ERRORS.failure_row(failure)
    if is_strict or failure.code is not FailureCode.UPSTREAM_REJECTED:
        return row
    return refused(failure, row)


def _row(error: CompletionRuntimeError, operation: Operation, *, is_strict: bool) -> ErrorRow:
    match error:
        case InvalidRequest():
            code = error.reason if error.reason in _REASONS else "invalid_format"
            return ErrorRow(400, _INVALID, code, error.param)
        case Unauthenticated():
            code = _KEY_CODES.get(error.reason, "invalid_api_key")
            return ErrorRow(401, "authentication", code)
        case RateLimited():
            return ErrorRow(429, _RATE, _RATE_CODES.get(error.scope, "too_many_requests"))
        case UpstreamError():
            return failure_row(error.failure, is_strict=is_strict)
        case CompletionNotFound() if operation is Operation.CANCEL:
            return _NO_COMPLETION._replace(code="chat_cancel_target_not_found")
    return CHAT_ERRORS.row(error)
