"""Bytes to a JSON object: everything that is none is one typed error and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors import InvalidRequest
from serve_app.dialects.json_body import dotted, parse_object, tag

NOT_OBJECTS = {
    "empty": b"",
    "blank": b" \r\n\t",
    "cut": b'{"a": 1',
    "two": b"{}{}",
    "array": b"[]",
    "number": b"4",
    "null": b"null",
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": [Infinity]}',
    "-Infinity": b'{"a": -Infinity}',
    "beyond a double": b'{"a": 1e999}',
    "integer of 5,000 digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "twice": b'{"a": 1, "a": 1}',
    "twice inside": b'{"b": [{"a": 1, "c": 2, "a": 3}]}',
    "half a pair": b'{"a": "\\ud83d"}',
    "half a pair as a name": b'{"\\uDC00": 1}',
    "objects 20,000 deep": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "arrays 20,000 deep": b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "arrays 20,000 deep, never closed": b'{"a":' + b"[" * 20_000,
    "objects 300 deep": b'{"a":' * 300 + b"1" + b"}" * 300,
}


@pytest.mark.parametrize("body", NOT_OBJECTS.values(), ids=NOT_OBJECTS)
def test_what_is_no_json_object_is_a_typed_error(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_object(body)
    assert caught.value.reason == "invalid_format"
    assert caught.value.param is None
    assert len(caught.value.message) < 200


def test_a_hundred_levels_are_enough_for_anybody_and_allowed() -> None:
    assert parse_object(b'{"a":' * 100 + b"1" + b"}" * 100)


def test_what_is_allowed_arrives_as_it_was() -> None:
    body = '{"a": [1, 2.5, -0.0, 1e-7, true, null], "é": "\\ud83d\\ude00 \\" 😀"}'.encode()
    assert parse_object(body) == {"a": [1, 2.5, -0.0, 1e-7, True, None], "é": '😀 " 😀'}


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    try:
        assert isinstance(parse_object(body), dict)
    except InvalidRequest:
        pass


def test_paths_are_written_as_callers_do() -> None:
    assert dotted(("messages", 0, "content", tag("array"), 1, tag("text"), "text")) == (
        "messages[0].content[1].text"
    )
    assert dotted(()) is None
