"""What models and tenants write reaches an operator's terminal as text and as nothing else."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.plain_text import one_line, plain


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[H", ""),
        ("\x9b31mred", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;cm0gLXJm\x07", ""),
        ("\x1bPq#0\x1b\\x", "x"),
        ("\x1bc", ""),
        ("\x1b(0x", "x"),
        ("\x1b", ""),
        ("a\rb\x08c\x7fd\x00", "abcd"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        ("\u2066a\u2069\u200f\u061c", "a"),
        ("a\u2028b", "ab"),
        ("\U000e0041hidden", "hidden"),
        ("\ud83d", ""),
        ("line\r\n\tnext", "line\n\tnext"),
        ("Zażółć 日本 👩\u200d💻 e\u0301", "Zażółć 日本 👩\u200d💻 e\u0301"),
    ],
)
def test_what_acts_on_a_terminal_is_gone_and_the_rest_stays(written: str, seen: str) -> None:
    assert plain(written) == seen


@given(st.text())
def test_nothing_that_controls_is_ever_left(text: str) -> None:
    for character in plain(text):
        assert character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs"), text
        assert unicodedata.bidirectional(character) not in (
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
        )
    assert plain(plain(text)) == plain(text)


def test_a_cell_is_one_line() -> None:
    assert one_line("a\n\tb\x1b[1mc") == "a bc"
