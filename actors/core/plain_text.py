"""Text of models and tenants as an operator may see it: nothing in it acts on a terminal.

Removed are escape sequences whole (colours, titles, links, what a terminal answers), other control
characters of both ranges, what turns the direction of writing, what separates lines unseen, tags and
lone surrogates. What people write with is left: joiners, marks, emoji.
"""

from __future__ import annotations

import re

__all__ = ["one_line", "plain"]

_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, moves, erasing
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, ...
    r"|\x1b[ -/]*[0-~]"  # two characters and more
)

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions
    "\u2028\u2029\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)

_BLANKS = re.compile(r"[\n\t]+")


def plain(text: str) -> str:
    """Return the text without what acts on a terminal; tabs and newlines stay."""
    if text.isprintable() and text.isascii():
        return text
    return _UNSEEN.sub("", _SEQUENCES.sub("", text.replace("\r\n", "\n")))


def one_line(text: str) -> str:
    """Return it for a cell of a table: tabs and newlines are a blank, too."""
    return _BLANKS.sub(" ", plain(text))
