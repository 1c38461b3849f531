"""Values as bytes: msgpack in the types that a contract declares. Nothing that is read can execute.

Errors of `actors.core.errors` cross as `[name, message, members]` and are rebuilt from a table of their
classes. JSON has whole numbers beyond 64 bits and halves of surrogate pairs, which msgpack has not: the
first go as an extension of ours, the second become replacement characters, both only where they occur.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from actors.core import errors
from actors.core.errors import CompletionRuntimeError
from actors.core.json_values import mended

__all__ = ["ErrorRow", "decoder", "encode", "error_from", "error_row"]

_BIG_INTEGER = 1

_encode = msgspec.msgpack.Encoder().encode


def encode(value: Any) -> bytes:
    """Return the value as bytes. Raises: TypeError, ValueError, RecursionError: it has no such form."""
    try:
        return _encode(value)
    except (OverflowError, UnicodeEncodeError):
        return _encode(mended(value, _big_integer))


def decoder(of: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return what reads a value of that type, or raises `msgspec.MsgspecError`."""
    return msgspec.msgpack.Decoder(of, ext_hook=_extension)


def _big_integer(value: int) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(_BIG_INTEGER, b"%d" % value)


def _extension(code: int, data: memoryview) -> int:
    if code != _BIG_INTEGER:
        raise ValueError(f"There is no extension {code}.")
    return int(bytes(data))


ErrorRow = tuple[str, str, dict[str, Any]]
"""The class's name, the message, and the other members by their names."""


def error_row(error: CompletionRuntimeError) -> ErrorRow:
    """Return the error as plain values; one of a class that does not cross goes as its nearest base."""
    kind = next((base for base in type(error).__mro__ if base in _MEMBERS), CompletionRuntimeError)
    return kind.__name__, str(error), {name: getattr(error, name) for name in _MEMBERS[kind]}


def error_from(row: ErrorRow) -> CompletionRuntimeError:
    """Rebuild an error. Raises: KeyError, msgspec.ValidationError: `error_row` did not write it."""
    name, message, members = row
    kind = _KINDS[name]
    typed = {member: msgspec.convert(members[member], of) for member, of in _MEMBERS[kind].items()}
    error = kind.__new__(kind)
    error.args = (message,)
    error.__dict__.update(typed, message=message)
    return error


def _classes(kind: type[CompletionRuntimeError]) -> Iterator[type[CompletionRuntimeError]]:
    yield kind
    for heir in kind.__subclasses__():
        yield from _classes(heir)


def _members(kind: type[CompletionRuntimeError]) -> dict[str, Any]:
    """Return what an error has beside its message: what it is made from, by name and type."""
    hints = typing.get_type_hints(kind.__init__)
    return {name: of for name, of in hints.items() if name not in ("return", "message")}


_KINDS = {
    kind.__name__: kind
    for kind in _classes(CompletionRuntimeError)
    if kind.__module__ == errors.__name__
}
_MEMBERS = {kind: _members(kind) for kind in _KINDS.values()}
