"""Errors in the Responses dialect's words: status, type, code and envelope.

All four members of the envelope are always there. `midstream.failure` beside it has the runtime's own
word for a failed completion.

Source: contract of the Responses dialect, sections 5 and 7; design, section 7.
"""

from __future__ import annotations

from typing import Any

from actors.core.errors import (
    CompletionIdInUse,
    CompletionNotFound,
    CompletionRuntimeError,
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
from serve_app.dialects.base import Reply
from serve_app.dialects.errors import (
    INTERNAL_SAYS,
    ErrorRow,
    ErrorWords,
    error_answer,
    refused,
    with_failure,
)
from serve_app.http.errors import (
    HttpError,
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
)

__all__ = [
    "RESPONSES_ERRORS",
    "ItemNotFound",
    "NotBackground",
    "PreviousResponseNotFound",
    "envelope",
    "error_reply",
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


_INVALID = "invalid_request_error"
_NOT_FOUND = "not_found_error"
_PROVIDER = "provider_error"
_RATE = "rate_limit_error"

RESPONSES_ERRORS = ErrorWords(
    rows={
        InvalidRequest: ErrorRow(400, _INVALID),
        UnknownModel: ErrorRow(404, _INVALID, "model_not_found", "model"),
        UnknownProvider: ErrorRow(400, _INVALID, None, "provider"),
        Unauthenticated: ErrorRow(401, "authentication_error", "invalid_api_key"),
        Forbidden: ErrorRow(403, "authentication_error"),
        CompletionNotFound: ErrorRow(
            404, _NOT_FOUND, "response_not_found", message="No response with that id."
        ),
        PreviousResponseNotFound: ErrorRow(
            404, _NOT_FOUND, "previous_response_not_found", "previous_response_id"
        ),
        ItemNotFound: ErrorRow(404, _INVALID, None, "input"),
        NotBackground: ErrorRow(400, _INVALID),
        NativeUnsupported: ErrorRow(501, _INVALID, "unsupported_response_operation"),
        RouteNotFound: ErrorRow(404, _NOT_FOUND),
        MethodNotAllowed: ErrorRow(405, _INVALID, "method_not_allowed"),
        RequestTimedOut: ErrorRow(408, _INVALID),
        UnsupportedCoding: ErrorRow(415, _INVALID),
        RequestTooLarge: ErrorRow(413, _INVALID, "request_too_large"),
        IdempotencyKeyReused: ErrorRow(422, _INVALID, "idempotency_key_in_use"),
        CompletionIdInUse: ErrorRow(409, _INVALID, "completion_id_in_use"),
        InsufficientCredit: ErrorRow(429, _RATE, "budget_exceeded"),
        RateLimited: ErrorRow(429, _RATE, "rate_limit_exceeded"),
        Overloaded: ErrorRow(503, _PROVIDER, "overloaded"),
        NotCancellable: ErrorRow(504, _PROVIDER, "response_not_cancellable"),
        ReplayGap: ErrorRow(400, _INVALID, None, "starting_after"),
    },
    failures={
        FailureCode.COMPLETION_LOST: ErrorRow(500, _PROVIDER, "completion_lost"),
        FailureCode.UPSTREAM_RATE_LIMITED: ErrorRow(429, _RATE, "rate_limit_exceeded"),
        FailureCode.UPSTREAM_REJECTED: ErrorRow(400, _INVALID),
    },
    unavailable=ErrorRow(502, _PROVIDER),
    internal=ErrorRow(500, _PROVIDER, message=INTERNAL_SAYS),
    called="response",
)

_PARAMS = {"max_tokens": "max_output_tokens", "messages": "input"}
"""What the runtime calls after chat's members, in this API's words."""


def error_reply(error: CompletionRuntimeError) -> Reply:
    retry_after_s = _BUDGET_RETRY_AFTER_S if isinstance(error, InsufficientCredit) else None
    return error_answer(error, _row(error).status, envelope(error), retry_after_s=retry_after_s)


def envelope(error: CompletionRuntimeError) -> dict[str, Any]:
    """Return `{"error": {...}}`, with `midstream.failure` beside it for a failed completion."""
    row = _row(error)
    body = {
        "message": RESPONSES_ERRORS.message(error, row),
        "type": row.type,
        "param": row.param,
        "code": row.code,
    }
    return with_failure(error, {"error": body})


def _row(error: CompletionRuntimeError) -> ErrorRow:
    row = RESPONSES_ERRORS.row(error)
    if isinstance(error, InvalidRequest):
        is_too_long = error.reason == "max_input_tokens_exceeded"
        code = "context_length_exceeded" if is_too_long else None
        return row._replace(code=code, param=_PARAMS.get(error.param or "", error.param))
    if isinstance(error, UpstreamError) and error.failure.code is FailureCode.UPSTREAM_REJECTED:
        return refused(error.failure, row)
    return row
