"""What the writer writes, the decoder and an independent JSON reader read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.events import (
    BlockFinished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.wire.anthropic import (
    MESSAGE_STOP,
    PING,
    MessagesStreamDecoder,
    MessagesStreamWriter,
    error_frame,
    fold_content,
    message_body,
    redacted_signature,
    stop_reason,
    usage_from,
    usage_object,
)

USAGE = {"input_tokens": 3, "output_tokens": 0}


def new_writer(**members: Any) -> MessagesStreamWriter:
    return MessagesStreamWriter("msg_1", 'a "model"', **members)


def value_of(frame: bytes) -> Any:
    name, data, *rest = frame.decode().split("\n")
    assert rest == ["", ""] and name.startswith("event: ") and data.startswith("data: ")
    value = json.loads(data[6:])
    assert value["type"] == name[7:]
    return value


def test_a_message_frame_by_frame() -> None:
    writer = new_writer()
    assert value_of(writer.message_start(USAGE)) == {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": 'a "model"',
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": USAGE,
        },
    }
    assert value_of(writer.text_start()) == {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    assert value_of(writer.delta('"é\n')) == {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": '"é\n'},
    }
    assert value_of(writer.block_stop()) == {"type": "content_block_stop", "index": 0}
    assert value_of(writer.message_delta("end_turn", {"output_tokens": 1})) == {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 1},
    }
    assert value_of(MESSAGE_STOP) == {"type": "message_stop"}
    assert value_of(PING) == {"type": "ping"}


def test_blocks_of_each_kind() -> None:
    writer = new_writer(has_block_ids=True)
    place = {"index": 0, "block_id": "block_0"}
    assert value_of(writer.thinking_start()) == place | {
        "type": "content_block_start",
        "content_block": {"type": "thinking", "thinking": "", "signature": ""},
    }
    assert value_of(writer.delta("Hm"))["delta"] == {"type": "thinking_delta", "thinking": "Hm"}
    assert value_of(writer.signature("seal")) == place | {
        "type": "content_block_delta",
        "delta": {"type": "signature_delta", "signature": "seal"},
    }
    assert value_of(writer.block_stop(incomplete=True)) == place | {
        "type": "content_block_stop",
        "incomplete": True,
    }
    started = value_of(writer.redacted_thinking_start("x=="))
    assert started["content_block"] == {"type": "redacted_thinking", "data": "x=="}
    started = value_of(writer.tool_use_start("c", "f"))
    assert started["content_block"] == {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    assert (started["index"], started["block_id"]) == (2, "block_2")
    assert value_of(writer.delta('{"'))["delta"] == {
        "type": "input_json_delta",
        "partial_json": '{"',
    }


def test_the_end_and_the_error_take_members_of_their_callers() -> None:
    end = new_writer().message_delta("stop_sequence", {}, stop_sequence="x", midstream={"a": 1})
    assert value_of(end) == {
        "type": "message_delta",
        "delta": {"stop_reason": "stop_sequence", "stop_sequence": "x"},
        "usage": {},
        "midstream": {"a": 1},
    }
    error = {"type": "overloaded_error", "message": "Overloaded"}
    assert value_of(error_frame(error, request_id="req_1")) == {
        "type": "error",
        "error": error,
        "request_id": "req_1",
    }


@given(st.lists(st.text(min_size=1), min_size=1))
def test_the_decoder_reads_what_the_writer_wrote(texts: list[str]) -> None:
    usage = Usage(9, 4, 2, 3, 1)
    writer = new_writer()
    stream = b"".join(
        [
            writer.message_start(usage_object(Usage(9, 0, 0, 3, 1))),
            writer.thinking_start(),
            writer.delta("Hm"),
            writer.signature("seal"),
            writer.block_stop(),
            writer.text_start(),
            *map(writer.delta, texts),
            writer.block_stop(),
            writer.tool_use_start("c", "f"),
            writer.delta("{}"),
            writer.block_stop(),
            writer.message_delta("tool_use", usage_object(usage)),
            MESSAGE_STOP,
        ]
    )
    batch = MessagesStreamDecoder(len, frame_bytes_max=1 << 16).receive_data(stream)
    assert batch.events == (
        UsageReported(Usage(9, 0, 0, 3, 1)),
        ReasoningDelta(0, "Hm", 2),
        BlockFinished(0, True, "seal"),
        *(TextDelta(1, text, len(text)) for text in texts),
        BlockFinished(1, True),
        ToolCallStarted(2, "c", "f", 1),
        ToolCallDelta(2, "{}", 2),
        BlockFinished(2, True),
        UsageReported(usage),
    )
    assert (batch.finish_reason, batch.is_end) == (FinishReason.TOOL_CALLS, True)


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    writer = new_writer()
    writer.text_start()
    assert value_of(writer.delta("\ud83d"))["delta"]["text"] == "?"


def test_the_body_is_a_fold_over_the_events() -> None:
    events = [
        ReasoningDelta(0, "Hm", 2),
        BlockFinished(0, True, "seal"),
        ReasoningDelta(1, "", 0),
        BlockFinished(1, True, redacted_signature("x==")),
        TextDelta(2, "a", 1),
        TextDelta(2, "b", 1),
        BlockFinished(2, True),
        RefusalDelta(3, "no", 1),
        BlockFinished(3, True),
        ToolCallStarted(4, "c", "f", 1),
        ToolCallDelta(4, '{"x":', 1),
        ToolCallDelta(4, "1}", 1),
        BlockFinished(4, True),
        ToolCallStarted(5, "d", "f", 1),
        ToolCallDelta(5, '{"x"', 1),
        BlockFinished(5, False),
    ]
    content = fold_content(events)
    assert content == [
        {"type": "thinking", "thinking": "Hm", "signature": "seal"},
        {"type": "redacted_thinking", "data": "x=="},
        {"type": "text", "text": "ab"},
        {"type": "text", "text": "no"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1}},
    ]
    assert message_body(content, message_id="msg_1", model="m", reason="tool_use", usage=USAGE) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": USAGE,
    }


@pytest.mark.parametrize(
    ("usage", "value"),
    [
        (
            Usage(9, 4),
            {
                "input_tokens": 9,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 4,
            },
        ),
        (
            Usage(9, 4, 2, 3, 1, cache_write_1h_tokens=1),
            {
                "input_tokens": 5,
                "cache_creation_input_tokens": 1,
                "cache_read_input_tokens": 3,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 1},
                "output_tokens": 6,
                "output_tokens_details": {"thinking_tokens": 2, "reasoning_tokens": 2},
            },
        ),
    ],
)
def test_usage_in_both_directions(usage: Usage, value: dict[str, Any]) -> None:
    assert usage_object(usage) == value
    assert usage_from(value) == usage


def test_figures_without_a_place_are_kept_and_bounded() -> None:
    value = {f"figure_{n}": n for n in range(40)} | {"speed": "fast", "x" * 65: 1, "flag": True}
    assert usage_from(value).raw == tuple((f"figure_{n}", n) for n in range(16))
    first = usage_from({"server_tool_use": {"web_search_requests": 7, "kind": "x"}})
    assert first.raw == (("server_tool_use.web_search_requests", 7),)
    assert usage_from({"output_tokens": 2}, first).raw == first.raw


@pytest.mark.parametrize(
    ("reason", "sequence", "word"),
    [
        (FinishReason.STOP, None, "end_turn"),
        (FinishReason.STOP, "x", "stop_sequence"),
        (FinishReason.LENGTH, None, "max_tokens"),
        (FinishReason.TOOL_CALLS, None, "tool_use"),
        (FinishReason.CONTENT_FILTER, None, "refusal"),
        (FinishReason.CANCELLED, None, "cancelled"),
        (FinishReason.ERROR, None, None),
    ],
)
def test_stop_reasons(reason: FinishReason, sequence: str | None, word: str | None) -> None:
    assert stop_reason(reason, sequence) == word
