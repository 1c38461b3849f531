"""How a start says that it may be the same as an earlier one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from actors.core.errors import InvalidRequest
from actors.core.request import IdempotencyKey
from serve_app.dialects.base import Dialect, HttpCall
from serve_app.dialects.chat import CHAT
from serve_app.dialects.idempotency import fingerprint, name_of_start

BODY = {"model": "sim", "messages": [{"role": "user", "content": "x"}], "seed": 1}
NAMED = {"midstream-completion-id": "lake-1"}


def made_again(
    headers: dict[str, str],
    body: bytes | None = None,
    *,
    dialect: Dialect = Dialect.CHAT,
    route: str = "POST /v1/chat/completions",
    is_strict: bool = False,
    **members: Any,
) -> IdempotencyKey | None:
    raw = json.dumps({**BODY, **members}).encode() if body is None else body
    parsed = CHAT.parse_create(HttpCall(headers, {}, raw))
    name = name_of_start(parsed, headers, dialect=dialect, is_strict=is_strict)
    return name and replace(name, fingerprint=fingerprint(route, raw))


@pytest.mark.parametrize(
    "header", ["idempotency-key", "aurous-idempotency-key", "aurous-idempotent-key"]
)
def test_a_key_has_three_names(header: str) -> None:
    one, other = made_again({header: "k"}), made_again({header: "k"}, temperature=1)
    assert one is not None and other is not None
    assert (one.key, one.names_id) == ("k", False)
    assert one.fingerprint != other.fingerprint


def test_an_id_names_a_start_too() -> None:
    assert made_again({}) is None
    named = made_again(NAMED, stream=True)
    assert named is not None
    assert (named.key, named.names_id) == (None, True)
    both = made_again(NAMED | {"idempotency-key": "k"}, stream=True)
    assert both == IdempotencyKey("k", named.fingerprint, names_id=True)


def test_the_fingerprint_is_of_the_route_and_the_canonical_body() -> None:
    bodies = (
        b'{"model":"sim","messages":[{"role":"user","content":"x"}],"seed":1}',
        b'{"seed": 1, "messages": [{"content": "\\u0078", "role": "user"}], "model": "sim"}',
    )
    assert len({made_again({"idempotency-key": "k"}, body) for body in bodies}) == 1
    elsewhere = made_again({"idempotency-key": "k"}, bodies[0], route="POST /v1/messages")
    assert elsewhere != made_again({"idempotency-key": "k"}, bodies[0])


@pytest.mark.parametrize(
    "headers",
    [
        {"idempotency-key": ""},
        {"idempotency-key": "x" * 257},
        {"idempotency-key": "a", "aurous-idempotency-key": "b"},
    ],
)
def test_keys_out_of_bounds(headers: dict[str, str]) -> None:
    assert made_again({"idempotency-key": "x" * 256}) is not None
    with pytest.raises(InvalidRequest):
        made_again(headers)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("stream", [False, True])
def test_strictly_chat_alone_takes_keys_and_not_for_streams(dialect: Dialect, stream: bool) -> None:
    headers = NAMED | {"idempotency-key": "k"}
    strictly = made_again(headers, dialect=dialect, is_strict=True, stream=stream)
    if dialect is Dialect.CHAT and not stream:
        assert strictly is not None
        assert (strictly.key, strictly.names_id, strictly.is_strict) == ("k", False, True)
    else:
        assert strictly is None
