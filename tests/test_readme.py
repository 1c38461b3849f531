"""Goal: what README.md says of the code is what the code says."""

from __future__ import annotations

from tests.support.readme import README, with_parts


def test_the_generated_parts_are_those_of_the_code() -> None:
    text = README.read_text("utf-8")
    assert with_parts(text) == text, "run python -m tests.support.readme"


def test_the_two_commands_stand_there_word_for_word() -> None:
    text = README.read_text("utf-8")
    assert "\npip install . && midstream up\n" in text
    assert "\npip install '.[test]' && pytest\n" in text
