"""Errors in the messages dialect's words: status, type and envelope.

One body for two kinds of clients: Anthropic's read `type` and `error`, the vendor's read `detail`,
which is a string, or for validation a list of `{loc, msg, type}`. One table from error to row, one
from a failure's code to row. A request that is not valid is 400, as at Anthropic's, or 422, as the
asynchronous API's page has it: the dialect says which.

Source: contract of the messages dialect, sections 1, 6 and 7; design, section 7.
"""

from __future__ import annotations

import re
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
from serve_app.dialects.base import Reply, render
from serve_app.http.errors import (
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
    error_headers,
    refusal_status,
)

__all__ = [
    "THREAD_UNSUPPORTED",
    "StreamNotFound",
    "error_members",
    "error_object",
    "error_reply",
    "failure_message",
    "validation_detail",
]

MESSAGE_ID = "message_id"


class MessagesErrorRow(NamedTuple):
    status: int
    type: str


class StreamNotFound(CompletionNotFound):
    """`CompletionNotFound`, and the id that was asked for: this API says it again."""

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self.message_id = message_id


_INTERNAL = MessagesErrorRow(500, "api_error")
_UNAVAILABLE = MessagesErrorRow(502, "api_error")
_NOT_FOUND = MessagesErrorRow(404, "not_found_error")
_OVERLOADED = MessagesErrorRow(529, "overloaded_error")
_INVALID = MessagesErrorRow(400, "invalid_request_error")
_UNPROCESSABLE = MessagesErrorRow(422, "invalid_request_error")
_UNSUPPORTED = MessagesErrorRow(400, "invalid_request_error")

THREAD_UNSUPPORTED = "thread_unsupported_request"
"""The API's own code, in the error's `details`: its SDKs go on without a thread where they read it."""

_UNSUPPORTED_REASONS = frozenset(
    {"unsupported", "tool_choice_required_unsupported", THREAD_UNSUPPORTED}
)
"""Of a member that is well said, and cannot be honoured."""

_FAILURES: Mapping[FailureCode, MessagesErrorRow] = MappingProxyType(
    {
        FailureCode.UPSTREAM_UNAVAILABLE: _UNAVAILABLE,
        FailureCode.UPSTREAM_UNAUTHORIZED: _UNAVAILABLE,
        FailureCode.UPSTREAM_TIMEOUT: _UNAVAILABLE,
        FailureCode.COMPLETION_LOST: _UNAVAILABLE,
        FailureCode.UPSTREAM_RATE_LIMITED: MessagesErrorRow(429, "rate_limit_error"),
        FailureCode.UPSTREAM_REJECTED: MessagesErrorRow(400, "invalid_request_error"),
        FailureCode.INTERNAL: _INTERNAL,
    }
)

_REFUSAL_TYPES: Mapping[int, str] = MappingProxyType(
    {400: "invalid_request_error", 404: "not_found_error", 413: "request_too_large"}
)

_ROWS: Mapping[type[CompletionRuntimeError], MessagesErrorRow] = MappingProxyType(
    {
        InvalidRequest: _INVALID,
        ReplayGap: _INVALID,
        Unauthenticated: MessagesErrorRow(401, "authentication_error"),
        Forbidden: MessagesErrorRow(403, "permission_error"),
        UnknownModel: _NOT_FOUND,
        CompletionNotFound: _NOT_FOUND,
        RouteNotFound: _NOT_FOUND,
        MethodNotAllowed: MessagesErrorRow(405, "invalid_request_error"),
        RequestTimedOut: MessagesErrorRow(408, "timeout_error"),
        UnsupportedCoding: MessagesErrorRow(415, "invalid_request_error"),
        RequestTooLarge: MessagesErrorRow(413, "request_too_large"),
        CompletionIdInUse: MessagesErrorRow(400, "invalid_request_error"),
        InsufficientCredit: MessagesErrorRow(402, "billing_error"),
        RateLimited: MessagesErrorRow(429, "rate_limit_error"),
        RequestError: MessagesErrorRow(
            400, "invalid_request_error"
        ),  # any other fault of the caller
        Overloaded: _OVERLOADED,
        NotCancellable: _OVERLOADED,  # The cancel is on its way: the same call again will tell.
    }
)

