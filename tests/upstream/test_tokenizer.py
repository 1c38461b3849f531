"""Counting: equal to the vocabulary's own library, never raises, and cheap to load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from actors.core.request import (
    ImagePart,
    Message,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    VideoPart,
)
from actors.upstream.tokenizer import IMAGE_TOKENS, VIDEO_TOKENS, count_prompt, count_text

TEXTS = [
    "",
    " hello",
    "hello world",
    "The quick brown fox jumps over the lazy dog. " * 40,
    "<|endoftext|> and <|im_start|>",
    "日本語のテキスト、中国、한국어",
    "😀👍🏽 family: 👨‍👩‍👧",
    "\n\n\t  \r\n  x",
    "def f(x):\n    return {'a': x ** 2}\n",
    "a" * 5000,
    "1234567890" * 30,
    "\x00\x01\x7f",
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_counts_as_the_vocabularys_own_library_encodes(text: str) -> None:
    bpe_openai = pytest.importorskip("bpe_openai")
    encode = bpe_openai.get_encoding("o200k_base").encode_ordinary
    assert count_text(text) == len(encode(text))
    assert count_text(text) == len(encode(text))  # The cached answer is the same.


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d\ude00", "x" * 100 + "\udc80"])
def test_surrogates_do_not_raise(text: str) -> None:
    assert count_text(text) > 0


def test_a_surrogate_pair_counts_as_its_character() -> None:
    assert count_text("\ud83d\ude00") == count_text("😀")


def test_texts_beyond_the_librarys_own_limits_are_counted() -> None:
    assert count_text("word " * 300_000) >= 300_000  # The library refuses 1,000,000 characters.


def test_the_extension_is_loaded_alone_and_late() -> None:
    program = (
        "import sys; from actors.upstream import tokenizer as t;"
        "assert t._vocabulary.cache_info().currsize == 0;"
        "t.count_text('x'); assert 'bpe_openai' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def prompt(*messages: Message, tools: tuple[Tool, ...] = ()) -> int:
    return count_prompt(messages, tools)


def test_a_prompt_is_framed_as_the_cookbook_says() -> None:
    assert prompt() == 3
    assert prompt(Message(Role.USER, (TextPart("hello world"),))) == 3 + 3 + 1 + 2
    assert prompt(Message(Role.USER, (TextPart("hello"),), name="bob")) == 3 + 3 + 1 + 1 + 1 + 1
    assert prompt(Message(Role.ASSISTANT, ())) == 3  # It is not sent.


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        (TextPart("hello world"), 2),
        (ReasoningPart("hello world"), 2),
        (RefusalPart("hello world"), 2),
        (ToolCallPart("call_1", "hello", "{}"), 2),
        (ImagePart("https://example.com/a.png"), IMAGE_TOKENS),
        (ImagePart("data:image/png;base64," + "A" * 9999, "high"), IMAGE_TOKENS),
        (ImagePart("https://example.com/a.png", "low"), 85),
        (VideoPart("https://example.com/a.mp4"), VIDEO_TOKENS),
    ],
)
def test_each_kind_of_part_counts(part: TextPart, tokens: int) -> None:
    assert prompt(Message(Role.USER, (part,))) == 3 + 3 + 1 + tokens


def test_a_tool_result_is_a_message_of_its_own() -> None:
    result = ToolResultPart("call_1", "hello world")
    assert prompt(Message(Role.TOOL, (result,))) == 3 + (3 + 1 + 2)
    assert prompt(Message(Role.USER, (result, TextPart("hello")))) == 3 + (3 + 1 + 2) + (3 + 1 + 1)


def test_tools_count_as_the_text_of_their_definitions() -> None:
    tool = Tool("f", "Does f.", {"type": "object", "properties": {"x": {"type": "string"}}})
    text = (
        '{"name":"f","description":"Does f.",'
        '"parameters":{"type":"object","properties":{"x":{"type":"string"}}}}'
    )
    assert prompt(tools=(tool,)) == 3 + count_text(text)
    assert prompt(tools=(tool, tool)) == 3 + 2 * count_text(text)
    assert prompt(tools=(Tool("f"),)) == 3 + count_text('{"name":"f"}')
