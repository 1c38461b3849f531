"""What a provider says when it refuses a request: read in every shape, and shown without its secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors import FailureCode
from actors.core.wire.refusals import BODY_BYTES_MAX, refusal, scrubbed
from tests.core.wires import JSON

SAID = "max_tokens: 32000 > 8192, which is the maximum"
OURS = "The provider refused the request."


@pytest.mark.parametrize(
    ("body", "kind", "code", "param"),
    [
        (
            {"error": {"message": SAID, "type": "t", "param": "p", "code": "c"}},
            "t",
            "c",
            "p",
        ),
        ({"type": "error", "error": {"type": "t", "message": SAID}}, "t", None, None),
        ([{"error": {"code": 400, "message": SAID, "status": "INVALID"}}], "INVALID", "400", None),
        ({"error": SAID}, None, None, None),
        ({"error": {"message": json.dumps({"error": {"message": SAID}})}}, None, None, None),
        ({"message": SAID, "type": "t"}, "t", None, None),
        ({"object": "error", "message": SAID, "type": "t", "code": 400}, "t", "400", None),
        ({"detail": SAID}, None, None, None),
        ({"detail": {"message": SAID}}, None, None, None),
        ({"errors": [{"message": SAID}]}, None, None, None),
        (SAID, None, None, None),
    ],
)
def test_every_shape_of_an_error_is_read(
    body: Any, kind: str | None, code: str | None, param: str | None
) -> None:
    failure = refusal(400, json.dumps(body).encode())
    assert (failure.code, failure.upstream_status) == (FailureCode.UPSTREAM_REJECTED, 400)
    assert failure.message == SAID
    assert (failure.upstream_type, failure.upstream_code, failure.param) == (kind, code, param)


def test_what_pydantic_found_names_its_place() -> None:
    body = {"detail": [{"type": "missing", "loc": ["body", "tools", 0], "msg": "Field required"}]}
    failure = refusal(422, json.dumps(body).encode())
    assert (failure.message, failure.param) == ("body.tools.0: Field required", "body.tools.0")


@pytest.mark.parametrize("status", [301, 401, 402, 403, 408, 429, 500, 503, 529])
def test_no_other_status_is_told(status: int) -> None:
    failure = refusal(status, json.dumps({"error": {"message": SAID}}).encode())
    assert SAID not in failure.message
    assert failure.upstream_type is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>no</html>", b"[]", b"{}", b'{"error": {}}', b"\xff{"]
)
def test_what_is_no_error_object_is_told_in_our_words(body: bytes) -> None:
    assert refusal(400, body).message == OURS


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "API key not valid. Please pass a valid API key.", "upstream_unauthorized"),
        (400, "Incorrect API key provided: sk-12***89", "upstream_unauthorized"),
        (400, "Your credit balance is too low to access the API.", "upstream_unavailable"),
        (404, "The model `gpt-9` does not exist or you do not have access", "upstream_rejected"),
    ],
)
def test_what_is_the_operators_is_told_in_our_words(status: int, message: str, code: str) -> None:
    failure = refusal(status, json.dumps({"error": {"message": message}}).encode())
    assert (failure.code.value, failure.upstream_status) == (code, status)
    assert message not in failure.message and "gpt-9" not in failure.message


def test_a_tool_called_after_money_is_the_requests_own() -> None:
    message = "Invalid schema for function 'process_payment': schema must be an object"
    assert refusal(400, json.dumps({"error": {"message": message}}).encode()).message == message


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF123456",
        "sk-ant-api03-AbC_def-123",
        "sk-12***********89",
        "Bearer abc.def.ghi",
        "AIzaSyA1234567890abcdefghijk",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "gsk_abcdef123456",
        "org-a1b2c3d4e5f6",
        "https://user:pass@inference.corp.internal:8443/v1?key=1",
        "http://10.0.3.7:8000/v1",
        "10.0.3.7:8000",
        "192.168.1.20",
        "[2001:db8:85a3:0:0:8a2e:370:7334]:443",
        "vllm-0.models.svc.cluster.local",
        "gpu-7.internal:8000",
        "api.example.com",
        "localhost:11434",
        "ops@example.com",
        "/usr/local/lib/python3.12/site-packages/vllm/engine.py",
        "d41d8cd98f00b204e9800998ecf8427e",
        "abcDEF123456789012345678901234567890abcdEFGH",
    ],
)
def test_secrets_and_addresses_never_get_out(secret: str) -> None:
    shown = scrubbed(f"Cannot reach {secret} now")
    assert secret not in shown and "[removed]" in shown
    assert shown.startswith("Cannot reach") and shown.endswith("now")


def test_a_known_secret_is_taken_out_whatever_it_looks_like() -> None:
    assert scrubbed("key Hunter2x is bad", ["hunter2X"]) == "key [removed] is bad"


@pytest.mark.parametrize(
    "text",
    [
        "messages.0.content.1.text.text: Field required",
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        "tools.26.custom.input_schema.type: Field required",
        "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum "
        "length 40, but got a string with length 83 instead.",
        "Unexpected value(s) `mid-conversation-system-2026-04-07` for the `anthropic-beta` header.",
        "`tool_use` ids were found without `tool_result` blocks: toolu_01G2Q9aJ8Jgeu5B9pMBxB3Jn.",
        "max_tokens: 32000 > 8192, the limit of claude-3-5-haiku-20241022",
        "This model's maximum context length is 131072 tokens, however you requested 140000.",
    ],
)
def test_a_sentence_about_the_request_stays_whole(text: str) -> None:
    assert scrubbed(text) == text


def test_control_characters_and_length_are_bounded() -> None:
    assert scrubbed("a\x1b[31mb\x00\u202ec\nd") == "a[31mbc d"
    assert len(scrubbed("x y " * 5_000)) <= 1_000
    assert scrubbed('bad\nTraceback (most recent call last):\n  File "a"') == "bad"


def test_a_body_beyond_the_bound_is_no_error() -> None:
    body = json.dumps({"error": {"message": "a" * BODY_BYTES_MAX}}).encode()
    assert refusal(400, body).message == OURS


@given(JSON, st.sampled_from([400, 404, 413, 422]))
def test_nothing_that_comes_raises(value: Any, status: int) -> None:
    for body in (value, {"error": value}, {"detail": value}, [value]):
        failure = refusal(status, json.dumps(body).encode("utf-8", "surrogatepass"))
        failure.message.encode()
