"""Anthropic Messages, one frame of a stream: its members, read without trust.

Source: Anthropic API reference, "Streaming Messages" and "Errors", read 2026-11-22.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from actors.core.errors import Failure
from actors.core.wire.failures import BROKEN_STREAM, failure_of_status

__all__ = ["Broken", "error_failure", "json_object", "member", "text_member"]

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class Broken(Exception):
    """The stream cannot be read on."""

    def __init__(self, failure: Failure = BROKEN_STREAM) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


# Python's own decoder takes NaN and Infinity, which no JSON has.
_decode_json = json.JSONDecoder(parse_constant=_refuse_constant).decode


def json_object(text: str) -> dict[str, Any]:
    try:
        value = _decode_json(text)
    except (ValueError, RecursionError):
        raise Broken from None
    if not isinstance(value, dict):
        raise Broken
    return value


def member(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a member that has to be an object."""
    inner = value.get(name)
    if not isinstance(inner, dict):
        raise Broken
    return inner


def text_member(value: dict[str, Any], name: str) -> str:
    """Return a member that is text or absent."""
    text = value.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise Broken
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON can carry half of a surrogate pair; no encoder after this one can.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def error_failure(data: str) -> Failure:
    """Return what an error frame means, whatever is in it."""
    return failure_of_status(_error_status(data))


def _error_status(data: str) -> int | None:
    """Return the HTTP status that an error frame names, None where it names none."""
    try:
        value = json_object(data)
    except Broken:
        return None
    error = value.get("error", value)
    if not isinstance(error, dict):
        return None
    for name in ("code", "status", "status_code"):
        status = error.get(name)
        if type(status) is int and 400 <= status <= 599:
            return status
    kind = error.get("type")
    return _STATUSES.get(kind) if isinstance(kind, str) else None
