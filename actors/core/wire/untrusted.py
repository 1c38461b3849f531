"""What a provider sent, read without trust: JSON, its members, figures, the status that an error names.

Rules: what is no JSON object, or not of the type that a member has, is `Broken`. Half of a surrogate
pair, which JSON can carry and no encoder can, is joined with its other half where that comes in the next
piece (`whole_text`), and replaced where it does not. A figure of tokens is a whole number, also one
that is written as a float; what is none, or beyond reason, counts as 0: it says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from actors.core.errors import Failure
from actors.core.wire.failures import BROKEN_STREAM, failure_of_status
from actors.core.wire.refusals import told

__all__ = [
    "TOKENS_MAX",
    "Broken",
    "error_failure",
    "json_object",
    "piece_member",
    "text_member",
    "token_figure",
    "whole_text",
]

TOKENS_MAX = 2**24
"""Above the largest context windows, also where a provider's own tools fill one several times. A larger
figure is a fault of the provider's, and nobody is charged by it."""


class Broken(Exception):
    """The stream cannot be read on."""

    def __init__(self, failure: Failure = BROKEN_STREAM) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_decode_strictly = msgspec.json.Decoder().decode

# Python's own decoder takes NaN and Infinity, which no JSON has. Line ends and the like inside a text
# are no JSON either, but some servers send them.
_decode_json = json.JSONDecoder(parse_constant=_refuse_constant, strict=False).decode


def json_object(text: str) -> dict[str, Any]:
    """Return the object that a frame's data is.

    Raises: Broken: it is none.
    """
    try:
        value = _decode_strictly(text)  # A quarter of the time of Python's, which takes more.
    except (ValueError, RecursionError):
        value = _decoded_kindly(text)
    if not isinstance(value, dict):
        raise Broken
    return value


def _decoded_kindly(text: str) -> Any:
    try:
        return _decode_json(text)
    except (ValueError, RecursionError):
        raise Broken from None


def piece_member(value: dict[str, Any], name: str) -> str:
    """Return a member that is a piece of text or absent, "" where it is absent.

    Halves of surrogate pairs are in it as they came: only whoever has the next piece can join them.

    Raises: Broken: it is neither.
    """
    text = value.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise Broken
    return text


def text_member(value: dict[str, Any], name: str) -> str:
    """Return a member that is a whole text or absent, "" where it is absent.

    Raises: Broken: it is neither.
    """
    text = piece_member(value, name)
    return text if text.isascii() else _encodable(text)


def whole_text(text: str) -> tuple[str, str]:
    """Return what of a piece of text can be shown, and the half at its end that waits for another."""
    half = text[-1] if text and "\ud800" <= text[-1] <= "\udbff" else ""
    return _encodable(text[:-1] if half else text), half


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def token_figure(figure: Any) -> int:
    """Return a count of tokens, 0 for what is no whole number from 0 to `TOKENS_MAX`."""
    if type(figure) is float and figure.is_integer():
        figure = int(figure)
    if type(figure) is not int or not 0 <= figure <= TOKENS_MAX:  # `type`, since a bool is an int.
        return 0
    return figure


def error_failure(
    error: Any, status_of_word: Callable[[str], int | None], *, words: tuple[str, ...] = ("type",)
) -> Failure:
    """Return what an error means, whatever it is; of a refusal of the request with what it says.

    Args:
        status_of_word: the HTTP status that a word of the format stands for; asked where the error
            has no figure.
        words: the members that hold such a word, in the order in which they are asked.
    """
    failure = failure_of_status(_error_status(error, status_of_word, words))
    return told(failure, error)


def _error_status(
    error: Any, status_of_word: Callable[[str], int | None], words: tuple[str, ...]
) -> int | None:
    if not isinstance(error, dict):
        return None
    for name in ("code", "status", "status_code"):
        status = error.get(name)
        if type(status) is int and 400 <= status <= 599:
            return status
    said = (error.get(name) for name in words)
    known = (status_of_word(word) for word in said if isinstance(word, str))
    return next((status for status in known if status is not None), None)
