"""Errors of the messages dialect: one table of every error, and what its two kinds of clients read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.core.errors import (
    CompletionIdInUse,
    CompletionNotFound,
    CompletionRuntimeError,
    Failure,
    FailureCode,
    Forbidden,
    IllegalTransition,
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
from actors.core.request import DisconnectPolicy
from serve_app.dialects.base import Operation
from serve_app.dialects.messages import MESSAGES, MessagesDialect
from serve_app.dialects.messages.errors import StreamNotFound
from serve_app.dialects.messages.request import completion_request
from serve_app.http.errors import (
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
)


def reply_of(
    error: CompletionRuntimeError, dialect: MessagesDialect = MESSAGES
) -> tuple[int, Any, dict[bytes, bytes]]:
    reply = dialect.error(error, operation=Operation.CREATE, request_id="req_1")
    return reply.status, json.loads(reply.body), dict(reply.headers)


def failed(code: FailureCode) -> UpstreamError:
    return UpstreamError(Failure(code, "It failed.", 500, 2.5))


TABLE: list[tuple[CompletionRuntimeError, int, str]] = [
    (InvalidRequest("no", param="a"), 400, "invalid_request_error"),
    (InvalidRequest("no", param="a", reason="unsupported"), 400, "invalid_request_error"),
    (ReplayGap("no"), 400, "invalid_request_error"),
    (Unauthenticated("no", reason="missing"), 401, "authentication_error"),
    (Forbidden("no"), 403, "permission_error"),
    (InsufficientCredit(needed_microcredits=2, available_microcredits=1), 402, "billing_error"),
    (UnknownModel("m"), 404, "not_found_error"),
    (CompletionNotFound(), 404, "not_found_error"),
    (RouteNotFound(), 404, "not_found_error"),
    (MethodNotAllowed(allowed=("POST",)), 405, "invalid_request_error"),
    (RequestTimedOut(timeout_s=1), 408, "timeout_error"),
    (UnsupportedCoding(known=("gzip",)), 415, "invalid_request_error"),
    (RequestTooLarge(bytes_max=1), 413, "request_too_large"),
    (CompletionIdInUse("a"), 400, "invalid_request_error"),
    (RateLimited(retry_after_s=1.5, scope="requests"), 429, "rate_limit_error"),
    (Overloaded("no"), 529, "overloaded_error"),
    (NotCancellable("no"), 529, "overloaded_error"),
    (IllegalTransition("secret"), 500, "api_error"),
    (failed(FailureCode.UPSTREAM_UNAVAILABLE), 502, "api_error"),
    (failed(FailureCode.UPSTREAM_UNAUTHORIZED), 502, "api_error"),
    (failed(FailureCode.UPSTREAM_TIMEOUT), 502, "api_error"),
    (failed(FailureCode.COMPLETION_LOST), 500, "api_error"),
    (failed(FailureCode.UPSTREAM_RATE_LIMITED), 429, "rate_limit_error"),
    (failed(FailureCode.UPSTREAM_REJECTED), 400, "invalid_request_error"),
    (failed(FailureCode.INTERNAL), 500, "api_error"),
]


@pytest.mark.parametrize(("error", "status", "kind"), TABLE, ids=lambda one: type(one).__name__)
def test_every_error(error: CompletionRuntimeError, status: int, kind: str) -> None:
    got, body, _ = reply_of(error)
    assert got == status
    assert body["type"] == "error"
    assert body["error"]["type"] == kind and body["error"]["message"]
    assert body["request_id"] == "req_1"
    assert body["detail"]
    assert "secret" not in json.dumps(body)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (
            InvalidRequest("m is required.", param="messages[0].content", reason="missing_field"),
            {"loc": ["body", "messages", 0, "content"], "msg": "m is required.", "type": "missing"},
        ),
        (InvalidRequest("no"), {"loc": ["body"], "msg": "no", "type": "value_error"}),
        (
            InvalidRequest("no", param="message_id"),
            {"loc": ["query", "message_id"], "msg": "no", "type": "value_error"},
        ),
        (ReplayGap("no"), {"loc": ["query", "after"], "msg": "no", "type": "value_error"}),
        (
            InvalidRequest("no", param="Midstream-Tag"),
            {"loc": ["header", "Midstream-Tag"], "msg": "no", "type": "value_error"},
        ),
    ],
)
def test_the_detail_of_a_fault_says_where_it_is(error: Any, detail: Any) -> None:
    assert reply_of(error)[1]["detail"] == [detail]


def test_the_literals_of_the_contract() -> None:
    status, body, headers = reply_of(Unauthenticated("No key.", reason="missing"))
    assert body["detail"] == "Not authenticated"
    assert headers[b"www-authenticate"] == b'Basic realm="All the API", charset="UTF-8"'
    status, body, _ = reply_of(StreamNotFound("job-7"))
    assert (status, body["detail"]) == (404, "Stream with message_id job-7 not found")


def test_who_may_come_back_is_told_when() -> None:
    assert reply_of(NotCancellable("no"))[2][b"retry-after"] == b"1"
    assert reply_of(RateLimited(retry_after_s=1.5, scope="requests"))[2] == {b"retry-after": b"2"}
    assert reply_of(failed(FailureCode.UPSTREAM_RATE_LIMITED))[2] == {
        b"retry-after": b"3",
        b"x-should-retry": b"false",
    }


def test_a_failure_says_which_it_was() -> None:
    _, body, _ = reply_of(failed(FailureCode.COMPLETION_LOST))
    assert body["midstream"] == {"failure": "completion_lost"}
    assert "not charged" in body["error"]["message"]


@pytest.mark.parametrize(
    "dialect", [MessagesDialect(is_strict=True), MessagesDialect(is_async=True)]
)
def test_what_is_not_valid_is_422_where_the_page_stands(dialect: MessagesDialect) -> None:
    status, value, _ = reply_of(InvalidRequest("no", param="a"), dialect)
    assert status == 422
    assert value["error"]["type"] == "invalid_request_error"
    assert value["detail"] == [{"loc": ["body", "a"], "msg": "no", "type": "value_error"}]
    assert reply_of(InvalidRequest("no", reason="unsupported"), dialect)[0] == 400


@pytest.mark.parametrize(
    ("status", "type_", "shown"),
    [
        (400, "invalid_request_error", (400, "invalid_request_error")),
        (404, "not_found_error", (404, "not_found_error")),
        (413, "request_too_large", (413, "request_too_large")),
        (422, None, (422, "invalid_request_error")),
        (404, "some_other_word", (404, "not_found_error")),
        (451, None, (400, "invalid_request_error")),
        (None, None, (400, "invalid_request_error")),
    ],
)
def test_a_refusal_comes_back_as_the_provider_told_it(
    status: int | None, type_: str | None, shown: tuple[int, str]
) -> None:
    message = "Unexpected value(s) `x-2025` for the `anthropic-beta` header."
    failure = Failure(FailureCode.UPSTREAM_REJECTED, message, status, upstream_type=type_)
    status_shown, value, _ = reply_of(UpstreamError(failure))
    assert (status_shown, value["error"]["type"]) == shown
    assert value["error"]["message"] == message


def test_a_thread_is_refused_in_the_words_that_sdks_go_on_after() -> None:
    """Anthropic's tool runner asks for one by default, and does without where it is told so."""
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(InvalidRequest) as refused:
        completion_request({**body, "thread": {"type": "create"}}, DisconnectPolicy.CANCEL)
    status, answer, _ = reply_of(refused.value, MessagesDialect(is_strict=True))
    assert status == 400
    assert answer["error"]["details"] == {
        "error_code": "thread_unsupported_request",
        "unsupported": ["thread"],
    }
