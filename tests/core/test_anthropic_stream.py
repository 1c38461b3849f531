"""The decoder gives the same events however the bytes were cut, and fails instead of raising."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors import FailureCode
from actors.core.events import (
    BlockFinished,
    FinishReason,
    Opaque,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.request import Dialect
from actors.core.upstream import UpstreamBatch
from actors.core.wire.anthropic import MessagesStreamDecoder, redacted_signature
from tests.core import wires
from tests.core.wires import BOUND, done

new_decoder = partial(MessagesStreamDecoder, len, frame_bytes_max=BOUND)
read = partial(wires.read, MessagesStreamDecoder)
read_every_way = partial(wires.read_every_way, MessagesStreamDecoder)


def frame(kind: str, **members: Any) -> bytes:
    value = {"type": kind} | members
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode()


def start(**usage: Any) -> bytes:
    message = {"id": "msg_1", "type": "message", "content": [], "stop_reason": None}
    return frame("message_start", message=message | ({"usage": usage} if usage else {}))


def opened(index: int, **block: Any) -> bytes:
    return frame("content_block_start", index=index, content_block=block)


def delta(index: int, kind: str, **members: Any) -> bytes:
    return frame("content_block_delta", index=index, delta={"type": kind} | members)


def text(content: str, index: int = 0) -> bytes:
    return delta(index, "text_delta", text=content)


def arguments(piece: str, index: int = 0) -> bytes:
    return delta(index, "input_json_delta", partial_json=piece)


def stopped(index: int = 0) -> bytes:
    return frame("content_block_stop", index=index)


def ended(reason: Any, sequence: Any = None, **usage: Any) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": sequence}
    return frame("message_delta", delta=delta, **({"usage": usage} if usage else {}))


def call(index: int = 0, **members: Any) -> bytes:
    return opened(index, type="tool_use", **({"id": "c", "name": "f", "input": {}} | members))


STOP = frame("message_stop")
PING = frame("ping")
TEXT = opened(0, type="text", text="")
THINKING = opened(0, type="thinking", thinking="", signature="")
END = ended("end_turn") + STOP


HELLO = (TextDelta(0, "Hel", 3), TextDelta(0, "lo", 2), BlockFinished(0, True))
A = (TextDelta(0, "a", 1), BlockFinished(0, True))

CASES: dict[str, tuple[bytes, UpstreamBatch]] = {
    "text": (
        start(input_tokens=9, output_tokens=1)
        + TEXT
        + PING
        + text("Hel")
        + text("lo")
        + stopped()
        + ended("end_turn", output_tokens=15)
        + STOP,
        done(UsageReported(Usage(9)), *HELLO, UsageReported(Usage(9, 15))),
    ),
    "nothing but text": (start() + TEXT + text("a") + stopped() + END, done(*A)),
    "text in the start": (opened(0, type="text", text="a") + stopped() + END, done(*A)),
    "no block start": (text("a") + END, done(*A)),
    "no block stop": (TEXT + text("a") + END, done(*A)),
    "no message_stop": (TEXT + text("a") + ended("end_turn"), done(*A)),
    "[DONE] for message_stop": (
        TEXT + text("a") + ended("end_turn") + b"data: [DONE]\n\n",
        done(*A),
    ),
    "cut inside message_stop": (TEXT + text("a") + ended("end_turn") + STOP[:-9], done(*A)),
    "a line end more": (TEXT + text("a") + stopped() + END + b"\n", done(*A)),
    "no event lines": (
        b"".join(
            part.split(b"\n", 1)[1]
            for part in (start(input_tokens=3), TEXT, text("a"), stopped(), ended("end_turn"), STOP)
        ),
        done(UsageReported(Usage(3)), *A, UsageReported(Usage(3))),
    ),
    "an empty answer": (
        start(input_tokens=3) + ended("end_turn", output_tokens=0) + STOP,
        done(UsageReported(Usage(3)), UsageReported(Usage(3))),
    ),
    "unknown events and blocks": (
        frame("mcp_tokens_refreshed")
        + opened(0, type="server_tool_use", id="s", name="web_search", input={})
        + arguments('{"q":1}')
        + stopped()
        + opened(1, type="text", text="")
        + text("a", 1)
        + delta(1, "citations_delta", citation={})
        + stopped(1)
        + END,
        done(
            Opaque(
                0,
                Dialect.MESSAGES,
                {
                    "type": "content_block_start",
                    "content_block": {
                        "type": "server_tool_use",
                        "id": "s",
                        "name": "web_search",
                        "input": {},
                    },
                },
                0,
            ),
            Opaque(
                0,
                Dialect.MESSAGES,
                {
                    "type": "content_block_delta",
                    "delta": {"type": "input_json_delta", "partial_json": '{"q":1}'},
                },
                7,
            ),
            BlockFinished(0, True),
            TextDelta(1, "a", 1),
            Opaque(
                1,
                Dialect.MESSAGES,
                {
                    "type": "content_block_delta",
                    "delta": {"type": "citations_delta", "citation": {}},
                },
                0,
            ),
            BlockFinished(1, True),
        ),
    ),
    "pieces of blocks that are not the latest": (
        text("on", 0)
        + call(1)
        + arguments('{"a"', 1)
        + call(2, id="d", name="g")
        + arguments('{"b"', 2)
        + text("e", 0)
        + arguments(":1}", 1)
        + arguments(":2}", 2)
        + stopped(2)
        + stopped(1)
        + ended("tool_use")
        + STOP,
        done(
            TextDelta(0, "on", 2),
            BlockFinished(0, True),
            ToolCallStarted(1, "c", "f", 1),
            ToolCallDelta(1, '{"a"', 4),
            ToolCallStarted(2, "d", "g", 1),
            ToolCallDelta(2, '{"b"', 4),
            TextDelta(3, "e", 1),
            ToolCallDelta(1, ":1}", 3),
            ToolCallDelta(2, ":2}", 3),
            BlockFinished(2, True),
            BlockFinished(1, True),
            BlockFinished(3, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "a call that the limit cut after its provider had closed it": (
        call(0) + arguments('{"a"', 0) + stopped(0) + ended("max_tokens") + STOP,
        done(
            ToolCallStarted(0, "c", "f", 1),
            ToolCallDelta(0, '{"a"', 4),
            BlockFinished(0, False),
            reason=FinishReason.LENGTH,
        ),
    ),
    "a whole message as the body": (
        json.dumps(
            {
                "type": "message",
                "content": [{"type": "text", "text": "a"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 3, "output_tokens": 1},
            },
            indent=1,
        ).encode(),
        done(*A, UsageReported(Usage(3, 1))),
    ),
    "a tool call": (
        TEXT
        + text("Hm.")
        + stopped()
        + call(1)
        + arguments("", 1)
        + arguments('{"a"', 1)
        + arguments(": 1}", 1)
        + stopped(1)
        + ended("tool_use")
        + STOP,
        done(
            TextDelta(0, "Hm.", 3),
            BlockFinished(0, True),
            ToolCallStarted(1, "c", "f", 1),
            ToolCallDelta(1, '{"a"', 4),
            ToolCallDelta(1, ": 1}", 4),
            BlockFinished(1, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "a call without arguments": (
        call() + arguments("") + stopped() + ended("tool_use") + STOP,
        done(
            ToolCallStarted(0, "c", "f", 1),
            ToolCallDelta(0, "{}", 2),
            BlockFinished(0, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "a whole call in its start": (
        call(input={"é": 1}) + stopped() + ended("tool_use") + STOP,
        done(
            ToolCallStarted(0, "c", "f", 1),
            ToolCallDelta(0, '{"é": 1}', 8),
            BlockFinished(0, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "a call without an id": (
        call(id=None) + arguments("{}") + stopped() + ended("tool_use") + STOP,
        done(
            ToolCallStarted(0, "call_0", "f", 1),
            ToolCallDelta(0, "{}", 2),
            BlockFinished(0, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "two calls that stop at the end": (
        call(0)
        + arguments("{}", 0)
        + call(1, id="d")
        + arguments("{}", 1)
        + stopped(0)
        + stopped(1)
        + ended("tool_use")
        + STOP,
        done(
            ToolCallStarted(0, "c", "f", 1),
            ToolCallDelta(0, "{}", 2),
            BlockFinished(0, True),
            ToolCallStarted(1, "d", "f", 1),
            ToolCallDelta(1, "{}", 2),
            BlockFinished(1, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "blocks that start again with their last piece": (
        TEXT
        + text("a")
        + TEXT
        + text("b")
        + call(1)
        + arguments('{"x"', 1)
        + call(1)
        + arguments(":1}", 1)
        + stopped(0)
        + stopped(1)
        + ended("tool_use")
        + STOP,
        done(
            TextDelta(0, "a", 1),
            TextDelta(0, "b", 1),
            BlockFinished(0, True),
            ToolCallStarted(1, "c", "f", 1),
            ToolCallDelta(1, '{"x"', 4),
            ToolCallDelta(1, ":1}", 3),
            BlockFinished(1, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "calls that all have one index": (
        call(0) + arguments("{}") + call(0, id="d") + arguments("{}") + ended("tool_use") + STOP,
        done(
            ToolCallStarted(0, "c", "f", 1),
            ToolCallDelta(0, "{}", 2),
            BlockFinished(0, True),
            ToolCallStarted(1, "d", "f", 1),
            ToolCallDelta(1, "{}", 2),
            BlockFinished(1, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "thinking and its signature": (
        THINKING
        + delta(0, "thinking_delta", thinking="Hm")
        + delta(0, "signature_delta", signature="se")
        + delta(0, "signature_delta", signature="al")
        + stopped()
        + opened(1, type="text", text="")
        + text("a", 1)
        + stopped(1)
        + ended("end_turn", output_tokens=7, output_tokens_details={"thinking_tokens": 5})
        + STOP,
        done(
            ReasoningDelta(0, "Hm", 2),
            BlockFinished(0, True, "seal"),
            TextDelta(1, "a", 1),
            BlockFinished(1, True),
            UsageReported(Usage(0, 2, 5)),
        ),
    ),
    "thinking that is not shown": (
        THINKING + delta(0, "signature_delta", signature="seal") + stopped() + END,
        done(ReasoningDelta(0, "", 0), BlockFinished(0, True, "seal")),
    ),
    "redacted thinking": (
        opened(0, type="redacted_thinking", data="x==") + stopped() + END,
        done(ReasoningDelta(0, "", 0), BlockFinished(0, True, redacted_signature("x=="))),
    ),
    "text and thinking under one index": (
        delta(0, "thinking_delta", thinking="Hm") + text("a", 0) + END,
        done(
            ReasoningDelta(0, "Hm", 2),
            BlockFinished(0, True),
            TextDelta(1, "a", 1),
            BlockFinished(1, True),
        ),
    ),
    "text again under its index": (
        TEXT + text("a") + opened(1, type="text", text="") + text("b", 1) + text("c", 0) + END,
        done(
            *A,
            TextDelta(1, "b", 1),
            BlockFinished(1, True),
            TextDelta(2, "c", 1),
            BlockFinished(2, True),
        ),
    ),
    "the cache is part of the prompt": (
        start(input_tokens=3, cache_read_input_tokens=20, cache_creation_input_tokens=10)
        + TEXT
        + text("a")
        + ended("end_turn", output_tokens=1, server_tool_use={"web_search_requests": 2})
        + STOP,
        done(
            UsageReported(Usage(33, 0, 0, 20, 10)),
            *A,
            UsageReported(Usage(33, 1, 0, 20, 10, (("server_tool_use.web_search_requests", 2),))),
        ),
    ),
    "usage of the output is never sent": (
        start(input_tokens=3) + delta(0, "thinking_delta", thinking="Hm") + text("abc", 1) + END,
        done(
            UsageReported(Usage(3)),
            ReasoningDelta(0, "Hm", 2),
            BlockFinished(0, True),
            TextDelta(1, "abc", 3),
            BlockFinished(1, True),
            UsageReported(Usage(3)),
        ),
    ),
    "running usage": (
        TEXT + text("a") + ended(None, input_tokens=4, output_tokens=1) + END,
        done(
            TextDelta(0, "a", 1),
            UsageReported(Usage(4, 1)),
            BlockFinished(0, True),
            UsageReported(Usage(4, 1)),
        ),
    ),
    "a stop sequence": (
        TEXT + text("a") + stopped() + ended("stop_sequence", "\n\nHuman") + STOP,
        done(*A, sequence="\n\nHuman"),
    ),
    "half a surrogate pair": (
        TEXT + text("\ud83d") + stopped() + END,
        done(TextDelta(0, "\ufffd", 1), BlockFinished(0, True)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_answers(name: str) -> None:
    stream, expected = CASES[name]
    assert read_every_way(stream) == expected


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("pause_turn", FinishReason.STOP),
        ("something_new", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.STOP),  # There is no call to make.
        ("refusal", FinishReason.CONTENT_FILTER),
    ],
)
def test_stop_reasons(word: str, reason: FinishReason) -> None:
    assert read([text("a") + ended(word) + STOP]) == done(*A, reason=reason)


BROKEN = (FailureCode.UPSTREAM_UNAVAILABLE, None)
BROKEN_STREAMS: dict[str, tuple[bytes, tuple[FailureCode, int | None]]] = {
    "nothing": (b"", BROKEN),
    "cut before the stop reason": (start() + TEXT + text("a") + stopped(), BROKEN),
    "cut in the stop reason": (start() + TEXT + text("a") + ended("end_turn")[:-5], BROKEN),
    "an end without a stop reason": (start() + TEXT + text("a") + STOP, BROKEN),
    "broken off by its server": (TEXT + text("a") + ended("cancelled") + STOP, BROKEN),
    "a stop reason that is no word": (TEXT + ended(7) + STOP, BROKEN),
    "no JSON": (b"event: message_start\ndata: {oops\n\n", BROKEN),
    "NaN": (b'event: ping\ndata: {"type":"ping","x":NaN}\n\n', BROKEN),
    "no object": (b"data: [1]\n\n", BROKEN),
    "a delta of nothing": (frame("content_block_delta", index=0), BROKEN),
    "a text that is none": (delta(0, "text_delta", text=7), BROKEN),
    "a piece of a call that is closed": (
        call(0) + arguments("{}", 0) + call(1, id="d") + arguments("}", 0) + END,
        BROKEN,
    ),
    "overloaded": (
        start() + frame("error", error={"type": "overloaded_error", "message": "Overloaded"}),
        (FailureCode.UPSTREAM_UNAVAILABLE, 529),
    ),
    "rate limited": (
        frame("error", error={"type": "rate_limit_error"}),
        (FailureCode.UPSTREAM_RATE_LIMITED, 429),
    ),
    "refused": (
        frame("error", error={"type": "invalid_request_error"}),
        (FailureCode.UPSTREAM_REJECTED, 400),
    ),
    "our key refused": (
        frame("error", error={"type": "authentication_error"}),
        (FailureCode.UPSTREAM_UNAUTHORIZED, 401),
    ),
    "a figure for a code": (
        b'data: {"error":{"code":503,"message":"Loading model"}}\n\n',
        (FailureCode.UPSTREAM_UNAVAILABLE, 503),
    ),
    "an error of an unknown kind": (frame("error", error={"type": "tired_error"}), BROKEN),
    "an error in prose": (b"event: error\ndata: out of memory\n\n", BROKEN),
    "an error after the stop reason": (
        TEXT + text("a") + ended("end_turn") + frame("error", error={"type": "api_error"}),
        (FailureCode.UPSTREAM_UNAVAILABLE, 500),
    ),
    "a frame past the bound": (TEXT + text("a" * 500) + END, BROKEN),
}


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_what_is_no_answer_is_a_failure(name: str) -> None:
    stream, expected = BROKEN_STREAMS[name]
    result = read_every_way(stream, bound=400)
    assert result.failure is not None and not result.is_end
    assert (result.failure.code, result.failure.upstream_status) == expected


def test_nothing_is_said_after_the_end_or_a_failure() -> None:
    for stream in (text("a") + END, frame("error", error={})):
        decoder = new_decoder()
        decoder.receive_data(stream)
        assert decoder.receive_data(text("b")) == UpstreamBatch()
        assert decoder.receive_eof() == UpstreamBatch()


def test_events_go_out_with_the_bytes_that_brought_them() -> None:
    decoder = new_decoder()
    assert decoder.receive_data(start(input_tokens=3)).events == (UsageReported(Usage(3)),)
    assert decoder.receive_data(TEXT + text("a")).events == (TextDelta(0, "a", 1),)
    assert decoder.receive_data(text("b")[:-1]).events == ()
    assert decoder.receive_data(b"\n").events == (TextDelta(0, "b", 1),)


@pytest.mark.parametrize("figure", [-1, True, 1.5, "7", None, [], {}])
def test_figures_that_are_none_count_as_0(figure: Any) -> None:
    stream = start(input_tokens=figure) + text("a") + ended("end_turn", output_tokens=figure) + STOP
    assert read([stream]) == done(*A)


@given(st.lists(st.binary(max_size=40)))
def test_bytes_never_raise(pieces: list[bytes]) -> None:
    assert read(pieces).failure is not None


@given(
    st.lists(
        st.sampled_from(
            [
                start(input_tokens=1),
                TEXT,
                THINKING,
                call(),
                text("a"),
                arguments("{}"),
                stopped(),
                delta(0, "signature_delta", signature="s"),
                PING,
                ended("end_turn"),
                STOP,
            ]
        )
    )
)
def test_frames_in_any_order_never_raise_and_blocks_stay_whole(frames: list[bytes]) -> None:
    opened: set[int] = set()
    last = -1
    for event in read(frames).events:
        if isinstance(event, UsageReported):
            continue
        if isinstance(event, BlockFinished):
            opened.remove(event.block)
        elif event.block not in opened:
            last += 1
            assert event.block == last, "in the order in which they open, and never again"
            opened.add(event.block)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
MEMBERS = st.sampled_from(
    [
        "type",
        "index",
        "delta",
        "content_block",
        "usage",
        "message",
        "error",
        "stop_reason",
        "text",
        "id",
        "name",
        "input",
        "signature",
        "partial_json",
        "input_tokens",
        "output_tokens_details",
    ]
)


@given(
    st.sampled_from(
        ["message_start", "content_block_start", "content_block_delta", "message_delta"]
    ),
    st.dictionaries(MEMBERS, ODD | st.dictionaries(MEMBERS, ODD), max_size=6),
)
def test_members_of_any_type_never_raise(kind: str, members: dict[str, Any]) -> None:
    read([call(0), frame(kind, **{"index": 0} | members), END])
    read([frame(kind, **{name: value for name, value in members.items() if name != "type"})])
