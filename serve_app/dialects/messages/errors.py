"""Errors in the messages dialect's words: status, type and envelope.

One body for two kinds of clients: Anthropic's read `type` and `error`, the vendor's read `detail`,
which is a string, or for validation a list of `{loc, msg, type}`. A request that is
not valid is 400, as at Anthropic's, or 422, as the asynchronous API's page has it: the dialect says which.

Source: contract of the messages dialect, sections 1, 6 and 7; design, section 7.
"""

from __future__ import annotations

import re
from typing import Any

from actors.core.errors import (
    CompletionNotFound,
    CompletionRuntimeError,
    FailureCode,
    Forbidden,
    InsufficientCredit,
    InvalidRequest,
    NotCancellable,
    Overloaded,
    RateLimited,
    ReplayGap,
    RequestError,
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
    refused,
    with_failure,
)
from serve_app.http.errors import (
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
)

__all__ = [
    "MESSAGES_ERRORS",
    "THREAD_UNSUPPORTED",
    "StreamNotFound",
    "error_members",
    "error_object",
    "error_reply",
    "validation_detail",
]

MESSAGE_ID = "message_id"


class StreamNotFound(CompletionNotFound):
    """`CompletionNotFound`, and the id that was asked for: this API says it again."""

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self.message_id = message_id


_INVALID = ErrorRow(400, "invalid_request_error")
_NOT_FOUND = ErrorRow(404, "not_found_error")
_OVERLOADED = ErrorRow(529, "overloaded_error")
_RATE = ErrorRow(429, "rate_limit_error")

THREAD_UNSUPPORTED = "thread_unsupported_request"
"""The API's own code, in the error's `details`: its SDKs go on without a thread where they read it."""

_UNSUPPORTED_REASONS = frozenset(
    {"unsupported", "tool_choice_required_unsupported", THREAD_UNSUPPORTED}
)
"""Of a member that is well said, and cannot be honoured."""

_TYPES_BY_STATUS = {400: "invalid_request_error", 404: "not_found_error", 413: "request_too_large"}

MESSAGES_ERRORS = ErrorWords(
    rows={
        RequestError: _INVALID,
        InvalidRequest: _INVALID,
        ReplayGap: _INVALID._replace(param="after"),
        Unauthenticated: ErrorRow(401, "authentication_error"),
        Forbidden: ErrorRow(403, "permission_error"),
        UnknownModel: _NOT_FOUND._replace(param="model"),
        CompletionNotFound: _NOT_FOUND,
        RouteNotFound: _NOT_FOUND,
        MethodNotAllowed: ErrorRow(405, "invalid_request_error"),
        RequestTimedOut: ErrorRow(408, "timeout_error"),
        UnsupportedCoding: ErrorRow(415, "invalid_request_error"),
        RequestTooLarge: ErrorRow(413, "request_too_large"),
        InsufficientCredit: ErrorRow(402, "billing_error"),
        RateLimited: _RATE,
        Overloaded: _OVERLOADED,
        NotCancellable: _OVERLOADED,  # The cancel is on its way: the same call again will tell.
    },
    failures={
        FailureCode.COMPLETION_LOST: ErrorRow(500, "api_error"),
        FailureCode.UPSTREAM_RATE_LIMITED: _RATE,
        FailureCode.UPSTREAM_REJECTED: _INVALID,
    },
    unavailable=ErrorRow(502, "api_error"),
    internal=ErrorRow(500, "api_error", message=INTERNAL_SAYS),
)

_CHALLENGE = b'Basic realm="All the API", charset="UTF-8"'

_MESSAGE_ID_SHOWN_MAX = 128

_STEP = re.compile(r"[^.\[\]]+")


def error_reply(error: CompletionRuntimeError, *, request_id: str, is_unprocessable: bool) -> Reply:
    """Return the whole HTTP answer but for the headers that every answer has.

    Args:
        is_unprocessable: whether a request that is not valid is 422.
    """
    row = _row(error)
    is_invalid = isinstance(error, InvalidRequest | ReplayGap)
    is_unsupported = getattr(error, "reason", "") in _UNSUPPORTED_REASONS
    status = 422 if is_unprocessable and is_invalid and not is_unsupported else row.status
    value: dict[str, Any] = {"type": "error", "error": error_object(error)}
    value |= error_members(error, request_id)
    value["detail"] = _detail(error, row)
    retry_after_s = 1.0 if isinstance(error, NotCancellable) else None
    return error_answer(error, status, value, challenge=_CHALLENGE, retry_after_s=retry_after_s)


def error_object(error: CompletionRuntimeError) -> dict[str, Any]:
    """Return `{type, message}`, as an HTTP error and an error event have it."""
    row = _row(error)
    value: dict[str, Any] = {"type": row.type, "message": _message(error, row)}
    if isinstance(error, InvalidRequest) and error.reason == THREAD_UNSUPPORTED:
        value["details"] = {"error_code": error.reason, "unsupported": [error.param]}
    return value


def error_members(error: CompletionRuntimeError, request_id: str) -> dict[str, Any]:
    """Return what stands beside the error, in both."""
    return with_failure(error, {"request_id": request_id})


def validation_detail(error: CompletionRuntimeError) -> list[dict[str, Any]]:
    """Return the one fault of a request as a list of faults."""
    param = getattr(error, "param", None) or MESSAGES_ERRORS.row(error).param
    reason = getattr(error, "reason", "")
    return [
        {
            "loc": _location(param),
            "msg": error.message,
            "type": "missing" if reason == "missing_field" else "value_error",
        }
    ]


def _location(param: str | None) -> list[str | int]:
    if param is None:
        return ["body"]
    if param in (MESSAGE_ID, "after"):
        return ["query", param]
    if param.lower().startswith("midstream-") or param == "Last-Event-ID":
        return ["header", param]
    steps = (int(step) if step.isdecimal() else step for step in _STEP.findall(param))
    return ["body", *steps]


def _row(error: CompletionRuntimeError) -> ErrorRow:
    row = MESSAGES_ERRORS.row(error)
    if isinstance(error, UpstreamError) and error.failure.code is FailureCode.UPSTREAM_REJECTED:
        told = refused(error.failure, row)
        of_status = _TYPES_BY_STATUS.get(told.status, "invalid_request_error")
        is_ours = error.failure.upstream_type in _TYPES_BY_STATUS.values()
        return told if is_ours else told._replace(type=of_status)
    return row


def _message(error: CompletionRuntimeError, row: ErrorRow) -> str:
    if isinstance(error, StreamNotFound):
        return f"Stream with message_id {error.message_id[:_MESSAGE_ID_SHOWN_MAX]} not found"
    return MESSAGES_ERRORS.message(error, row)


def _detail(error: CompletionRuntimeError, row: ErrorRow) -> Any:
    if isinstance(error, InvalidRequest | ReplayGap):
        return validation_detail(error)
    if row.status == 401:
        return "Not authenticated"
    return _message(error, row)
