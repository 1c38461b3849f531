"""What two processes say to each other: one msgpack array per frame.

[number, method, arguments]   to the server; a call or stream has the caller's number
[number, CREDIT, items]       to the server: the stream of that number may send so many more
[number, STOP, null]          to the server: the stream of that number is not read any more
[number, kind, value]         back: an answer, an error, a stream's item or its end
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from actors.rpc.codec import ErrorRow, decoder

__all__ = [
    "CREDIT",
    "CREDIT_ITEMS",
    "STOP",
    "Asked",
    "Told",
    "ToldKind",
    "read_ask",
    "read_credit",
    "read_error",
    "read_told",
]

STOP = "-"
CREDIT = "+"

CREDIT_ITEMS = 64
"""Items that a stream may be ahead of its reader; its first credit, which goes without saying."""


class ToldKind(IntEnum):
    """What a frame to the caller is."""

    ANSWER = 0
    ERROR = 1
    ITEM = 2
    END = 3


class Asked(msgspec.Struct, array_like=True, frozen=True, gc=False):
    number: int
    method: str
    arguments: msgspec.Raw


class Told(msgspec.Struct, array_like=True, frozen=True, gc=False):
    number: int
    kind: ToldKind
    value: msgspec.Raw


read_ask = decoder(Asked).decode
read_told = decoder(Told).decode
read_error = decoder(ErrorRow).decode
read_credit = decoder(int).decode
