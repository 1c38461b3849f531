"""What HAProxy says where it answers itself: JSON in the shape that clients of the dialects read.

One body serves all of them: `error.message`, `error.type` and `error.code` are what OpenAI's clients
look at, `type: error` beside them is Anthropic's. The status is the true one. What may be tried again
says when; what may have reached a replica, and so may have started a completion, says that a client
must not repeat it by itself.

Standard library alone: HAProxy's launcher imports this on every start and reload.
"""

from __future__ import annotations

import json
from typing import NamedTuple

__all__ = ["ANSWERS", "ErrorPage", "answer_body", "answer_file"]

_RETRY_AFTER_S = 1


class ErrorPage(NamedTuple):
    """`retry` tells when to come again, `is_unsure` that the request may be under way."""

    reason: str
    code: str
    type: str
    message: str
    retry: bool = False
    is_unsure: bool = False


ANSWERS: dict[int, ErrorPage] = {
    400: ErrorPage("Bad Request", "invalid_format", "invalid_request", "This is no valid HTTP."),
    403: ErrorPage("Forbidden", "forbidden", "invalid_request", "This may not be asked here."),
    404: ErrorPage(
        "Not Found", "resource_not_found", "not_found", "There is nothing at this path."
    ),
    408: ErrorPage(
        "Request Timeout", "request_timeout", "invalid_request", "The request came too slowly."
    ),
    413: ErrorPage(
        "Content Too Large", "request_too_large", "invalid_request", "The request is too large."
    ),
    500: ErrorPage(
        "Internal Server Error", "internal_error", "server_error", "Something went wrong here."
    ),
    502: ErrorPage(
        "Bad Gateway",
        "bad_gateway",
        "server_error",
        "The process that answered has gone; the completion may go on, and can be read by its id.",
        retry=True,
        is_unsure=True,
    ),
    503: ErrorPage(
        "Service Unavailable",
        "overloaded",
        "server_error",
        "No process is ready to answer yet; nothing was started.",
        retry=True,
    ),
    504: ErrorPage(
        "Gateway Timeout",
        "gateway_timeout",
        "server_error",
        "The answer took too long; the completion may go on, and can be read by its id.",
        retry=True,
        is_unsure=True,
    ),
}
"""Of the statuses for which HAProxy has an error file, those that it can come to say here."""


def answer_body(status: int) -> str:
    answer = ANSWERS[status]
    error = {"type": answer.type, "code": answer.code, "message": answer.message, "param": None}
    return json.dumps({"type": "error", "error": error}, separators=(",", ":"))


def answer_headers(status: int) -> list[tuple[str, str]]:
    answer = ANSWERS[status]
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    if answer.retry:
        headers.append(("Retry-After", str(_RETRY_AFTER_S)))
    if answer.is_unsure:
        headers.append(("X-Should-Retry", "false"))
    return headers


def answer_file(status: int) -> bytes:
    """Return the whole answer, as HAProxy's `errorfile` wants it."""
    body = answer_body(status).encode()
    lines = [f"HTTP/1.1 {status} {ANSWERS[status].reason}"]
    lines += [f"{name}: {value}" for name, value in answer_headers(status)]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body
