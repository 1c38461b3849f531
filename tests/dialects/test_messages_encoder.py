"""What only this dialect's encoder does: seals, blocks that overlap, ends of each kind."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from msgspec.structs import replace

from actors.core.events import (
    BlockFinished,
    Event,
    Finished,
    FinishReason,
    Opaque,
    ReasoningDelta,
    Started,
    Status,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.request import Dialect
from actors.core.wire.anthropic import redacted_signature
from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.base import Snapshot
from serve_app.dialects.messages import MESSAGES
from tests.dialects.recordings import HEADER, RECORDINGS, completed

END = completed(FinishReason.STOP, 9, 4)


def data_of(*events: Event) -> list[dict[str, Any]]:
    encoder = MESSAGES.encoder(HEADER, request_id="req_1")
    frames = [frame for event in events for frame in encoder.encode(event)]
    return [json.loads(frame.split(b"data: ", 1)[1]) for frame in frames]


def blocks_of(*events: Event) -> list[tuple[Any, ...]]:
    """Return what the frames between the start and the end say, in short."""
    said: list[tuple[Any, ...]] = []
    for data in data_of(Started(9), *events, END)[1:-2]:
        match data:
            case {"type": "content_block_start", "index": index, "content_block": block}:
                said.append(("start", index, block["type"]))
            case {"delta": {"type": kind, **member}, "index": index}:
                said.append((kind, index, *member.values()))
            case {"type": "content_block_stop", "index": index}:
                said.append(("stop", index))
    return said


def test_a_signature_comes_before_its_block_stops() -> None:
    assert blocks_of(ReasoningDelta(0, "Hm", 1), BlockFinished(0, True, "seal")) == [
        ("start", 0, "thinking"),
        ("thinking_delta", 0, "Hm"),
        ("signature_delta", 0, "seal"),
        ("stop", 0),
    ]


def test_thinking_without_a_word() -> None:
    assert blocks_of(
        ReasoningDelta(0, "", 0),
        BlockFinished(0, True, redacted_signature("x==")),
        ReasoningDelta(1, "", 0),
        BlockFinished(1, True, "seal"),
        ReasoningDelta(2, "", 0),
        BlockFinished(2, True),
        TextDelta(3, "a", 1),
        BlockFinished(3, True),
    ) == [
        ("start", 0, "redacted_thinking"),
        ("stop", 0),
        ("start", 1, "thinking"),
        ("signature_delta", 1, "seal"),
        ("stop", 1),
        ("start", 2, "text"),
        ("text_delta", 2, "a"),
        ("stop", 2),
    ]


def test_blocks_that_overlap_are_put_one_after_another() -> None:
    assert blocks_of(
        ToolCallStarted(0, "a", "f", 1),
        ToolCallStarted(1, "b", "g", 1),
        ToolCallDelta(1, "{", 1),
        TextDelta(2, "x", 1),
        ToolCallDelta(0, "{}", 1),
        BlockFinished(2, True),
        BlockFinished(0, True),
        ToolCallDelta(1, "}", 1),
        BlockFinished(1, True),
    ) == [
        ("start", 0, "tool_use"),
        ("input_json_delta", 0, "{}"),
        ("stop", 0),
        ("start", 1, "tool_use"),
        ("input_json_delta", 1, "{"),
        ("input_json_delta", 1, "}"),
        ("stop", 1),
        ("start", 2, "text"),
        ("text_delta", 2, "x"),
        ("stop", 2),
    ]


def test_the_start_quotes_the_provider_where_it_spoke_first() -> None:
    first, *_ = data_of(Started(9), UsageReported(Usage(33, 1, 0, 20, 10)), END)
    assert first["message"]["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 0,
    }
    assert data_of(Started(9)) == []


@pytest.mark.parametrize(
    ("reason", "sequence", "word"),
    [
        (FinishReason.STOP, None, "end_turn"),
        (FinishReason.STOP, "\n\n", "stop_sequence"),
        (FinishReason.LENGTH, None, "max_tokens"),
        (FinishReason.TOOL_CALLS, None, "end_turn"),
        (FinishReason.CONTENT_FILTER, None, "refusal"),
    ],
)
def test_stop_reasons(reason: FinishReason, sequence: str | None, word: str) -> None:
    end = replace(completed(reason, 9, 4), stop_sequence=sequence)
    *_, delta, _ = data_of(end)
    assert delta["delta"] == {"stop_reason": word, "stop_sequence": sequence}


@pytest.mark.parametrize(
    ("reason", "word"), [(FinishReason.STOP, "tool_use"), (FinishReason.LENGTH, "max_tokens")]
)
def test_the_stop_reason_agrees_with_the_blocks(reason: FinishReason, word: str) -> None:
    call = (ToolCallStarted(0, "a", "f", 1), ToolCallDelta(0, "{}", 1), BlockFinished(0, True))
    *_, delta, _ = data_of(*call, completed(reason, 9, 4))
    assert delta["delta"]["stop_reason"] == word


def test_blocks_and_citations_of_this_format_go_on_as_they_came() -> None:
    """The later ones wait while a block is open; what is of another format is nobody's here."""
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    citation = {"type": "citations_delta", "citation": {"cited_text": "x"}}
    assert blocks_of(
        TextDelta(0, "a", 1),
        Opaque(1, Dialect.MESSAGES, {"content_block": search}, 0),
        Opaque(2, Dialect.RESPONSES, {"item": {}}, 0),
        BlockFinished(2, True),
        Opaque(0, Dialect.MESSAGES, {"delta": citation}, 0),
        BlockFinished(0, True),
        BlockFinished(1, True),
        Opaque(3, Dialect.MESSAGES, {"delta": citation}, 0),
        TextDelta(3, "b", 1),
        BlockFinished(3, True),
    ) == [
        ("start", 0, "text"),
        ("text_delta", 0, "a"),
        ("citations_delta", 0, {"cited_text": "x"}),
        ("stop", 0),
        ("start", 1, "server_tool_use"),
        ("stop", 1),
        ("start", 2, "text"),
        ("citations_delta", 2, {"cited_text": "x"}),
        ("text_delta", 2, "b"),
        ("stop", 2),
    ]


@pytest.mark.parametrize("name", sorted(set(RECORDINGS) - {"custom_call"}))
def test_anthropics_own_accumulator_reads_what_the_body_says(name: str) -> None:
    events = RECORDINGS[name]
    end = events[-1]
    assert isinstance(end, Finished)
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for data in data_of(*events):
        if data["type"] in ("message_stop", "error"):
            continue
        event = anthropic._models.construct_type(
            type_=anthropic.types.RawMessageStreamEvent, value=data
        )
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)  # type: ignore[arg-type]
    if end.status is not Status.COMPLETED:
        return
    body = MESSAGES.body(Snapshot(HEADER, FoldedAnswer.of(events)))
    read = snapshot.to_dict()
    for member in ("id", "model", "role", "content", "stop_reason", "usage"):
        assert read[member] == body[member], member
