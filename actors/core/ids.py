"""Ids: their shape, never their making.

A ULID is 48 bits of time and 80 of randomness in 26 characters of Crockford's base 32, so that ids
sort by the time they were made. Both parts are arguments: this file has no clock and no dice.

Source: the ULID specification, https://github.com/ulid/spec, read 2026-11-22.
"""

from __future__ import annotations

import re

__all__ = ["COMPLETION_PREFIX", "format_ulid", "is_client_name", "ulid_bits"]

COMPLETION_PREFIX = "cmp_"
"""Every runtime id is this and a ULID; so is the wire id of the chat dialect by default."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
"""Ten bits at a time: 13 look-ups for the 130 bits that 26 characters have."""

_VALUES = {digit: value for value, digit in enumerate(_ALPHABET)}

_TIME_MS_MAX = 2**48 - 1
_RANDOMNESS_MAX = 2**80 - 1

_CLIENT_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def format_ulid(time_ms: int, randomness: int) -> str:
    """Return the 26 characters.

    Args:
        time_ms: milliseconds since 1970, 48 bits.
        randomness: 80 bits.
    Raises:
        ValueError: an argument has more bits than that, or is negative.
    """
    if not (0 <= time_ms <= _TIME_MS_MAX and 0 <= randomness <= _RANDOMNESS_MAX):
        raise ValueError("a ULID has 48 bits of time and 80 bits of randomness")
    bits = time_ms << 80 | randomness
    return "".join([_PAIRS[bits >> shift & 0x3FF] for shift in range(120, -1, -10)])


def ulid_bits(ulid: str) -> int:
    """Return the 128 bits of what `format_ulid` made."""
    bits = 0
    for digit in ulid:
        bits = bits << 5 | _VALUES[digit]
    return bits


def is_client_name(text: str) -> bool:
    """Return whether a client may give a completion this name: 1 to 128 of `[A-Za-z0-9._-]`."""
    return _CLIENT_NAME.fullmatch(text) is not None
