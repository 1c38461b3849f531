"""Every error that can leave the runtime, in this dialect's words: status, type, code and param."""

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
from serve_app.dialects.base import Operation, Reply
from serve_app.dialects.responses import RESPONSES
from serve_app.dialects.responses.errors import NotBackground, PreviousResponseNotFound
from serve_app.http.errors import (
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
)
from tests.dialects.recordings import HEADER

INVALID, RATE, PROVIDER = "invalid_request_error", "rate_limit_error", "provider_error"


def upstream(code: FailureCode, retry_after_s: float | None = None) -> UpstreamError:
    return UpstreamError(Failure(code, "The provider is busy.", 429, retry_after_s))


ROWS: list[tuple[CompletionRuntimeError, int, str, str | None, str | None]] = [
    (InvalidRequest("No.", param="input[0]"), 400, INVALID, None, "input[0]"),
    (InvalidRequest("No.", param="max_tokens"), 400, INVALID, None, "max_output_tokens"),
    (
        InvalidRequest("No.", param="messages", reason="max_input_tokens_exceeded"),
        400,
        INVALID,
        "context_length_exceeded",
        "input",
    ),
    (InvalidRequest("No JSON."), 400, INVALID, None, None),
    (UnknownModel("x"), 404, INVALID, "model_not_found", "model"),
    (UnknownProvider("x"), 400, INVALID, None, "provider"),
    (
        Unauthenticated("No.", reason="missing"),
        401,
        "authentication_error",
        "invalid_api_key",
        None,
    ),
    (Forbidden("No."), 403, "authentication_error", None, None),
    (CompletionNotFound(), 404, "not_found_error", "response_not_found", None),
    (
        PreviousResponseNotFound("resp_0"),
        404,
        "not_found_error",
        "previous_response_not_found",
        "previous_response_id",
    ),
    (NotBackground(), 400, INVALID, None, None),
    (NativeUnsupported("No."), 501, INVALID, "unsupported_response_operation", None),
    (RouteNotFound(), 404, "not_found_error", None, None),
    (MethodNotAllowed(allowed=("GET",)), 405, INVALID, "method_not_allowed", None),
    (RequestTimedOut(timeout_s=30), 408, INVALID, None, None),
    (UnsupportedCoding(known=("gzip",)), 415, INVALID, None, None),
    (RequestTooLarge(bytes_max=1), 413, INVALID, "request_too_large", None),
    (CompletionIdInUse("x"), 409, INVALID, "completion_id_in_use", None),
    (
        InsufficientCredit(needed_microcredits=2, available_microcredits=1),
        429,
        RATE,
        "budget_exceeded",
        None,
    ),
    (RateLimited(scope="requests", retry_after_s=2), 429, RATE, "rate_limit_exceeded", None),
    (Overloaded("Away."), 503, PROVIDER, "overloaded", None),
    (NotCancellable("Slow."), 504, PROVIDER, "response_not_cancellable", None),
    (ReplayGap("No."), 400, INVALID, None, "starting_after"),
    (IllegalTransition("secret"), 500, PROVIDER, None, None),
    (upstream(FailureCode.UPSTREAM_UNAVAILABLE), 502, PROVIDER, None, None),
    (upstream(FailureCode.UPSTREAM_UNAUTHORIZED), 502, PROVIDER, None, None),
    (upstream(FailureCode.UPSTREAM_TIMEOUT), 502, PROVIDER, None, None),
    (upstream(FailureCode.COMPLETION_LOST), 500, PROVIDER, "completion_lost", None),
    (upstream(FailureCode.UPSTREAM_RATE_LIMITED), 429, RATE, "rate_limit_exceeded", None),
    (upstream(FailureCode.UPSTREAM_REJECTED), 400, INVALID, None, None),
    (upstream(FailureCode.INTERNAL), 500, PROVIDER, None, None),
]


def reply_to(error: CompletionRuntimeError) -> tuple[Reply, Any]:
    reply = RESPONSES.error(error, operation=Operation.CREATE, request_id="req_1")
    return reply, json.loads(reply.body)


@pytest.mark.parametrize(("error", "status", "kind", "code", "param"), ROWS)
def test_rows(
    error: CompletionRuntimeError, status: int, kind: str, code: str | None, param: str | None
) -> None:
    reply, body = reply_to(error)
    assert reply.status == status
    message = body["error"].pop("message")
    assert body["error"] == {"type": kind, "code": code, "param": param}
    assert message and "secret" not in message


def test_a_provider_s_refusal_is_told_as_it_was() -> None:
    failure = Failure(
        FailureCode.UPSTREAM_REJECTED,
        "Unsupported value: 'reasoning.effort'.",
        413,
        upstream_type="invalid_request_error",
        upstream_code="unsupported_value",
        param="reasoning.effort",
    )
    reply, body = reply_to(UpstreamError(failure))
    assert (reply.status, body["error"]) == (
        413,
        {
            "message": "Unsupported value: 'reasoning.effort'.",
            "type": "invalid_request_error",
            "code": "unsupported_value",
            "param": "reasoning.effort",
        },
    )


def test_a_failure_is_named_beside_the_envelope() -> None:
    _, body = reply_to(upstream(FailureCode.UPSTREAM_TIMEOUT))
    assert body["midstream"] == {"failure": "upstream_timeout"}


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (InsufficientCredit(needed_microcredits=2, available_microcredits=1), b"60"),
        (RateLimited(scope="requests", retry_after_s=1.2), b"2"),
        (Overloaded("Away."), b"1"),
        (upstream(FailureCode.UPSTREAM_RATE_LIMITED, 3.2), b"4"),
    ],
)
def test_who_may_come_back_is_told_when(error: CompletionRuntimeError, header: bytes) -> None:
    reply, _ = reply_to(error)
    assert dict(reply.headers)[b"retry-after"] == header


def test_an_interruption_is_a_flat_error_event() -> None:
    frame = RESPONSES.encoder(HEADER, request_id="req_1").interrupted(Overloaded("Away."))
    head, data = frame.decode().rstrip("\n").split("\n")
    assert head == "event: error"
    assert json.loads(data.removeprefix("data: ")) == {
        "type": "error",
        "code": "overloaded",
        "message": "Away.",
        "param": None,
    }
