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
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.request import ToolKind
from actors.core.upstream import UpstreamBatch
from actors.core.wire.openai_chat import ChatStreamDecoder
from tests.core import wires
from tests.core.wires import BOUND, JSON, done, joined

DONE = b"data: [DONE]\n\n"


new_decoder = partial(ChatStreamDecoder, len, frame_bytes_max=BOUND)
read = partial(wires.read, ChatStreamDecoder)
read_every_way = partial(wires.read_every_way, ChatStreamDecoder)


def frame(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(delta: Any, finish_reason: Any = None, **members: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return frame({"id": "x", "object": "chat.completion.chunk", "choices": [choice]} | members)


def text(content: str, **members: Any) -> bytes:
    return chunk({"content": content}, **members)


def call(index: int | None = 0, **members: Any) -> bytes:
    """A piece of a tool call; `name` and `arguments` are the function's."""
    function = {key: members.pop(key) for key in ("name", "arguments") if key in members}
    piece = {"function": function} | members | ({} if index is None else {"index": index})
    return chunk({"tool_calls": [piece]})


def usage_frame(**figures: Any) -> bytes:
    return frame({"choices": [], "usage": figures})


STOP = chunk({}, "stop")
ROLE = chunk({"role": "assistant", "content": ""})


CASES: dict[str, tuple[bytes, UpstreamBatch]] = {
    "text": (
        ROLE + text("Hel") + text("lo") + STOP + DONE,
        done(TextDelta(0, "Hel", 3), TextDelta(0, "lo", 2), BlockFinished(0, True)),
    ),
    "no [DONE]": (text("a") + STOP, done(TextDelta(0, "a", 1), BlockFinished(0, True))),
    "[DONE] without an empty line": (
        text("a") + STOP + b"data: [DONE]",
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "[DONE] without a finish reason": (
        text("a") + DONE,
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "[DONE] without a finish reason in a tool call": (
        call(id="c", name="f", arguments="{}") + DONE,
        done(
            ToolCallStarted(0, "c", "f", 1),
            ToolCallDelta(0, "{}", 2),
            BlockFinished(0, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "an empty answer": (ROLE + chunk({}, "length") + DONE, done(reason=FinishReason.LENGTH)),
    "content beside the finish reason": (
        chunk({"content": "ab"}, "length") + DONE,
        done(TextDelta(0, "ab", 2), BlockFinished(0, True), reason=FinishReason.LENGTH),
    ),
    "content after the finish reason is not content": (
        text("a") + STOP + text("b") + chunk({}, "length") + DONE,
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "bytes after the end": (
        text("a") + STOP + DONE + b"data: {garbage\n\n",
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "reasoning, then text": (
        chunk({"reasoning_content": "hm"}) + chunk({"reasoning": "m"}) + text("a") + STOP + DONE,
        done(
            ReasoningDelta(0, "hm", 2),
            ReasoningDelta(0, "m", 1),
            BlockFinished(0, True),
            TextDelta(1, "a", 1),
            BlockFinished(1, True),
        ),
    ),
    "one thought under two names": (
        chunk({"reasoning": "hm", "reasoning_content": "hm", "content": "a"}) + STOP + DONE,
        done(
            ReasoningDelta(0, "hm", 2),
            BlockFinished(0, True),
            TextDelta(1, "a", 1),
            BlockFinished(1, True),
        ),
    ),
    "refusal": (
        chunk({"refusal": "no"}) + chunk({}, "content_filter") + DONE,
        done(RefusalDelta(0, "no", 2), BlockFinished(0, True), reason=FinishReason.CONTENT_FILTER),
    ),
    "text and two tool calls": (
        text("a")
        + call(0, id="c0", type="function", name="f", arguments="")
        + call(0, arguments='{"a":')
        + call(0, arguments="1}")
        + call(1, id="c1", type="function", name="gg", arguments="{}")
        + chunk({"content": ""})
        + chunk({}, "tool_calls")
        + DONE,
        done(
            TextDelta(0, "a", 1),
            BlockFinished(0, True),
            ToolCallStarted(1, "c0", "f", 1),
            ToolCallDelta(1, '{"a":', 5),
            ToolCallDelta(1, "1}", 2),
            BlockFinished(1, True),
            ToolCallStarted(2, "c1", "gg", 2),
            ToolCallDelta(2, "{}", 2),
            BlockFinished(2, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "text after a tool call, and another call": (
        call(0, id="c0", name="f")
        + text("a")
        + call(0, id="c1", name="g")
        + chunk({}, "function_call")
        + DONE,
        done(
            ToolCallStarted(0, "c0", "f", 1),
            TextDelta(1, "a", 1),
            BlockFinished(1, True),
            ToolCallStarted(2, "c1", "g", 1),
            ToolCallDelta(0, "{}", 2),
            BlockFinished(0, True),
            ToolCallDelta(2, "{}", 2),
            BlockFinished(2, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "whole calls that all have index 0": (
        call(0, id="c0", name="f", arguments="{}")
        + call(0, id="c1", name="f", arguments="{ }")
        + STOP
        + DONE,
        done(
            ToolCallStarted(0, "c0", "f", 1),
            ToolCallDelta(0, "{}", 2),
            BlockFinished(0, True),
            ToolCallStarted(1, "c1", "f", 1),
            ToolCallDelta(1, "{ }", 3),
            BlockFinished(1, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "every piece with an id of its own": (
        call(0, id="c0", name="f")
        + call(0, id="x", arguments="1")
        + call(0, id="y", arguments="2")
        + STOP
        + DONE,
        done(
            ToolCallStarted(0, "c0", "f", 1),
            ToolCallDelta(0, "1", 1),
            ToolCallDelta(0, "2", 1),
            BlockFinished(0, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "calls without an index or an id": (
        call(None, name="f", arguments="{")
        + call(None, arguments="}")
        + call(None, name="g")
        + STOP
        + DONE,
        done(
            ToolCallStarted(0, "call_0", "f", 1),
            ToolCallDelta(0, "{", 1),
            ToolCallDelta(0, "}", 1),
            BlockFinished(0, True),
            ToolCallStarted(1, "call_1", "g", 1),
            ToolCallDelta(1, "{}", 2),
            BlockFinished(1, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "an empty piece for a closed call": (
        call(0, id="c0", name="f")
        + call(1, id="c1", name="g")
        + call(0, arguments="")
        + STOP
        + DONE,
        done(
            ToolCallStarted(0, "c0", "f", 1),
            ToolCallStarted(1, "c1", "g", 1),
            ToolCallDelta(0, "{}", 2),
            BlockFinished(0, True),
            ToolCallDelta(1, "{}", 2),
            BlockFinished(1, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "half a frame after the finish reason": (
        text("a") + STOP + usage_frame(prompt_tokens=1)[:-9],
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "final usage": (
        text("a")
        + STOP
        + usage_frame(
            prompt_tokens=7,
            completion_tokens=5,
            total_tokens=12,
            completion_tokens_details={"reasoning_tokens": 3},
            prompt_tokens_details={"cached_tokens": 4},
        )
        + DONE,
        done(
            TextDelta(0, "a", 1),
            BlockFinished(0, True),
            UsageReported(Usage(7, 2, 3, 4)),
        ),
    ),
    "usage beside the finish reason": (
        text("a") + chunk({}, "stop", usage={"prompt_tokens": 7, "completion_tokens": 5}) + DONE,
        done(TextDelta(0, "a", 1), BlockFinished(0, True), UsageReported(Usage(7, 5))),
    ),
    "an empty first choice list, a null usage": (
        frame({"choices": [], "prompt_filter_results": []}) + text("a", usage=None) + STOP + DONE,
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "other choices do not count": (
        frame({"choices": [{"index": 1, "delta": {"content": "b"}}, {"delta": {"content": "a"}}]})
        + STOP
        + DONE,
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "an unknown finish reason": (
        text("a") + chunk({}, "eos") + DONE,
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "comments and vendors' events": (
        b": PROCESSING\n\n" + text("a") + b"event: ping\ndata: {}\n\n" + STOP + DONE,
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "UTF-8 and escapes": (
        'data: {"choices":[{"delta":{"content":"é🎈\\ud83c\\udf88\\ud83c"}}]}\n\n'.encode()
        + STOP
        + DONE,
        done(TextDelta(0, "é🎈🎈", 3), TextDelta(0, "\ufffd", 1), BlockFinished(0, True)),
    ),
    "CR LF": (
        (text("a") + STOP + DONE).replace(b"\n", b"\r\n"),
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
}


@pytest.mark.parametrize(("stream", "expected"), CASES.values(), ids=CASES)
def test_reads_the_same_however_cut(stream: bytes, expected: UpstreamBatch) -> None:
    assert read_every_way(stream) == expected


def test_one_segment_is_one_batch() -> None:
    decoder = new_decoder()
    batch = decoder.receive_data(ROLE + text("a") + text("b") + STOP + DONE)
    assert batch == done(TextDelta(0, "a", 1), TextDelta(0, "b", 1), BlockFinished(0, True))
    assert decoder.receive_data(text("c")) == decoder.receive_eof() == UpstreamBatch()


VLLM = (
    chunk({"role": "assistant", "content": ""}, usage={"prompt_tokens": 9, "completion_tokens": 0})
    + text("Hello", usage={"prompt_tokens": 9, "completion_tokens": 1})
    + text("", usage={"prompt_tokens": 9, "completion_tokens": 2})
    + text("!!", usage={"prompt_tokens": 9, "completion_tokens": 4})
)


def test_running_usage_gives_the_deltas_their_tokens() -> None:
    decoder = new_decoder()
    batches = [decoder.receive_data(part + b"\n\n") for part in VLLM.split(b"\n\n") if part]
    assert [batch.running for batch in batches] == [Usage(9, n) for n in (0, 1, 2, 4)]
    assert joined(batches).events == (TextDelta(0, "Hello", 1), TextDelta(0, "!!", 3))
    end = decoder.receive_data(
        chunk({}, "stop", usage={"prompt_tokens": 9, "completion_tokens": 5}) + DONE
    )
    assert end == UpstreamBatch(
        (BlockFinished(0, True), UsageReported(Usage(9, 5))), None, FinishReason.STOP, None, True
    )


def test_running_usage_in_one_batch_is_the_latest() -> None:
    assert read_every_way(VLLM + STOP + DONE).running == Usage(9, 4)


def test_the_increment_goes_to_the_first_delta_of_a_frame() -> None:
    delta = {
        "reasoning": "hm",
        "content": "a",
        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}],
    }
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 6,
        "total_tokens": 15,
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    batch = new_decoder().receive_data(chunk(delta, usage=usage))
    assert batch.running == Usage(9, 4, 2)
    assert batch.events == (
        ReasoningDelta(0, "hm", 6),
        BlockFinished(0, True),
        TextDelta(1, "a", 0),
        BlockFinished(1, True),
        ToolCallStarted(2, "c", "f", 0),
        ToolCallDelta(2, "{", 0),
    )


def test_timings_run_too_and_a_figure_that_falls_gives_nothing() -> None:
    decoder = new_decoder()
    timings = {"cache_n": 5, "prompt_n": 4, "predicted_n": 3, "predicted_ms": 12.5}
    batch = decoder.receive_data(
        text("abc", timings=timings) + text("d", timings={"predicted_n": 2})
    )
    assert batch.events == (TextDelta(0, "abc", 3), TextDelta(0, "d", 0))
    assert batch.running == Usage(0, 2)
    assert new_decoder().receive_data(text("a", timings=timings)).running == Usage(9, 3, 0, 5)


def test_a_figure_that_stays_0_beside_content_is_counted_instead() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 0}
    batch = new_decoder().receive_data(ROLE + text("abc") + text("de", usage=usage))
    assert batch.running is None
    assert batch.events == (TextDelta(0, "abc", 3), TextDelta(0, "de", 2))


def test_running_usage_that_begins_late_counts_on_from_what_was_given() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 5}
    assert new_decoder().receive_data(text("abc") + text("de", usage=usage)).events == (
        TextDelta(0, "abc", 3),
        TextDelta(0, "de", 2),
    )


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({}, None),
        ({"prompt_tokens": -1, "completion_tokens": "7", "total_tokens": None}, None),
        ({"prompt_tokens": True, "completion_tokens": 1.5}, None),
        ({"prompt_tokens": 10**30, "completion_tokens": 2}, Usage(0, 2)),
        ({"prompt_tokens": 1e300, "completion_tokens": 2.0}, Usage(0, 2)),
        ({"input_tokens": 3, "output_tokens": 2}, Usage(3, 2)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}, Usage(9, 0, 0, 4)),
        (
            {"completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 5}},
            Usage(0, 2, 5),
        ),
        # More reasoning than there is of the whole: it was left out.
        (
            {"completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 5}},
            Usage(0, 2, 5),
        ),
        ({"completion_tokens": 5, "completion_tokens_details": None}, Usage(0, 5)),
        # Providers whose completion_tokens leave reasoning out; their total tells.
        (
            {
                "prompt_tokens": 7,
                "completion_tokens": 5,
                "total_tokens": 15,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(7, 5, 3),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 5, "reasoning_tokens": 3, "total_tokens": 15},
            Usage(7, 5, 3),
        ),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(3, 0, 0, 3)),
    ],
)
def test_usage_figures(figures: dict[str, Any], expected: Usage | None) -> None:
    batch = new_decoder().receive_data(text("a") + STOP + usage_frame(**figures))
    assert batch.events[2:] == (() if expected is None else (UsageReported(expected),))


SECRET = "sk-secret of org-1"

FAILURES: dict[str, tuple[bytes, FailureCode, int | None]] = {
    "an error": (frame({"error": {"message": SECRET}}), FailureCode.UPSTREAM_UNAVAILABLE, None),
    "an error in words": (frame({"error": SECRET}), FailureCode.UPSTREAM_UNAVAILABLE, None),
    "an error with choices": (
        frame({"error": {"code": 502}, "choices": [{"delta": {"content": "b"}}]}),
        FailureCode.UPSTREAM_UNAVAILABLE,
        502,
    ),
    "an error event": (
        b'event: error\ndata: {"message": "' + SECRET.encode() + b'", "code": 400}\n\n',
        FailureCode.UPSTREAM_REJECTED,
        400,
    ),
    "a rate limit": (frame({"error": {"code": 429}}), FailureCode.UPSTREAM_RATE_LIMITED, 429),
    "a rate limit by type": (
        frame({"error": {"type": "rate_limit_error", "code": None}}),
        FailureCode.UPSTREAM_RATE_LIMITED,
        429,
    ),
    "no permission": (
        frame({"error": {"status": 403}}),
        FailureCode.UPSTREAM_UNAUTHORIZED,
        403,
    ),
}

BROKEN: dict[str, bytes] = {
    "an end before the finish reason": b"",
    "half a frame": text("b")[:-3],
    "half a frame that is whole JSON": text("b")[:-1],
    "not SSE": b"<html><body>Bad gateway</body></html>",
    "no JSON": b"data: {garbage\n\n",
    "NaN": b'data: {"choices": [], "x": NaN}\n\n',
    "Infinity": b'data: {"choices": [], "x": -Infinity}\n\n',
    "deep nesting": b"data: " + b"[" * 20_000 + b"\n\n",
    "a huge number": b'data: {"choices": [], "x": ' + b"9" * 5_000 + b"}\n\n",
    "an array": b"data: []\n\n",
    "null": b"data: null\n\n",
    "a string": b'data: "hello"\n\n',
    "an object that is no chunk": frame({"object": "list", "data": []}),
    "choices that are no list": frame({"choices": {}}),
    "a choice that is no object": frame({"choices": ["a"]}),
    "a delta that is no object": frame({"choices": [{"index": 0, "delta": "a"}]}),
    "content that is no text": chunk({"content": 5}),
    "tool calls that are no list": chunk({"tool_calls": {"index": 0}}),
    "a tool call that is no object": chunk({"tool_calls": ["f"]}),
    "a finish reason that is no text": chunk({}, ["stop"]),
    "a piece of a closed call": call(0, id="c", name="f", arguments="{}")
    + text("b")
    + call(0, arguments="{"),
    "an answer that the provider broke off": chunk({}, "abort"),
    "a JSON body": json.dumps({"object": "chat.completion", "choices": []}, indent=1).encode(),
    "an error body": json.dumps({"error": {"message": SECRET}}).encode(),
}


@pytest.mark.parametrize(("stream", "code", "status"), FAILURES.values(), ids=FAILURES)
def test_an_error_frame_is_a_failure_that_tells_nothing_of_the_provider(
    stream: bytes, code: FailureCode, status: int | None
) -> None:
    batch = read_every_way(text("a") + stream + text("b") + DONE)
    assert batch.events == (TextDelta(0, "a", 1),)
    assert batch.failure is not None and not batch.is_end
    assert (batch.failure.code, batch.failure.upstream_status) == (code, status)
    assert "secret" not in batch.failure.message


@pytest.mark.parametrize("stream", BROKEN.values(), ids=BROKEN)
def test_what_is_no_stream_is_a_failure(stream: bytes) -> None:
    reading = read if len(stream) > 4_000 else lambda pieces: read_every_way(pieces[0])
    batch = reading([text("a") + stream])
    assert batch.events[0] == TextDelta(0, "a", 1)
    assert batch.failure is not None and not batch.is_end
    assert batch.failure.code is FailureCode.UPSTREAM_UNAVAILABLE


def test_a_done_alone_is_no_answer() -> None:
    assert read_every_way(DONE).failure is not None
    assert read_every_way(ROLE + DONE).failure is not None


def test_a_frame_over_the_bound_is_a_failure_after_what_came_before_it() -> None:
    batch = read_every_way(text("a") + text("x" * 300) + text("b"), bound=256)
    assert batch.events == (TextDelta(0, "a", 1),)
    assert batch.failure is not None


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("choices", "usage", "timings", "error", "finish_reason"), JSON),
    ),
    st.dictionaries(
        st.sampled_from(["content", "refusal", "reasoning", "tool_calls", "role"]), JSON
    ),
    st.dictionaries(st.sampled_from(["index", "id", "function", "type"]), JSON),
)
def test_no_json_raises(value: Any, delta: Any, piece: Any) -> None:
    decoder = new_decoder()
    decoder.receive_data(text("a") + frame(value))
    new_decoder().receive_data(chunk(delta, **value))
    new_decoder().receive_data(chunk({"tool_calls": [piece, piece]}))
    decoder.receive_eof()


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"d", b"data: ")), max_size=6))
def test_no_bytes_raise(pieces: list[bytes]) -> None:
    batch = read(pieces)
    assert batch.failure is not None and batch.events == ()


@given(st.lists(st.sampled_from([case[0] for case in CASES.values()]), max_size=2), st.data())
def test_three_pieces_read_as_one(streams: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(streams)
    first = data.draw(st.integers(0, len(stream)))
    second = data.draw(st.integers(first, len(stream)))
    assert read([stream[:first], stream[first:second], stream[second:]]) == read([stream])


def test_a_custom_tool_is_called_with_text() -> None:
    head = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "patch", "input": ""}}
    pieces = [{"index": 0, "custom": {"input": text}} for text in ("*** Begin", ' "Patch"')]
    stream = [chunk({"tool_calls": [piece]}) for piece in (head, *pieces)]
    batch = read_every_way(b"".join([*stream, chunk({}, "tool_calls"), DONE]))
    started, *deltas, finished = batch.events
    assert isinstance(started, ToolCallStarted)
    assert (started.name, started.kind) == ("patch", ToolKind.CUSTOM)
    said = [delta.arguments for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert "".join(said) == '*** Begin "Patch"'
    assert finished == BlockFinished(0, True)
