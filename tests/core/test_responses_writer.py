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
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.request import Dialect, ToolKind
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


def written(
    *events: Delta | Opaque | BlockFinished,
) -> tuple[ResponsesStreamWriter, list[dict[str, Any]]]:
    writer = ResponsesStreamWriter("cmp_1")
    frames: list[bytes] = []
    for event in events:
        match event:
            case BlockFinished():
                frames += writer.finish_block(event)
            case Opaque():
                frames += writer.opaque(event)
            case _:
                frames += writer.delta(event)
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
        "response.reasoning_summary_text.delta",
        "response.refusal.delta",
    ]
    thought, refusal = writer.items
    assert thought["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert thought["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert thought["encrypted_content"] == "seal"
    assert refusal["content"] == [{"type": "refusal", "refusal": "no"}]
    assert refusal["status"] == "incomplete"
    assert {"type": "response.refusal.done", "refusal": "no"}.items() <= values[-3].items()
    assert fold_items(events, "cmp_1") == writer.items


def test_what_was_thought_is_told_as_a_summary_too() -> None:
    _, values = written(
        ReasoningDelta(0, "h", 1), ReasoningDelta(0, "m", 1), BlockFinished(0, True)
    )
    assert [value["type"].removeprefix("response.") for value in values] == [
        "output_item.added",
        "content_part.added",
        "reasoning_summary_part.added",
        "reasoning_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    place = {"item_id": "rs_1_0", "output_index": 0, "summary_index": 0}
    part = {"type": "summary_text", "text": "hm"}
    assert values[10] == {"type": "response.reasoning_summary_part.done", **place, "part": part}


def test_a_sealed_thought_without_text_has_no_parts() -> None:
    writer, values = written(ReasoningDelta(0, "", 0), BlockFinished(0, True, "seal"))
    assert [value["type"] for value in values] == [
        "response.output_item.added",
        "response.output_item.done",
    ]
    (item,) = writer.items
    assert (item["summary"], item["content"], item["encrypted_content"]) == ([], [], "seal")


def test_calls_of_other_kinds() -> None:
    calls = (
        (ToolKind.CUSTOM, "c", "n", "a patch"),
        (ToolKind.FUNCTION, "g", "n", "{}"),
        (ToolKind.TOOL_SEARCH, "tool_search", None, '{"query":"x"}'),
        (ToolKind.LOCAL_SHELL, "local_shell", None, '{"command":["ls"],"timeout_ms":9}'),
        (ToolKind.LOCAL_SHELL, "local_shell", None, '{"command":"ls | wc"}'),
    )
    events: list[Any] = []
    for number, (kind, name, namespace, arguments) in enumerate(calls):
        events += [
            ToolCallStarted(number, f"k{number}", name, 1, kind, namespace),
            ToolCallDelta(number, arguments, 1),
            BlockFinished(number, True),
        ]
    writer, values = written(*events)
    assert [item.get("type") for item in writer.items] == [
        "custom_tool_call",
        "function_call",
        "tool_search_call",
        "local_shell_call",
        "local_shell_call",
    ]
    custom, function, search, shell, line = writer.items
    assert (custom["input"], custom["namespace"], custom["id"]) == ("a patch", "n", "ctc_1_0")
    assert (function["arguments"], function["namespace"]) == ("{}", "n")
    assert (search["arguments"], search["execution"]) == ({"query": "x"}, "client")
    action = {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": 9}
    assert shell["action"] == action
    assert line["action"]["command"] == ["bash", "-lc", "ls | wc"]
    told = [value for value in values if "custom_tool_call_input" in value["type"]]
    place = {"item_id": "ctc_1_0", "output_index": 0}
    assert told == [
        {"type": "response.custom_tool_call_input.delta", **place, "delta": "a patch"},
        {"type": "response.custom_tool_call_input.done", **place, "input": "a patch"},
    ]
    assert fold_items(events, "cmp_1") == writer.items


def test_a_call_with_an_object_that_was_cut_says_so() -> None:
    writer, _ = written(
        ToolCallStarted(0, "k", "local_shell", 1, ToolKind.LOCAL_SHELL),
        ToolCallDelta(0, '{"comm', 1),
        BlockFinished(0, False),
    )
    (item,) = writer.items
    assert item["status"] == "incomplete"
    assert item["action"] == {"type": "exec", "command": [], "env": {}}


def opaque(block: int, **payload: Any) -> Opaque:
    return Opaque(block, Dialect.RESPONSES, payload, 0)


def test_a_provider_s_own_item_comes_as_it_was_with_our_place_and_number() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"q": 1}}
    events = (
        TextDelta(0, "hm", 1),
        BlockFinished(0, True),
        opaque(1, type="response.output_item.added", item=item | {"status": "in_progress"}),
        opaque(1, type="response.web_search_call.searching", item_id="ws_1"),
        opaque(1, type="response.output_item.done", item=item),
        BlockFinished(1, True),
        Opaque(2, Dialect.MESSAGES, {"type": "content_block_start"}, 0),
        BlockFinished(2, True),
        TextDelta(3, "so", 1),
        BlockFinished(3, True),
    )
    writer, values = written(*events)
    own = [value for value in values if value["output_index"] == 1]
    assert own == [
        {
            "type": "response.output_item.added",
            "item": item | {"status": "in_progress"},
            "output_index": 1,
        },
        {"type": "response.web_search_call.searching", "item_id": "ws_1", "output_index": 1},
        {"type": "response.output_item.done", "item": item, "output_index": 1},
    ]
    assert [each["id"] for each in writer.items] == ["msg_1_0", "ws_1", "msg_1_3"]
    assert values[-1]["output_index"] == 2
    assert fold_items(events, "cmp_1") == writer.items


def test_a_provider_s_own_item_that_was_cut_is_ended() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "in_progress"}
    events = (opaque(0, type="response.output_item.added", item=item), BlockFinished(0, False))
    writer, values = written(*events)
    cut = item | {"status": "incomplete"}
    assert values[-1] == {"type": "response.output_item.done", "output_index": 0, "item": cut}
    assert writer.items == [cut] == fold_items(events, "cmp_1")


