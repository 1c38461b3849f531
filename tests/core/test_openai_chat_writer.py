"""What the writer writes, the decoder and an independent JSON reader read."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actors.core.events import (
    BlockFinished,
    Delta,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.wire.openai_chat import (
    DONE,
    ChatStreamDecoder,
    ChatStreamWriter,
    completion_body,
    error_frame,
    fold_message,
    usage_from,
    usage_object,
)

BASE = {"id": "cmp_1", "object": "chat.completion.chunk", "created": 17, "model": 'a "model"'}


def new_writer() -> ChatStreamWriter:
    return ChatStreamWriter("cmp_1", 'a "model"', 17)


def value_of(frame: bytes) -> Any:
    assert frame.startswith(b"data: ") and frame.endswith(b"\n\n") and frame.count(b"\n") == 2
    return json.loads(frame[6:])


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return BASE | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def test_frames() -> None:
    writer = new_writer()
    usage = {"prompt_tokens": 1}
    piece = {"index": 1, "function": {"arguments": '{"'}}
    opened = {
        "index": 1,
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": ""},
    }
    assert value_of(writer.role()) == chunk({"role": "assistant", "content": ""})
    assert value_of(writer.text('é"\n')) == chunk({"content": 'é"\n'})
    assert value_of(writer.reasoning("hm")) == chunk({"reasoning_content": "hm"})
    assert value_of(writer.refusal("no")) == chunk({"refusal": "no"})
    assert value_of(writer.tool_call(1, "c", "f")) == chunk({"tool_calls": [opened]})
    assert value_of(writer.tool_arguments(1, '{"')) == chunk({"tool_calls": [piece]})
    assert value_of(writer.finish("stop")) == chunk({}, "stop")
    assert value_of(writer.finish("stop", usage)) == chunk({}, "stop") | {"usage": usage}
    assert value_of(writer.text("a", usage)) == chunk({"content": "a"}) | {"usage": usage}
    assert value_of(writer.usage(usage)) == BASE | {"choices": [], "usage": usage}
    assert value_of(error_frame({"code": "x"})) == {"error": {"code": "x"}}
    assert DONE == b"data: [DONE]\n\n"


def test_text_leaves_as_utf_8_and_half_a_pair_does_not_raise() -> None:
    assert "é🎈".encode() in new_writer().text("é🎈")
    assert value_of(new_writer().text("a\ud83c")) == chunk({"content": "a?"})


def test_tool_calls_get_their_indices_in_the_order_they_open() -> None:
    writer = new_writer()
    events: list[Delta] = [
        TextDelta(0, "a", 1),
        ToolCallStarted(1, "c0", "f", 1),
        ToolCallStarted(3, "c1", "g", 1),
        ToolCallDelta(3, "1", 1),
        ToolCallDelta(1, "2", 1),
    ]
    values = [value_of(writer.delta(event))["choices"][0]["delta"] for event in events]
    assert [value["tool_calls"][0]["index"] for value in values[1:]] == [0, 1, 1, 0]


WORDS = st.text(st.sampled_from('ab "\\\n\r\0é日🎈\u2028'), min_size=1, max_size=9)
BLOCKS = st.lists(
    st.tuples(
        st.sampled_from([TextDelta, ReasoningDelta, RefusalDelta]), st.lists(WORDS, min_size=1)
    )
    | st.tuples(st.just(ToolCallStarted), st.lists(WORDS, min_size=2)),
    min_size=1,
    max_size=5,
)


_encode = json.JSONEncoder(ensure_ascii=False).encode


def events_of(blocks: list[tuple[type, list[str]]]) -> list[Delta | BlockFinished]:
    """Make the events of an answer; neighbours of one kind would be one block, so they are joined."""
    events: list[Delta | BlockFinished] = []
    last: type | None = None
    block = -1
    for kind, words in blocks:
        if kind is ToolCallStarted or kind is not last:
            if last is not None:
                events.append(BlockFinished(block, True))
            block += 1
        last = kind
        if kind is ToolCallStarted:
            name, *words = words
            events.append(ToolCallStarted(block, f"id_{block}", name, len(name)))
            pieces = ['{"words":["', *(_encode(word)[1:-1] for word in words), '"]}']
            events += [ToolCallDelta(block, piece, len(piece)) for piece in pieces if piece]
        else:
            events += [kind(block, word, len(word)) for word in words]
    return [*events, BlockFinished(block, True)]


@given(
    BLOCKS, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]), st.integers(1, 60)
)
def test_the_decoder_reads_what_the_writer_wrote(
    blocks: list[tuple[type, list[str]]], reason: str, step: int
) -> None:
    events, writer = events_of(blocks), new_writer()
    frames = [writer.delta(event) for event in events if not isinstance(event, BlockFinished)]
    usage = Usage(7, 5, 3, 2)
    frames = [
        writer.role(),
        *frames,
        writer.finish(reason),
        writer.usage(usage_object(usage)),
        DONE,
    ]
    stream = b"".join(frames)
    decoder = ChatStreamDecoder(len, frame_bytes_max=1 << 20)
    batches = [decoder.receive_data(stream[at : at + step]) for at in range(0, len(stream), step)]
    read = [event for batch in batches for event in batch.events]
    assert read == [*events, UsageReported(usage)]
    has_call = any(isinstance(event, ToolCallStarted) for event in events)
    agreed = {"stop": "tool_calls"} if has_call else {"tool_calls": "stop"}
    finish = FinishReason(agreed.get(reason, reason))
    assert [b.finish_reason for b in batches if b.finish_reason] == [finish]
    assert batches[-1].is_end and batches[-1].failure is None
    assert fold_message(read) == fold_message(events)


@given(st.tuples(*[st.integers(0, 99)] * 3), st.integers(0, 9))
def test_usage_comes_back(figures: tuple[int, int, int], cached: int) -> None:
    usage = Usage(*figures, cached_tokens=min(cached, figures[0]))
    assert usage_from(usage_object(usage)) == usage


def test_a_body_is_a_fold_over_the_events() -> None:
    events = [
        ReasoningDelta(0, "h", 1),
        ReasoningDelta(0, "m", 1),
        BlockFinished(0, True),
        TextDelta(1, "Hel", 1),
        TextDelta(1, "lo", 1),
        BlockFinished(1, True),
        ToolCallStarted(2, "c", "f", 1),
        ToolCallDelta(2, "{", 1),
        ToolCallDelta(2, "}", 1),
        BlockFinished(2, True),
        UsageReported(Usage(7, 5)),
    ]
    body = completion_body(
        events,
        completion_id="cmp_1",
        model="sim",
        created=17,
        finish_reason="tool_calls",
        usage=usage_object(Usage(7, 5)),
    )
    assert body == {
        "id": "cmp_1",
        "object": "chat.completion",
        "created": 17,
        "model": "sim",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        }
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


def test_content_is_null_beside_calls_alone_and_a_cut_call_is_left_out() -> None:
    cut: list[Any] = [ToolCallStarted(0, "c", "f", 1), ToolCallDelta(0, "{", 1)]
    assert fold_message([]) == {"role": "assistant", "content": ""}
    assert fold_message(cut) == {"role": "assistant", "content": ""}
    assert fold_message([*cut, BlockFinished(0, False)]) == {"role": "assistant", "content": ""}
    whole = fold_message([*cut, BlockFinished(0, True)])
    assert whole["content"] is None and len(whole["tool_calls"]) == 1
    assert fold_message([RefusalDelta(0, "no", 1)]) == {
        "role": "assistant",
        "content": None,
        "refusal": "no",
    }
