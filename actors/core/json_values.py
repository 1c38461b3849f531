"""Typed values as JSON and back, also those that JSON's own form of text cannot carry.

What clients and providers send may have halves of surrogate pairs, and numbers that are none: Python's
`json` reads and writes both, msgspec neither. So what was stored so is read all the same, and what
cannot be written gets replacement characters in their place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

__all__ = ["JsonReader", "mended", "to_json"]

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


def to_json(value: Any) -> bytes:
    """Return the value as JSON."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(mended(value))


class JsonReader(Generic[T]):
    """Reads values of one type."""

    def __init__(self, of: type[T]) -> None:
        self._of = of
        self._decode = msgspec.json.Decoder(of).decode

    def read(self, text: str | bytes) -> T:
        """Raises: ValueError: this is no such value."""
        try:
            return self._decode(text)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return msgspec.convert(json.loads(text), self._of)


def mended(value: Any, big_integer: Callable[[int], Any] = lambda number: number) -> Any:
    """Return a typed value as plain ones that have a form on every wire.

    Args:
        big_integer: what takes the place of a whole number beyond 64 bits.
    """

    def mend(value: Any) -> Any:
        match value:
            case str():
                return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            case int() if not -(2**63) <= value < 2**64:
                return big_integer(value)
            case dict():
                return {mend(key): mend(member) for key, member in value.items()}
            case list() | tuple():
                return [mend(member) for member in value]
        return value

    return mend(msgspec.to_builtins(value, builtin_types=(bytes,)))
