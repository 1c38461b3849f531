"""Goal: each bad request and each bad upstream gets one typed error, and nothing is held."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.support.chat_streams import body, stream
from tests.support.instance import Instance, wait_until

pytestmark = pytest.mark.ray

MESSAGE = {"role": "user", "content": "x"}


def held(instance: Instance) -> float:
    with instance.client() as client:
        return float(client.get("/v1/balance").json()["held_credits"])


def raw(text: str | bytes) -> dict[str, Any]:
    content = text if isinstance(text, bytes) else text.encode()
    return {"content": content, "headers": {"content-type": "application/json"}}


CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "malformed JSON": (raw("{"), 400, "invalid_format"),
    "11 MiB body": (raw(b'{"a":"' + b"x" * 11_534_336 + b'"}'), 413, "request_too_large"),
    "10,001 messages": (
        {"json": body() | {"messages": [MESSAGE] * 10_001}},
        400,
        "value_out_of_range",
    ),
    "unknown model": ({"json": body("nobody")}, 404, "resource_not_found"),
    "negative max_tokens": ({"json": body(max_tokens=-2)}, 400, "value_out_of_range"),
    "n = 2": ({"json": body(n=2)}, 400, "value_out_of_range"),
    "bad version": (
        {"json": body(), "headers": {"Aurous-Version": "yesterday"}},
        400,
        "unknown_version",
    ),
    "non-UTF-8": (raw(b'{"model":"\xff\xfe"}'), 400, "invalid_format"),
    "unknown role": (
        {"json": body() | {"messages": [{"role": "wizard", "content": "x"}]}},
        400,
        "invalid_format",
    ),
    "nesting": (raw("[" * 20_000 + "]" * 20_000), 400, "invalid_format"),
    "NaN": (raw('{"model":"sim","messages":[],"temperature":NaN}'), 400, "invalid_format"),
    "header not built yet": (
        {"json": body(), "headers": {"Midstream-Tag": "a=b"}},
        400,
        "invalid_format",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_request_is_refused_and_holds_nothing(midstream: Instance, name: str) -> None:
    options, status, code = CASES[name]
    with midstream.client() as client:
        answer = client.post("/v1/chat/completions", **options)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code, error
    assert error["request_id"] == answer.headers["aurous-request-id"]
    assert "midstream-completion-id" in answer.headers
    assert held(midstream) == 0


UPSTREAMS = {
    "down": (502, "chat_provider_unavailable"),
    "sim-status-401": (502, "chat_provider_unavailable"),
    "sim-status-500": (502, "chat_provider_unavailable"),
    "sim-status-429": (429, "too_many_requests"),
    "sim-status-400": (400, "invalid_format"),
    "sim-garbage": (502, "chat_provider_unavailable"),
    "sim-half-frame": (502, "chat_provider_unavailable"),
    "sim-huge-frame": (502, "chat_provider_unavailable"),
    "sim-stall": (502, "chat_provider_unavailable"),
    "sim-error": (502, "chat_provider_unavailable"),
}


@pytest.mark.parametrize("model", UPSTREAMS)
def test_a_bad_upstream_is_told_without_a_charge(midstream: Instance, model: str) -> None:
    status, code = UPSTREAMS[model]
    with midstream.client() as client:
        before = client.get("/v1/balance").json()
        answer = client.post("/v1/chat/completions", json=body(model))
        after = client.get("/v1/balance").json()
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code
    assert "Traceback" not in answer.text
    assert after == before


@pytest.mark.parametrize("model", ["sim-half-frame", "sim-stall", "sim-error"])
def test_an_upstream_that_breaks_in_mid_stream_ends_it_with_an_error_frame(
    midstream: Instance, model: str
) -> None:
    reader = stream(midstream, model).join()
    assert len(reader.tokens) == 5
    assert reader.last["error"]["code"] == "chat_provider_unavailable"
    assert not reader.has_done
    wait_until(lambda: held(midstream) == 0, "the hold is void")


def test_a_key_that_is_no_key_is_refused(midstream: Instance) -> None:
    for headers, code in (
        ({}, "missing_api_key"),
        ({"Authorization": "Bearer al_live_" + "0" * 64}, "invalid_api_key"),
        ({"X-Api-Key": "nonsense"}, "invalid_api_key"),
    ):
        url = f"{midstream.url}/v1/chat/completions"
        answer = httpx.post(url, json=body(), headers=headers, trust_env=False)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == code


def test_a_team_without_credit_is_refused_before_anything_is_dispatched(
    midstream: Instance,
) -> None:
    key = midstream.new_team("paupers", credits=0.000001)
    with midstream.client(key) as client:
        answer = client.post("/v1/chat/completions", content=json.dumps(body()))
    assert answer.status_code == 402
    assert answer.json()["error"]["code"] == "balance_too_low"