def test_citations_stand_in_their_text() -> None:
    citation = {"type": "url_citation", "url": "https://x", "title": "X"}
    events = (
        TextDelta(0, "so", 1),
        opaque(
            0,
            type="response.output_text.annotation.added",
            item_id="msg_theirs",
            content_index=4,
            annotation_index=0,
            annotation=citation,
        ),
        opaque(0, type="response.output_item.done", item={"type": "message", "phase": "final"}),
        BlockFinished(0, True),
    )
    writer, values = written(*events)
    assert values[3] == {
        "type": "response.output_text.annotation.added",
        **PLACE,
        "annotation_index": 0,
        "annotation": citation,
    }
    part = values[5]["part"]
    assert part["annotations"] == [citation]
    (item,) = writer.items
    assert (item["content"], item["phase"], item["id"]) == ([part], "final", "msg_1_0")
    assert fold_items(events, "cmp_1") == writer.items


def test_members_of_this_format_alone_come_back_as_they_were() -> None:
    said = message("so") | {"phase": "commentary", "created_by": None}
    call = {
        "id": "fc_1_1",
        "type": "function_call",
        "status": "completed",
        "call_id": "k",
        "name": "f",
        "arguments": "{}",
        "caller": {"type": "direct"},
    }
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    upstream = ResponsesStreamWriter("cmp_1")
    stream = upstream.response("response.created", {"id": "r"})
    for index, item in enumerate((said, call, search)):
        for kind, status in (("added", "in_progress"), ("done", "completed")):
            value = {"output_index": index, "item": item | {"status": status}}
            data = json.dumps({"type": f"response.output_item.{kind}", **value})
            stream += f"data: {data}\n\n".encode()
    stream += upstream.response("response.completed", {"status": "completed"})
    batch = ResponsesStreamDecoder(len, frame_bytes_max=1 << 16).receive_data(stream)
    assert batch.failure is None
    events = [event for event in batch.events if not isinstance(event, UsageReported)]
    writer, values = written(*events)  # type: ignore[arg-type]
    assert writer.items == [message("so") | {"phase": "commentary"}, call, search]
    done = [v["item"] for v in values if v["type"] == "response.output_item.done"]
    assert done == writer.items == fold_items(events, "cmp_1")


def test_an_event_that_no_line_can_carry_is_left_out() -> None:
    _, values = written(opaque(0, type="x\ndata: {}", item_id="y"), opaque(0, kind="z"))
    assert values == []


def test_a_keep_alive_repeats_the_last_number() -> None:
    writer = ResponsesStreamWriter("cmp_1")
    assert b'"sequence_number":0}' in writer.keep_alive()
    writer.response("response.created", {})
    writer.response("response.in_progress", {})
    value = value_of(writer.keep_alive())
    assert value == {"type": "keepalive", "sequence_number": 1}
    assert value_of(writer.response("response.completed", {}))["sequence_number"] == 2


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
