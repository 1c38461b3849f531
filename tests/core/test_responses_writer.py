"""What the writer writes, the decoder, an independent JSON reader and the SDK's own types read."""

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
from actors.core.wire.responses import (
    DONE,
    ResponsesStreamDecoder,
    ResponsesStreamWriter,
    fold_items,
    usage_from,
    usage_object,
)

TEXT = "response.output_text"


def value_of(frame: bytes) -> dict[str, Any]:
    head, data, rest = frame.decode().split("\n", 2)
    assert rest == "\n"
    value = json.loads(data.removeprefix("data: "))
    assert head == "event: " + value["type"] and isinstance(value, dict)
    return value


def written(*events: Delta | BlockFinished) -> tuple[ResponsesStreamWriter, list[dict[str, Any]]]:
    writer = ResponsesStreamWriter("cmp_1")
    frames: list[bytes] = []
    for event in events:
        is_end = isinstance(event, BlockFinished)
        frames += writer.finish_block(event) if is_end else writer.delta(event)
    values = [value_of(frame) for frame in frames]
    assert [value.pop("sequence_number") for value in values] == list(range(len(values)))
    return writer, values


def message(text: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "id": "msg_1_0",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }


PLACE = {"item_id": "msg_1_0", "output_index": 0, "content_index": 0}


def test_a_text_has_the_whole_order_of_events() -> None:
    writer, values = written(TextDelta(0, "Hé", 1), TextDelta(0, 'l"\n', 1), BlockFinished(0, True))
    empty = {"type": "output_text", "text": "", "annotations": []}
    assert values == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": message("", "in_progress") | {"content": []},
        },
        {"type": "response.content_part.added", **PLACE, "part": empty},
        {"type": f"{TEXT}.delta", **PLACE, "delta": "Hé", "logprobs": []},
        {"type": f"{TEXT}.delta", **PLACE, "delta": 'l"\n', "logprobs": []},
        {"type": f"{TEXT}.done", **PLACE, "text": 'Hél"\n', "logprobs": []},
        {"type": "response.content_part.done", **PLACE, "part": empty | {"text": 'Hél"\n'}},
        {"type": "response.output_item.done", "output_index": 0, "item": message('Hél"\n')},
    ]
    assert writer.items == [message('Hél"\n')]


def test_a_tool_call_has_its_own_events_and_a_cut_one_is_never_done() -> None:
    opened = (ToolCallStarted(0, "c", "f", 1), ToolCallDelta(0, "{}", 1))
    writer, values = written(*opened, BlockFinished(0, True))
    item = {
        "id": "fc_1_0",
        "type": "function_call",
        "status": "completed",
        "call_id": "c",
        "name": "f",
        "arguments": "{}",
    }
    place = {"item_id": "fc_1_0", "output_index": 0}
    assert values == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": item | {"status": "in_progress", "arguments": ""},
        },
        {"type": "response.function_call_arguments.delta", **place, "delta": "{}"},
        {
            "type": "response.function_call_arguments.done",
            **place,
            "name": "f",
            "arguments": "{}",
        },
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ]
    writer, values = written(*opened, BlockFinished(0, False))
    assert [value["type"].rpartition("response.")[2] for value in values] == [
        "output_item.added",
        "function_call_arguments.delta",
        "output_item.done",
    ]
    assert writer.items == [item | {"status": "incomplete"}]


