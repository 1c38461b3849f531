"""Every error in the model-response dialect's words; five of them as the primary page prints them."""

from __future__ import annotations

import json

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
from serve_app.dialects.base import Operation, Reply
from serve_app.dialects.model_response import MODEL_RESPONSE
from serve_app.http.errors import (
    AlreadyTerminal,
    MethodNotAllowed,
    RequestTimedOut,
    RouteNotFound,
    UnsupportedCoding,
)

INVALID = "invalid_request_error"


def reply(error: CompletionRuntimeError) -> Reply:
    return MODEL_RESPONSE.error(error, operation=Operation.OTHER, request_id="req_1")


def failed(code: FailureCode) -> UpstreamError:
    return UpstreamError(Failure(code, "It broke.", 500, 2.5))


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (
            Unauthenticated("No key.", reason="missing"),
            401,
            {
                "message": "Invalid API key provided",
                "type": "authentication_error",
                "code": "invalid_api_key",
            },
        ),
        (
            Forbidden("No."),
            403,
            {
                "message": "Organization access denied",
                "type": "permission_error",
                "code": "insufficient_permissions",
                "param": "organizationId",
            },
        ),
        (
            CompletionNotFound(),
            404,
            {
                "message": "Response not found",
                "type": "not_found_error",
                "code": "response_not_found",
            },
        ),
        (
            AlreadyTerminal(),
            409,
            {
                "message": "Response already completed or cancelled",
                "type": INVALID,
                "code": "response_already_finalized",
            },
        ),
    ],
)
def test_the_published_literals(
    error: CompletionRuntimeError, status: int, said: dict[str, str]
) -> None:
    answer = reply(error)
    assert (answer.status, json.loads(answer.body)) == (status, {"error": said})


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (UnknownModel("gpt"), 404, "not_found_error", "model_not_found"),
        (RateLimited(scope="requests", retry_after_s=2), 429, "rate_limit_error", "rate_limit"),
        (Overloaded("Away."), 503, "api_error", "model_unavailable"),
        (
            InsufficientCredit(needed_microcredits=2, available_microcredits=1),
            402,
            "billing_error",
            "insufficient_credits",
        ),
        (RequestTooLarge(bytes_max=1), 413, INVALID, "request_too_large"),
        (CompletionIdInUse("a"), 409, INVALID, "completion_id_in_use"),
        (NotCancellable("Later."), 409, INVALID, "response_not_cancellable"),
        (ReplayGap("Gone."), 400, INVALID, "invalid_parameter"),
        (RequestTimedOut(timeout_s=1), 408, INVALID, "request_timeout"),
        (UnsupportedCoding(known=("gzip",)), 415, INVALID, "unsupported_encoding"),
        (RouteNotFound(), 404, "not_found_error", "route_not_found"),
        (MethodNotAllowed(allowed=("GET",)), 405, INVALID, "method_not_allowed"),
        (IllegalTransition("bug"), 500, "api_error", "internal_error"),
        (failed(FailureCode.UPSTREAM_UNAVAILABLE), 502, "api_error", "api_error"),
        (failed(FailureCode.UPSTREAM_UNAUTHORIZED), 502, "api_error", "api_error"),
        (failed(FailureCode.UPSTREAM_TIMEOUT), 502, "api_error", "api_error"),
        (failed(FailureCode.COMPLETION_LOST), 500, "api_error", "internal_error"),
        (failed(FailureCode.UPSTREAM_RATE_LIMITED), 429, "rate_limit_error", "rate_limit"),
        (failed(FailureCode.UPSTREAM_REJECTED), 400, INVALID, "invalid_request"),
        (failed(FailureCode.INTERNAL), 500, "api_error", "internal_error"),
    ],
)
def test_all_others(error: CompletionRuntimeError, status: int, kind: str, code: str) -> None:
    answer = reply(error)
    value = json.loads(answer.body)["error"]
    assert (answer.status, value["type"], value["code"]) == (status, kind, code)
    assert value["message"]


def test_members_are_named_as_this_api_names_them() -> None:
    refused = InvalidRequest("Too many.", param="max_tokens", reason="max_tokens_exceeds_hard_cap")
    value = json.loads(reply(refused).body)["error"]
    assert (value["code"], value["param"]) == ("max_output_exceeded", "maxOutputSynapses")


def test_headers_that_go_with_an_error() -> None:
    assert dict(reply(Overloaded("Away.", retry_after_s=1.2)).headers)[b"retry-after"] == b"2"
    assert dict(reply(MethodNotAllowed(allowed=("GET", "POST"))).headers)[b"allow"] == b"GET, POST"
    missing = Unauthenticated("No key.", reason="missing")
    assert dict(reply(missing).headers)[b"www-authenticate"] == b"Bearer"


def test_a_bug_of_ours_shows_nothing_of_itself() -> None:
    assert b"secret" not in reply(IllegalTransition("secret")).body
