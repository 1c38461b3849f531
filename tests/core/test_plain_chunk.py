"""The typed way of reading a chunk takes exactly those that say a piece of text and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.core.wire.openai_chat import stream
from actors.core.wire.openai_chat.plain_chunk import plain_text
from actors.core.wire.openai_chat.stream import ChatStreamDecoder


def chunk(*, choice: dict[str, Any] | None = None, **members: Any) -> str:
    whole = {"index": 0, "delta": {"content": "Lake"}, "finish_reason": None, **(choice or {})}
    return json.dumps({"object": "chat.completion.chunk", "choices": [whole], **members})


PLAIN = {
    "bare": '{"choices":[{"delta":{"content":"Lake"}}]}',
    "OpenAI's": chunk(id="c", usage=None, service_tier="default", obfuscation="ab"),
    "with log-probabilities": chunk(choice={"logprobs": {"content": []}}),
}
MORE = {
    "a role": chunk(choice={"delta": {"role": "assistant", "content": "Lake"}}),
    "a call": chunk(choice={"delta": {"tool_calls": []}}),
    "no content": chunk(choice={"delta": {"content": None}}),
    "another choice": chunk(choice={"index": 1}),
    "two choices": '{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}',
    "a reason": chunk(choice={"finish_reason": "stop"}),
    "a message": chunk(choice={"message": {"content": "Lake"}}),
    "usage": chunk(usage={"completion_tokens": 1}),
    "usage in the choice": chunk(choice={"usage": {"completion_tokens": 1}}),
    "Groq's usage": chunk(x_groq={"usage": {"completion_tokens": 1}}),
    "timings": chunk(timings={"predicted_n": 1}),
    "an error": chunk(error={"code": 500}),
    "a completion": chunk(object="chat.completion"),
    "half of a pair": '{"choices":[{"delta":{"content":"\\ud83d"}}]}',
    "a line end in a text": '{"choices":[{"delta":{"content":"a\nb"}}]}',
    "no JSON": "{",
    "nesting": '{"choices":' + "[" * 5_000,
}


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_a_piece_of_text_is_taken(data: str) -> None:
    assert plain_text(data) == "Lake"


@pytest.mark.parametrize("data", MORE.values(), ids=MORE)
def test_what_says_more_is_left(data: str) -> None:
    assert plain_text(data) is None


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_both_ways_say_the_same(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    last = chunk(choice={"delta": {}, "finish_reason": "stop"})
    frames = "".join(f"data: {one}\n\n" for one in (data, data, last, data)).encode()

    def decoded() -> Any:
        return ChatStreamDecoder(len, frame_bytes_max=1 << 20).receive_data(frames)

    fast = decoded()
    monkeypatch.setattr(stream, "plain_text", lambda data: None)
    assert fast == decoded()