def test_reasoning_and_refusals() -> None:
    events = (
        ReasoningDelta(0, "hm", 1),
        BlockFinished(0, True, "seal"),
        RefusalDelta(1, "no", 1),
        BlockFinished(1, False),
    )
    writer, values = written(*events)
    assert [value["type"] for value in values if "delta" in value] == [
        "response.reasoning_text.delta",
        "response.refusal.delta",
    ]
    thought, refusal = writer.items
    assert thought["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert (thought["summary"], thought["encrypted_content"]) == ([], "seal")
    assert refusal["content"] == [{"type": "refusal", "refusal": "no"}]
    assert refusal["status"] == "incomplete"
    assert {"type": "response.refusal.done", "refusal": "no"}.items() <= values[-3].items()
    assert fold_items(events, "cmp_1") == writer.items


def test_events_of_the_response_and_errors_share_the_numbers() -> None:
    writer = ResponsesStreamWriter("cmp_1")
    created = value_of(writer.response("response.created", {"id": "r"}))
    assert created == {"type": "response.created", "response": {"id": "r"}, "sequence_number": 0}
    assert value_of(writer.error("server_error", "no")) == {
        "type": "error",
        "code": "server_error",
        "message": "no",
        "param": None,
        "sequence_number": 1,
    }
    assert DONE == b"data: [DONE]\n\n"


def test_text_leaves_as_utf_8_and_half_a_pair_does_not_raise() -> None:
    writer = ResponsesStreamWriter("cmp_1")
    assert "é🎈".encode() in writer.delta(TextDelta(0, "é🎈", 1))[-1]
    assert value_of(writer.delta(TextDelta(0, "a\ud83c", 1))[-1])["delta"] == "a?"


USAGE = {
    "input_tokens": 9,
    "output_tokens": 5,
    "total_tokens": 14,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "output_tokens_details": {"reasoning_tokens": 2},
    "prompt_tokens_details": {
        "audio_tokens": 3,
        "cached_tokens": 4,
        "image_tokens": 0,
        "text_tokens": 0,
    },
    "completion_tokens_details": {
        "accepted_prediction_tokens": 0,
        "audio_tokens": 0,
        "reasoning_tokens": 2,
        "rejected_prediction_tokens": 0,
    },
    "raw_usage": {"prompt_tokens_details.audio_tokens": 3, "num_sources_used": 7},
}


def test_usage_in_both_directions() -> None:
    raw = (("prompt_tokens_details.audio_tokens", 3), ("num_sources_used", 7))
    assert usage_object(Usage(9, 3, 2, 4, 1, raw)) == USAGE
    assert usage_from(USAGE) == Usage(9, 3, 2, 4, 1, raw)
    assert usage_from({"input_tokens": 9, "output_tokens": 3}) == Usage(9, 3)
    # A server whose output does not include its reasoning.
    apart = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 14}
    assert usage_from(apart | {"output_tokens_details": {"reasoning_tokens": 2}}) == Usage(9, 3, 2)


def test_usage_figures_that_are_none() -> None:
    nonsense = {"input_tokens": -1, "output_tokens": True, "input_tokens_details": ["a"]}
    assert usage_from(nonsense) == Usage()
    huge = usage_from({"input_tokens": 10**30, "x" * 65: 1, "y": {"z" * 65: 1}})
    assert huge == Usage()
    assert usage_from({"input_tokens": 9.0, "output_tokens": 3.5}) == Usage(9)
    assert len(usage_from({f"n{n}": 1 for n in range(99)}).raw) == 16
    over = {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 9}}
    assert usage_from(over).cached_tokens == 1


TEXTS = st.text(st.sampled_from('aé🎈"\\\n'), min_size=1, max_size=4)
BLOCKS = st.lists(
    st.tuples(
        st.sampled_from([TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta]),
        st.lists(TEXTS, min_size=1, max_size=3),
    ),
    max_size=4,
)


@given(BLOCKS)
def test_the_decoder_reads_back_what_was_written(blocks: Any) -> None:
    events: list[Any] = []
    for number, (kind, pieces) in enumerate(blocks):
        if kind is ToolCallDelta:
            events.append(ToolCallStarted(number, f"c{number}", "f", 1))
        events += [kind(number, piece, len(piece)) for piece in pieces]
        events.append(BlockFinished(number, True))
    writer = ResponsesStreamWriter("cmp_1")
    stream = writer.response("response.created", {"id": "r"})
    for event in events:
        is_end = isinstance(event, BlockFinished)
        stream += b"".join(writer.finish_block(event) if is_end else writer.delta(event))
    assert writer.items == fold_items(events, "cmp_1")
    usage = Usage(3, 2, 1)
    stream += writer.response(
        "response.completed", {"status": "completed", "usage": usage_object(usage)}
    )
    batch = ResponsesStreamDecoder(len, frame_bytes_max=1 << 16).receive_data(stream + DONE)
    assert batch.events == (*events, UsageReported(usage))
    has_call = any(kind is ToolCallDelta for kind, _ in blocks)
    assert batch.finish_reason is (FinishReason.TOOL_CALLS if has_call else FinishReason.STOP)


def test_an_unfinished_fold_shows_what_there_is() -> None:
    assert fold_items([TextDelta(0, "a", 1)], "cmp_1") == [message("a", "in_progress")]