_PARAMS: Mapping[type[CompletionRuntimeError], str] = MappingProxyType(
    {UnknownModel: "model", ReplayGap: "after"}
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
    if is_unprocessable and row is _INVALID:
        row = _UNPROCESSABLE
    headers = error_headers(error, row.status)
    if isinstance(error, NotCancellable):
        headers.append((b"retry-after", b"1"))
    if row.status == 401:
        headers.append((b"www-authenticate", _CHALLENGE))
    value: dict[str, Any] = {"type": "error", "error": error_object(error)}
    value |= error_members(error, request_id)
    value["detail"] = _detail(error, row)
    return Reply(row.status, render(value), tuple(headers))


def error_object(error: CompletionRuntimeError) -> dict[str, Any]:
    """Return `{type, message}`, as an HTTP error and an error event have it."""
    row = _row(error)
    value: dict[str, Any] = {"type": row.type, "message": _message(error, row)}
    if isinstance(error, InvalidRequest) and error.reason == THREAD_UNSUPPORTED:
        value["details"] = {"error_code": error.reason, "unsupported": [error.param]}
    return value


def error_members(error: CompletionRuntimeError, request_id: str) -> dict[str, Any]:
    """Return what stands beside the error, in both."""
    if not isinstance(error, UpstreamError):
        return {"request_id": request_id}
    return {"request_id": request_id, "midstream": {"failure": error.failure.code.value}}


def validation_detail(error: CompletionRuntimeError) -> list[dict[str, Any]]:
    """Return the one fault of a request as a list of faults."""
    param = _PARAMS.get(type(error)) or getattr(error, "param", None)
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


def _row(error: CompletionRuntimeError) -> MessagesErrorRow:
    if isinstance(error, UpstreamError):
        return _failure_row(error.failure)
    if isinstance(error, InvalidRequest) and error.reason in _UNSUPPORTED_REASONS:
        return _UNSUPPORTED
    # Anything unlisted is our own bug (IllegalTransition, say) and no fault of the caller.
    rows = (_ROWS[kind] for kind in type(error).__mro__ if kind in _ROWS)
    return next(rows, _INTERNAL)


def _failure_row(failure: Failure) -> MessagesErrorRow:
    """Return the row of a failed completion; a refusal is told as the provider told it.

    Clients of this format go by status, type and message when they ask again without what was refused.
    """
    if failure.code is not FailureCode.UPSTREAM_REJECTED:
        return _FAILURES[failure.code]
    status = refusal_status(failure.upstream_status)
    is_ours = failure.upstream_type in _REFUSAL_TYPES.values()
    kind = failure.upstream_type if is_ours else None
    return MessagesErrorRow(status, kind or _REFUSAL_TYPES.get(status, "invalid_request_error"))


def _message(error: CompletionRuntimeError, row: MessagesErrorRow) -> str:
    if isinstance(error, UpstreamError):
        return failure_message(error.failure)
    if isinstance(error, StreamNotFound):
        return f"Stream with message_id {error.message_id[:_MESSAGE_ID_SHOWN_MAX]} not found"
    if row is _INTERNAL:
        return "Something went wrong on our side; the request id finds it in our logs."
    return error.message


def _detail(error: CompletionRuntimeError, row: MessagesErrorRow) -> Any:
    if isinstance(error, InvalidRequest | ReplayGap):
        return validation_detail(error)
    if row.status == 401:
        return "Not authenticated"
    return _message(error, row)


def failure_message(failure: Failure) -> str:
    if failure.code is FailureCode.COMPLETION_LOST:
        return f"The completion was lost and is not charged. {failure.message}"
    return failure.message
