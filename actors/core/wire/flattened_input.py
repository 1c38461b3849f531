"""The input of a custom tool, out of the arguments of the function that stood for it.

A model was asked for `{"input": "..."}`; what it writes comes in pieces that may end anywhere, within
an escape too. What stands in the string goes on at once; anything that is not such an object is kept
to the end of the call, and is the input then as well as can be told.

    BEGINNING  --{"input":"-->  STRING  --"-->  OVER
        --what cannot become that-->  OTHER

Bounded by its user: a call is no longer than the log that it is written to.
"""

from __future__ import annotations

import json
import re
from enum import Enum

__all__ = ["InputReader"]

_BEGINNING = re.compile(r'\s*\{\s*"input"\s*:\s*"', re.ASCII)
_TOKENS = ("{", '"input"', ":", '"')
_SPACE = " \t\r\n"

_HEX = re.compile(r"[0-9a-fA-F]{4}", re.ASCII)
_PIECE = re.compile(r'[^"\\]+')
_ESCAPES = {
    '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
}  # fmt: skip


class _InputStage(Enum):
    BEGINNING = "beginning"
    STRING = "string"
    OVER = "over"
    OTHER = "other"


class InputReader:
    """Reads one call's arguments."""

    def __init__(self) -> None:
        self._stage = _InputStage.BEGINNING
        self._kept = ""  # What is not decided yet: a beginning, half an escape, or all of it.
        self._other: list[str] = []

    def __repr__(self) -> str:
        return f"<InputReader {self._stage.value}>"

    def receive(self, text: str) -> str:
        """Return what of the input this piece brought; may be empty."""
        if self._stage is _InputStage.OTHER:
            self._other.append(text)
            return ""
        if self._stage is _InputStage.OVER:
            return ""
        text, self._kept = self._kept + text, ""
        if self._stage is _InputStage.STRING:
            return self._read(text, 0)
        begun = _BEGINNING.match(text)
        if begun is not None:
            self._stage = _InputStage.STRING
            return self._read(text, begun.end())
        if _may_begin(text):
            self._kept = text
        else:
            self._stage = _InputStage.OTHER
            self._other.append(text)
        return ""

    def finish(self, *, is_complete: bool) -> str:
        """Return what is left, now that the call has ended; of one that was cut, nothing."""
        if not is_complete or self._stage in (_InputStage.STRING, _InputStage.OVER):
            return ""
        return _input_of("".join(self._other) or self._kept)

    def _read(self, text: str, at: int) -> str:
        """Return the string's characters from there; keep the half of an escape."""
        read: list[str] = []
        while at < len(text):
            piece = _PIECE.match(text, at)
            if piece is not None:
                read.append(piece[0])
                at = piece.end()
            elif text[at] == '"':
                self._stage = _InputStage.OVER
                break
            else:
                escape = _escape(text, at)
                if escape is None:
                    self._kept = text[at:]
                    break
                read.append(escape[0])
                at = escape[1]
        return "".join(read)


def _may_begin(text: str) -> bool:
    """Return whether the text is the beginning of what was asked for, as far as it goes."""
    at = 0
    for token in _TOKENS:
        while at < len(text) and text[at] in _SPACE:
            at += 1
        here = text[at : at + len(token)]
        if here != token:
            return at + len(here) == len(text) and token.startswith(here)
        at += len(token)
    return True


def _escape(text: str, at: int) -> tuple[str, int] | None:
    """Return the character of the escape there and where it ends; None where more has to come."""
    if at + 1 >= len(text):
        return None
    letter = text[at + 1]
    if letter != "u":
        # A backslash before anything else is no JSON; the character itself is what was meant.
        return _ESCAPES.get(letter, "\\" + letter), at + 2
    unit = _unit(text, at)
    if unit is None:
        return None
    if not 0xD800 <= unit < 0xDC00:
        return ("\ufffd" if 0xDC00 <= unit < 0xE000 else chr(unit)), at + 6
    following = text[at + 6 : at + 8]
    if not "\\u".startswith(following):
        return "\ufffd", at + 6
    low = _unit(text, at + 6) if len(following) == 2 else None
    if low is None:
        return None
    if not 0xDC00 <= low < 0xE000:
        return "\ufffd", at + 6
    return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)), at + 12


def _unit(text: str, at: int) -> int | None:
    digits = text[at + 2 : at + 6]
    if len(digits) < 4:
        return None
    return int(digits, 16) if _HEX.fullmatch(digits) else 0xFFFD


def _input_of(text: str) -> str:
    """Return the input that arguments of another form are."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict):
        said = value.get("input")
        if not isinstance(said, str) and len(value) == 1:
            (said,) = value.values()  # It gave its one argument a name of its own.
        if isinstance(said, str):
            return said
    return value if isinstance(value, str) else text
