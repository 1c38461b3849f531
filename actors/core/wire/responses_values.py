"""OpenAI Responses, reading one frame: its JSON, its text members, and what an error in it means.

Rules: half of a surrogate pair, which JSON can carry and no encoder can, is replaced; what is no JSON
object, or not the type that a member has, is `Broken`.

Source: OpenAI API reference, "Response error" and "error" event, read 2026-11-22.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from actors.core.errors import Failure
from actors.core.wire.failures import BROKEN_STREAM, failure_of_status

__all__ = ["Broken", "failure_of", "json_object", "text_member"]

_STATUS_OF_CODE = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "bio_policy": 400,
    "data_residency_mismatch": 400,
}


class Broken(Exception):
    """The stream cannot be read on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


# Python's own decoder takes NaN and Infinity, which no JSON has.
_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def json_object(text: str) -> dict[str, Any]:
    """Raises: Broken."""
    try:
        value = _decode(text)
    except (ValueError, RecursionError):
        raise Broken(BROKEN_STREAM) from None
    if not isinstance(value, dict):
        raise Broken(BROKEN_STREAM)
    return value


def text_member(value: dict[str, Any], name: str) -> str:
    """Return a member that is text or absent.

    Raises: Broken.
    """
    text = value.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise Broken(BROKEN_STREAM)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def failure_of(error: Any) -> Failure:
    """Return what an `error` event, or the error of a failed response, means."""
    return failure_of_status(_status(error))


def _status(error: Any) -> int | None:
    if not isinstance(error, dict):
        return None
    for name in ("code", "status", "status_code"):
        status = error.get(name)
        if type(status) is int and 400 <= status <= 599:
            return status
    for name in ("code", "type"):
        word = error.get(name)
        if isinstance(word, str):
            status = _STATUS_OF_CODE.get(word, _status_of_word(word))
            if status is not None:
                return status
    return None


def _status_of_word(word: str) -> int | None:
    """Return the status of a family of codes that providers extend."""
    if word.startswith("rate_limit"):
        return 429
    return 400 if word.startswith(("invalid_image", "image_")) else None
