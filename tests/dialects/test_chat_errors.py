"""Every error of the runtime in the chat dialect's words."""

from __future__ import annotations

import json

import pytest

from actors.core import errors
from actors.core.errors import CompletionRuntimeError, Failure, FailureCode
from serve_app.dialects.base import Operation, Reply
from serve_app.dialects.chat import CHAT, ChatDialect
from serve_app.http import errors as http_errors


def upstream(
    code: FailureCode, status: int | None = None, after_s: float | None = None
) -> CompletionRuntimeError:
    return errors.UpstreamError(Failure(code, "The provider said no.", status, after_s))


STRICT = ChatDialect(is_strict=True)


def reply(
    error: CompletionRuntimeError,
    operation: Operation = Operation.CREATE,
    dialect: ChatDialect = CHAT,
) -> Reply:
    return dialect.error(error, operation=operation, request_id="req_1")


INVALID, SERVER = "invalid_request", "server_error"
CREATE, READ, CANCEL = Operation.CREATE, Operation.READ, Operation.CANCEL

TABLE: list[tuple[CompletionRuntimeError, Operation, int, str, str]] = [
    (errors.InvalidRequest("No."), CREATE, 400, "invalid_format", INVALID),
    (errors.InvalidRequest("No.", reason="missing_field"), CREATE, 400, "missing_field", INVALID),
    (
        errors.InvalidRequest("No.", reason="max_tokens_exceeds_hard_cap"),
        CREATE,
        400,
        "max_tokens_exceeds_hard_cap",
        INVALID,
    ),
    (errors.InvalidRequest("No.", reason="novel"), CREATE, 400, "invalid_format", INVALID),
    (errors.UnknownModel("x"), CREATE, 404, "resource_not_found", "not_found"),
    (
        errors.Unauthenticated("No.", reason="missing"),
        CREATE,
        401,
        "missing_api_key",
        "authentication",
    ),
    (
        errors.Unauthenticated("No.", reason="invalid"),
        READ,
        401,
        "invalid_api_key",
        "authentication",
    ),
    (
        errors.Unauthenticated("No.", reason="revoked"),
        CANCEL,
        401,
        "revoked_api_key",
        "authentication",
    ),
    (errors.Forbidden("No."), READ, 404, "resource_not_found", "not_found"),
    (errors.RequestTooLarge(bytes_max=9), CREATE, 413, "request_too_large", INVALID),
    (errors.CompletionIdInUse("x"), CREATE, 409, "completion_id_in_use", INVALID),
    (errors.IdempotencyConflict("No."), CREATE, 409, "idempotency_key_in_use", INVALID),
    (errors.IdempotencyKeyReused("No."), CREATE, 422, "idempotency_key_in_use", INVALID),
    (
        errors.InsufficientCredit(needed_microcredits=2, available_microcredits=1),
        CREATE,
        402,
        "balance_too_low",
        INVALID,
    ),
    (
        errors.RateLimited(scope="requests", retry_after_s=2.2),
        CREATE,
        429,
        "too_many_requests",
        "rate_limit",
    ),
    (
        errors.RateLimited(scope="concurrency", retry_after_s=0.1),
        CREATE,
        429,
        "concurrency_limit_exceeded",
        "rate_limit",
    ),
    (errors.Overloaded("Full.", retry_after_s=3), CREATE, 503, "overloaded", SERVER),
    (errors.ActorAway("Away."), CREATE, 503, "overloaded", SERVER),
    (errors.LedgerBusy("Full."), CREATE, 503, "overloaded", SERVER),
    (errors.OtherDeploy("Another."), CREATE, 503, "overloaded", SERVER),
    (errors.CompletionNotFound(), READ, 404, "resource_not_found", "not_found"),
    (errors.CompletionNotFound(), CANCEL, 404, "chat_cancel_target_not_found", "not_found"),
    (
        errors.NotCancellable("Late."),
        CANCEL,
        409,
        "chat_cancel_target_not_cancellable",
        INVALID,
    ),
    (
        http_errors.AlreadyTerminal(),
        CANCEL,
        409,
        "chat_cancel_target_already_terminal",
        INVALID,
    ),
    (errors.ReplayGap("Gap."), READ, 400, "value_out_of_range", INVALID),
    (errors.IllegalTransition("Bug."), CREATE, 500, "internal_error", SERVER),
    (http_errors.RouteNotFound(), READ, 404, "resource_not_found", "not_found"),
    (http_errors.MethodNotAllowed(allowed=("GET",)), READ, 405, "method_not_allowed", INVALID),
    (http_errors.RequestTimedOut(timeout_s=1), CREATE, 408, "request_timeout", INVALID),
    (http_errors.UnsupportedCoding(known=("gzip",)), CREATE, 415, "unsupported_encoding", INVALID),
    (
        http_errors.UnsupportedVersion(header="V", known="k"),
        CREATE,
        400,
        "unknown_version",
        INVALID,
    ),
    (
        upstream(FailureCode.UPSTREAM_UNAVAILABLE, 500),
        CREATE,
        502,
        "chat_provider_unavailable",
        SERVER,
    ),
    (
        upstream(FailureCode.UPSTREAM_UNAUTHORIZED, 401),
        CREATE,
        502,
        "chat_provider_unavailable",
        SERVER,
    ),
    (upstream(FailureCode.UPSTREAM_TIMEOUT), CREATE, 502, "chat_provider_unavailable", SERVER),
    (upstream(FailureCode.COMPLETION_LOST), CREATE, 500, "internal_error", SERVER),
    (
        upstream(FailureCode.UPSTREAM_RATE_LIMITED, 429, 7.5),
        CREATE,
        429,
        "too_many_requests",
        "rate_limit",
    ),
    (upstream(FailureCode.UPSTREAM_REJECTED, 400), CREATE, 400, "invalid_format", INVALID),
    (upstream(FailureCode.INTERNAL), CREATE, 500, "internal_error", SERVER),
]


