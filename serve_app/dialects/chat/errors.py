"""Errors in the chat dialect's words: status, code, type and envelope.

One table from error to row, one from a failure's code to row, and three reasons that a row cannot
hold: what is missing in a create is another thing than what is missing in a cancel.

`completion_lost` reads as `chat_provider_unavailable`, the code that clients of this API already
treat as "failed, not charged, may be tried again"; `midstream.failure` beside the error tells it
apart, and has the runtime's own word for every failure.

Source: contract of the chat dialect, section 8; design, section 7.
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
from serve_app.dialects.base import Operation, Reply, render
from serve_app.http.errors import (
    AlreadyTerminal,
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
    UnsupportedVersion,
    error_headers,
    refusal_status,
)

__all__ = ["FAILURES", "ChatErrorRow", "envelope", "error_reply", "failure_message", "failure_row"]

DOC_URL = "https://docs.aurous-labs.com/errors#"


class ChatErrorRow(NamedTuple):
    status: int
    code: str
    type: str


_INTERNAL = ChatErrorRow(500, "internal_error", "server_error")
_UNAVAILABLE = ChatErrorRow(502, "chat_provider_unavailable", "server_error")
_NOT_FOUND = ChatErrorRow(404, "resource_not_found", "not_found")

FAILURES: Mapping[FailureCode, ChatErrorRow] = MappingProxyType(
    {
        FailureCode.UPSTREAM_UNAVAILABLE: _UNAVAILABLE,
        FailureCode.UPSTREAM_UNAUTHORIZED: _UNAVAILABLE,
        FailureCode.UPSTREAM_TIMEOUT: _UNAVAILABLE,
        FailureCode.COMPLETION_LOST: _UNAVAILABLE,
        FailureCode.UPSTREAM_RATE_LIMITED: ChatErrorRow(429, "too_many_requests", "rate_limit"),
        FailureCode.UPSTREAM_REJECTED: ChatErrorRow(400, "invalid_format", "invalid_request"),
        FailureCode.INTERNAL: _INTERNAL,
    }
)

_ROWS: Mapping[type[CompletionRuntimeError], ChatErrorRow] = MappingProxyType(
    {
        UnknownModel: _NOT_FOUND,
        Forbidden: _NOT_FOUND,  # This API has no 403 (contract, A13).
        CompletionNotFound: _NOT_FOUND,
        RouteNotFound: _NOT_FOUND,
        MethodNotAllowed: ChatErrorRow(405, "method_not_allowed", "invalid_request"),
        RequestTimedOut: ChatErrorRow(408, "request_timeout", "invalid_request"),
        UnsupportedCoding: ChatErrorRow(415, "unsupported_encoding", "invalid_request"),
        UnsupportedVersion: ChatErrorRow(400, "unknown_version", "invalid_request"),
        RequestTooLarge: ChatErrorRow(413, "request_too_large", "invalid_request"),
        CompletionIdInUse: ChatErrorRow(409, "completion_id_in_use", "invalid_request"),
        IdempotencyKeyReused: ChatErrorRow(422, "idempotency_key_in_use", "invalid_request"),
        IdempotencyConflict: ChatErrorRow(409, "idempotency_key_in_use", "invalid_request"),
        InsufficientCredit: ChatErrorRow(402, "balance_too_low", "invalid_request"),
        Overloaded: ChatErrorRow(503, "overloaded", "server_error"),
        NotCancellable: ChatErrorRow(409, "chat_cancel_target_not_cancellable", "invalid_request"),
        AlreadyTerminal: ChatErrorRow(
            409, "chat_cancel_target_already_terminal", "invalid_request"
        ),
        ReplayGap: ChatErrorRow(400, "value_out_of_range", "invalid_request"),
    }
)

_REASONS = frozenset(
    {
        "missing_field",
        "invalid_format",
        "value_out_of_range",
        "max_tokens_exceeds_hard_cap",
        "max_input_tokens_exceeded",
        "model_wrong_kind",
        "tool_choice_required_unsupported",
    }
)

_KEY_CODES = {
    "missing": "missing_api_key",
    "invalid": "invalid_api_key",
    "revoked": "revoked_api_key",
}

_RATE_CODES = {"requests": "too_many_requests", "concurrency": "concurrency_limit_exceeded"}

_PARAMS: Mapping[type[CompletionRuntimeError], str] = MappingProxyType(
    {UnknownModel: "model", ReplayGap: "starting_after"}
)


def error_reply(
    error: CompletionRuntimeError, *, operation: Operation, request_id: str, is_strict: bool
) -> Reply:
    """Return the whole HTTP answer but for the headers that every answer has."""
    row = _row(error, operation, is_strict=is_strict)
    headers = error_headers(error, row.status)
    if row.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    value = envelope(error, operation, request_id, is_strict=is_strict)
    return Reply(row.status, render(value), tuple(headers))


def envelope(
    error: CompletionRuntimeError, operation: Operation, request_id: str, *, is_strict: bool
) -> dict[str, Any]:
    """Return `{"error": {...}}`, with `midstream.failure` beside it for a failed completion.

    The page's link to the code's explanation leads to another company's site: it is there under
    strict contracts alone.
    """
    row = _row(error, operation, is_strict=is_strict)
    body: dict[str, Any] = {"type": row.type, "code": row.code, "message": _message(error, row)}
    if isinstance(error, InvalidRequest):
        body["param"] = error.param
    elif param := _PARAMS.get(type(error)):
        body["param"] = param
    if is_strict:
        body["doc_url"] = DOC_URL + row.code
    body["request_id"] = request_id
    if not isinstance(error, UpstreamError):
        return {"error": body}
    if error.failure.param is not None:
        body["param"] = error.failure.param
    if error.failure.upstream_status is not None:
        body["status"] = error.failure.upstream_status
    return {"error": body, "midstream": {"failure": error.failure.code.value}}


def failure_row(failure: Failure, *, is_strict: bool) -> ChatErrorRow:
    """Return status, code and type of a failed completion.

    A refusal keeps the status that the provider gave it, and its words where it had any: clients go
    by them when they ask again without what was refused.
    """
    row = FAILURES[failure.code]
    if is_strict or failure.code is not FailureCode.UPSTREAM_REJECTED:
        return row
    return ChatErrorRow(
        refusal_status(failure.upstream_status),
        failure.upstream_code or row.code,
        failure.upstream_type or row.type,
    )


def _row(error: CompletionRuntimeError, operation: Operation, *, is_strict: bool) -> ChatErrorRow:
    match error:
        case InvalidRequest():
            code = error.reason if error.reason in _REASONS else "invalid_format"
            return ChatErrorRow(400, code, "invalid_request")
        case Unauthenticated():
            return ChatErrorRow(
                401, _KEY_CODES.get(error.reason, "invalid_api_key"), "authentication"
            )
        case RateLimited():
            return ChatErrorRow(
                429, _RATE_CODES.get(error.scope, "too_many_requests"), "rate_limit"
            )
        case UpstreamError():
            return failure_row(error.failure, is_strict=is_strict)
        case CompletionNotFound() if operation is Operation.CANCEL:
            return ChatErrorRow(404, "chat_cancel_target_not_found", "not_found")
        case _:
            # Anything else is our own bug (IllegalTransition, say) and no fault of the caller.
            rows = (_ROWS[kind] for kind in type(error).__mro__ if kind in _ROWS)
            return next(rows, _INTERNAL)


def _message(error: CompletionRuntimeError, row: ChatErrorRow) -> str:
    if isinstance(error, UpstreamError):
        return failure_message(error.failure)
    if isinstance(error, CompletionNotFound):
        return "No chat completion with that id."
    if row is _INTERNAL:
        return "Something went wrong on our side; the request id finds it in our logs."
    return error.message


def failure_message(failure: Failure) -> str:
    if failure.code is FailureCode.COMPLETION_LOST:
        return f"The completion was lost and is not charged. {failure.message}"
    return failure.message