@pytest.mark.parametrize(("error", "operation", "status", "code", "kind"), TABLE, ids=repr)
def test_the_table(
    error: CompletionRuntimeError, operation: Operation, status: int, code: str, kind: str
) -> None:
    for dialect in (CHAT, STRICT):
        answer = reply(error, operation, dialect)
        body = json.loads(answer.body)["error"]
        assert (answer.status, body["code"], body["type"]) == (status, code, kind)
        assert body["request_id"] == "req_1"
        assert body["message"]


def test_a_link_to_the_pages_own_site_is_there_under_strict_contracts_alone() -> None:
    error = errors.UnknownModel("x")
    body = json.loads(reply(error, dialect=STRICT).body)["error"]
    assert body["doc_url"] == "https://docs.aurous-labs.com/errors#resource_not_found"
    assert b"http" not in reply(error).body


def test_a_refusal_comes_back_as_the_provider_told_it() -> None:
    failure = Failure(
        FailureCode.UPSTREAM_REJECTED,
        "Unsupported value: 'temperature' does not support 0.2.",
        404,
        upstream_type="invalid_request_error",
        upstream_code="unsupported_value",
        param="temperature",
    )
    answer = reply(errors.UpstreamError(failure))
    body = json.loads(answer.body)["error"]
    assert answer.status == 404
    assert body == {
        "type": "invalid_request_error",
        "code": "unsupported_value",
        "message": failure.message,
        "param": "temperature",
        "request_id": "req_1",
        "status": 404,
    }
    strict = reply(errors.UpstreamError(failure), dialect=STRICT)
    body = json.loads(strict.body)["error"]
    assert (strict.status, body["type"], body["code"]) == (400, INVALID, "invalid_format")


def test_every_error_that_can_reach_a_caller_has_its_row() -> None:
    told = {type(row[0]) for row in TABLE}
    ours = [getattr(errors, name) for name in errors.__all__]
    ours += [getattr(http_errors, name) for name in http_errors.__all__]
    kinds = {kind for kind in ours if isinstance(kind, type) and issubclass(kind, Exception)}
    leaves = {kind for kind in kinds if not kind.__subclasses__()}
    # Two never leave the runtime; the others are of a call to a provider that chat does not have.
    elsewhere = {errors.AlreadyStarted, errors.CarrierBusy}
    elsewhere |= {errors.NativeUnsupported, errors.UnknownProvider}
    assert leaves - elsewhere <= told


def test_a_failure_says_beside_the_error_what_it_was() -> None:
    answer = json.loads(reply(upstream(FailureCode.COMPLETION_LOST)).body)
    assert answer["midstream"] == {"failure": "completion_lost"}
    assert "lost" in answer["error"]["message"]
    answer = json.loads(reply(upstream(FailureCode.UPSTREAM_UNAUTHORIZED, 401)).body)
    assert answer["error"]["status"] == 401


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (errors.RateLimited(scope="requests", retry_after_s=2.2), (b"retry-after", b"3")),
        (errors.RateLimited(scope="requests", retry_after_s=0.01), (b"retry-after", b"1")),
        (errors.Overloaded("Full.", retry_after_s=3), (b"retry-after", b"3")),
        (upstream(FailureCode.UPSTREAM_RATE_LIMITED, 429, 7.5), (b"retry-after", b"8")),
        (upstream(FailureCode.UPSTREAM_RATE_LIMITED, 429), (b"retry-after", b"1")),
        (http_errors.MethodNotAllowed(allowed=("GET", "HEAD")), (b"allow", b"GET, HEAD")),
        (errors.Unauthenticated("No.", reason="missing"), (b"www-authenticate", b"Bearer")),
    ],
    ids=repr,
)
def test_headers_of_errors(error: CompletionRuntimeError, header: tuple[bytes, bytes]) -> None:
    assert header in reply(error).headers


def test_an_idempotency_conflict_does_not_say_when_to_come_back() -> None:
    assert reply(errors.IdempotencyConflict("No.")).headers == ((b"x-should-retry", b"false"),)


def test_a_bug_of_ours_tells_nothing_of_itself() -> None:
    assert b"secret" not in reply(errors.IllegalTransition("secret")).body


def test_the_member_at_fault_is_named() -> None:
    def param(error: CompletionRuntimeError) -> object:
        return json.loads(reply(error).body)["error"].get("param", "absent")

    assert param(errors.InvalidRequest("No.", param="messages[0].role")) == "messages[0].role"
    assert param(errors.InvalidRequest("No.")) is None
    assert param(errors.UnknownModel("x")) == "model"
    assert param(errors.ReplayGap("Gap.")) == "starting_after"
    assert param(errors.Overloaded("Full.")) == "absent"
