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
from actors.core.upstream import UpstreamBatch
from actors.core.wire.responses import ResponsesStreamDecoder
from tests.core import wires
from tests.core.wires import BOUND, JSON, done

DONE = b"data: [DONE]\n\n"


new_decoder = partial(ResponsesStreamDecoder, len, frame_bytes_max=BOUND)
read = partial(wires.read, ResponsesStreamDecoder)
read_every_way = partial(wires.read_every_way, ResponsesStreamDecoder)


def event(kind: str, **members: Any) -> bytes:
    value = json.dumps({"type": kind} | members)
    return f"event: {kind}\ndata: {value}\n\n".encode()


def added(index: int | None = 0, **item: Any) -> bytes:
    at = {} if index is None else {"output_index": index}
    return event("response.output_item.added", item=item, **at)


def item_done(index: int | None = 0, **item: Any) -> bytes:
    at = {} if index is None else {"output_index": index}
    return event("response.output_item.done", item=item, **at)


def text(delta: Any, index: int = 0, part: int = 0) -> bytes:
    place = {"item_id": f"msg_{index}", "output_index": index, "content_index": part}
    return event("response.output_text.delta", delta=delta, **place)


def reasoning(delta: str, index: int = 0, part: int = 0) -> bytes:
    place = {"output_index": index, "content_index": part}
    return event("response.reasoning_text.delta", delta=delta, **place)


def summary(delta: str, index: int = 0, part: int = 0) -> bytes:
    place = {"output_index": index, "summary_index": part}
    return event("response.reasoning_summary_text.delta", delta=delta, **place)


def arguments(delta: str, index: int = 0) -> bytes:
    kind = "response.function_call_arguments.delta"
    return event(kind, delta=delta, output_index=index, item_id=f"fc_{index}")


def call(**members: Any) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_0", "call_id": "c", "name": "f"} | members


def end(status: str = "completed", **members: Any) -> bytes:
    response = {"id": "resp_up", "status": status, "output": []} | members
    return event(f"response.{status}", response=response)


CREATED = event("response.created", response={"id": "resp_up", "status": "in_progress"})
MESSAGE = added(0, type="message", id="msg_0", role="assistant", content=[])
END = end()


HELLO = (TextDelta(0, "Hel", 3), TextDelta(0, "lo", 2), BlockFinished(0, True))
CALL = (
    ToolCallStarted(0, "c", "f", 1),
    ToolCallDelta(0, '{"a"', 4),
    ToolCallDelta(0, ":1}", 3),
    BlockFinished(0, True),
)

CASES: dict[str, tuple[bytes, UpstreamBatch]] = {
    "text, as OpenAI sends it": (
        CREATED
        + event("response.in_progress", response={"id": "resp_up"}, sequence_number=1)
        + MESSAGE
        + event("response.content_part.added", output_index=0, part={"type": "output_text"})
        + text("Hel")
        + text("lo")
        + event("response.output_text.done", output_index=0, content_index=0, text="Hello")
        + event("response.content_part.done", output_index=0, part={"text": "Hello"})
        + item_done(0, type="message", content=[{"type": "output_text", "text": "Hello"}])
        + end(output=[{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}]),
        done(*HELLO),
    ),
    "without the ends of its parts": (MESSAGE + text("Hel") + text("lo") + END, done(*HELLO)),
    "as a gateway sends it, without places": (
        event("response.created", response={"id": "resp_up"})
        + event("response.output_item.added", item={"type": "message"})
        + event("response.output_text.delta", delta="Hel")
        + event("response.output_text.delta", delta="lo")
        + event("response.output_item.done", item={"type": "message"})
        + event("response.done", response={"id": "resp_up"})
        + DONE,
        done(*HELLO),
    ),
    "as llama.cpp sends it, by item ids alone": (
        CREATED
        + added(None, type="reasoning", id="rs_1", summary=[], content=[])
        + event("response.reasoning_text.delta", delta="hm", item_id="rs_1")
        + added(None, type="message", id="msg_1", content=[])
        + event("response.output_text.delta", delta="a", item_id="msg_1")
        + added(None, type="function_call", call_id="fc_x", name="f", arguments="")
        + event("response.function_call_arguments.delta", delta="{}", item_id="fc_x")
        + item_done(None, type="reasoning", id="rs_1", encrypted_content="")
        + item_done(None, type="message", id="msg_1", content=[{"type": "output_text"}])
        + item_done(None, type="function_call", call_id="fc_x", name="f", arguments="{}")
        + END,
        done(
            ReasoningDelta(0, "hm", 2),
            BlockFinished(0, True),
            TextDelta(1, "a", 1),
            BlockFinished(1, True),
            ToolCallStarted(2, "fc_x", "f", 1),
            ToolCallDelta(2, "{}", 2),
            BlockFinished(2, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "nameless items that follow each other": (
        event("response.output_item.added", item={"type": "message"})
        + event("response.output_text.delta", delta="a")
        + event("response.output_item.added", item=call(id=None, call_id=None, name="g"))
        + event("response.function_call_arguments.delta", delta="{}")
        + END,
        done(
            TextDelta(0, "a", 1),
            BlockFinished(0, True),
            ToolCallStarted(1, "call_1", "g", 1),
            ToolCallDelta(1, "{}", 2),
            BlockFinished(1, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "types in the event line alone": (
        b'event: response.output_text.delta\ndata: {"delta": "a"}\n\n'
        b'event: response.completed\ndata: {"response": {}}\n\n',
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "an answer in the last event alone": (
        end(
            output=[
                {"type": "reasoning", "summary": [{"text": "hm"}]},
                {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
                {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
                call(arguments="{}"),
            ]
        ),
        done(
            ReasoningDelta(0, "hm", 2),
            BlockFinished(0, True),
            TextDelta(1, "a", 1),
            BlockFinished(1, True),
            RefusalDelta(2, "no", 2),
            BlockFinished(2, True),
            ToolCallStarted(3, "c", "f", 1),
            ToolCallDelta(3, "{}", 2),
            BlockFinished(3, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "a last event without the empty line after it": (
        text("Hel") + text("lo") + END[:-2],
        done(*HELLO),
    ),
    "bytes after the end": (text("Hel") + text("lo") + END + text("x") + b"x\n\n", done(*HELLO)),
    "an empty answer": (
        CREATED + end("incomplete", incomplete_details={"reason": "max_output_tokens"}),
        done(reason=FinishReason.LENGTH),
    ),
    "a filter": (
        text("a") + end("incomplete", incomplete_details={"reason": "content_filter"}),
        done(TextDelta(0, "a", 1), BlockFinished(0, True), reason=FinishReason.CONTENT_FILTER),
    ),
    "incomplete for no reason": (
        text("a") + end("incomplete", incomplete_details=None),
        done(TextDelta(0, "a", 1), BlockFinished(0, True), reason=FinishReason.LENGTH),
    ),
    "two parts are two blocks": (
        text("a") + text("b", part=1) + text("c", index=1) + END,
        done(
            TextDelta(0, "a", 1),
            BlockFinished(0, True),
            TextDelta(1, "b", 1),
            BlockFinished(1, True),
            TextDelta(2, "c", 1),
            BlockFinished(2, True),
        ),
    ),
    "a refusal": (
        MESSAGE + event("response.refusal.delta", delta="no", output_index=0) + END,
        done(RefusalDelta(0, "no", 2), BlockFinished(0, True)),
    ),
    "reasoning with a seal": (
        added(0, type="reasoning", id="rs_0")
        + reasoning("hm")
        + item_done(0, type="reasoning", content=[{"text": "hm"}], encrypted_content="seal")
        + END,
        done(ReasoningDelta(0, "hm", 2), BlockFinished(0, True, "seal")),
    ),
    "reasoning that is sealed and not shown": (
        added(0, type="reasoning") + item_done(0, type="reasoning", encrypted_content="s") + END,
        done(ReasoningDelta(0, "", 0), BlockFinished(0, True, "s")),
    ),
    "a summary of two parts is one block": (
        summary("a") + summary("b") + summary("c", part=1) + summary("d", part=1) + END,
        done(
            ReasoningDelta(0, "a", 1),
            ReasoningDelta(0, "b", 1),
            ReasoningDelta(0, "\n\nc", 3),
            ReasoningDelta(0, "d", 1),
            BlockFinished(0, True),
        ),
    ),
    "of reasoning and its summary the first counts": (
        reasoning("a")
        + summary("b")
        + item_done(0, type="reasoning", summary=[{"text": "b"}])
        + END,
        done(ReasoningDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "a tool call": (
        added(0, **call(arguments=""))
        + arguments('{"a"')
        + arguments(":1}")
        + event("response.function_call_arguments.done", arguments='{"a":1}', output_index=0)
        + item_done(0, **call(arguments='{"a":1}', status="completed"))
        + END,
        done(*CALL, reason=FinishReason.TOOL_CALLS),
    ),
    "a tool call whose item never ends": (
        added(0, **call(arguments="")) + arguments('{"a"') + arguments(":1}") + END,
        done(*CALL, reason=FinishReason.TOOL_CALLS),
    ),
    "a tool call that comes whole": (
        arguments("{") + item_done(0, **call(arguments="{}")) + END,
        done(
            ToolCallStarted(0, "c", "f", 1),
            ToolCallDelta(0, "{}", 2),
            BlockFinished(0, True),
            reason=FinishReason.TOOL_CALLS,
        ),
    ),
    "a tool call that the limit cut": (
        added(0, **call())
        + arguments("{")
        + item_done(0, **call(arguments="{", status="incomplete"))
        + end("incomplete"),
        done(
            ToolCallStarted(0, "c", "f", 1),
            ToolCallDelta(0, "{", 1),
            BlockFinished(0, False),
            reason=FinishReason.LENGTH,
        ),
    ),
    "a tool call that the limit cut without a word": (
        added(0, **call()) + arguments("{") + end("incomplete"),
        done(
            ToolCallStarted(0, "c", "f", 1),
            ToolCallDelta(0, "{", 1),
            BlockFinished(0, False),
            reason=FinishReason.LENGTH,
        ),
    ),
    "events of unknown kinds": (
        event("keepalive", sequence_number=3)
        + event("response.web_search_call.searching", output_index=0)
        + event("response.output_text.annotation.added", annotation={})
        + b": comment\n\n"
        + text("a")
        + END,
        done(TextDelta(0, "a", 1), BlockFinished(0, True)),
    ),
    "usage": (
        text("a")
        + end(
            usage={
                "input_tokens": 9,
                "output_tokens": 5,
                "total_tokens": 14,
                "output_tokens_details": {"reasoning_tokens": 2},
            }
        ),
        done(TextDelta(0, "a", 1), BlockFinished(0, True), UsageReported(Usage(9, 3, 2))),
    ),
    "half a pair": (
        event("response.output_text.delta", delta="a\ud83c") + END,
        done(TextDelta(0, "a", 1), TextDelta(0, "\ufffd", 1), BlockFinished(0, True)),
    ),
}


@pytest.mark.parametrize(("stream", "expected"), CASES.values(), ids=CASES)
def test_streams(stream: bytes, expected: UpstreamBatch) -> None:
    assert read_every_way(stream) == expected


def test_the_response_s_id_is_known_from_its_first_event() -> None:
    decoder = new_decoder()
    assert decoder.response_id is None
    decoder.receive_data(CREATED)
    assert decoder.response_id == "resp_up"
    decoder.receive_data(event("response.in_progress", response={"id": "other"}))
    assert decoder.response_id == "resp_up"
    for nonsense in (None, 7, "", "x" * 257):
        decoder = new_decoder()
        decoder.receive_data(event("response.created", response={"id": nonsense}))
        assert decoder.response_id is None


SECRET = "sk-secret of org-1"


def failed(**error: Any) -> bytes:
    return end("failed", error={"message": SECRET} | error)


FAILURES: dict[str, tuple[bytes, FailureCode, int | None]] = {
    "a failed response": (failed(code="server_error"), FailureCode.UPSTREAM_UNAVAILABLE, None),
    "a rate limit": (failed(code="rate_limit_exceeded"), FailureCode.UPSTREAM_RATE_LIMITED, 429),
    "a prompt": (failed(code="invalid_prompt"), FailureCode.UPSTREAM_REJECTED, 400),
    "an image": (failed(code="image_too_large"), FailureCode.UPSTREAM_REJECTED, 400),
    "an error event": (
        event("error", code="server_error", message=SECRET, param=None),
        FailureCode.UPSTREAM_UNAVAILABLE,
        None,
    ),
    "an error event with a status": (
        event("error", code=401, message=SECRET),
        FailureCode.UPSTREAM_UNAUTHORIZED,
        401,
    ),
    "an error event that is not flat": (
        event("error", error={"type": "invalid_request_error", "message": SECRET}),
        FailureCode.UPSTREAM_REJECTED,
        400,
    ),
    "an error alone": (
        b'data: {"error": {"code": "rate_limit_error"}}\n\n',
        FailureCode.UPSTREAM_RATE_LIMITED,
        429,
    ),
    "a response that somebody cancelled": (
        end("cancelled"),
        FailureCode.UPSTREAM_UNAVAILABLE,
        None,
    ),
    "an incomplete response that somebody cancelled": (
        event("response.incomplete", response={"status": "cancelled"}),
        FailureCode.UPSTREAM_UNAVAILABLE,
        None,
    ),
}

BROKEN: dict[str, bytes] = {
    "an end before the last event": b"",
    "[DONE] before the last event": DONE,
    "half a frame": text("b")[:-9],
    "not SSE": b"<html><body>Bad gateway</body></html>",
    "no JSON": b"data: {garbage\n\n",
    "NaN": b'data: {"type": "x", "x": NaN}\n\n',
    "deep nesting": b"data: " + b"[" * 20_000 + b"\n\n",
    "an array": b"data: []\n\n",
    "a delta that is no text": text(["a"]),
    "a status that is no text": event("response.completed", response={"status": ["completed"]}),
    "a piece of a closed call": added(1, **call()) + text("b", 2) + arguments("{", 1),
    "a JSON body": json.dumps({"object": "response", "status": "completed"}, indent=1).encode(),
    "an error body": json.dumps({"error": {"message": SECRET}}).encode(),
    "items without an end": b"".join(added(n, type="message", id=f"m{n}") for n in range(1, 4200)),
}


@pytest.mark.parametrize(("stream", "code", "status"), FAILURES.values(), ids=FAILURES)
def test_an_error_is_a_failure_that_tells_nothing_of_the_provider(
    stream: bytes, code: FailureCode, status: int | None
) -> None:
    batch = read_every_way(text("a") + stream + text("b") + END)
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


def test_a_frame_over_the_bound_is_a_failure_after_what_came_before_it() -> None:
    batch = read_every_way(text("a") + text("x" * 300) + text("b"), bound=256)
    assert batch.events == (TextDelta(0, "a", 1),)
    assert batch.failure is not None


MEMBERS = dict.fromkeys(
    ("response", "item", "delta", "output_index", "content_index", "item_id", "error"), JSON
)
ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "reasoning", "function_call"])},
    optional=dict.fromkeys(
        ("id", "call_id", "name", "arguments", "content", "summary", "encrypted_content"), JSON
    ),
)
KINDS = st.sampled_from(
    [
        "created",
        "output_item.added",
        "output_item.done",
        "output_text.delta",
        "refusal.delta",
        "reasoning_text.delta",
        "reasoning_summary_text.delta",
        "function_call_arguments.delta",
        "completed",
        "incomplete",
        "failed",
    ]
)


@given(KINDS, st.fixed_dictionaries({}, optional=MEMBERS), ITEM, JSON)
def test_no_json_raises(kind: str, members: Any, item: Any, usage: Any) -> None:
    decoder = new_decoder()
    decoder.receive_data(text("a") + event(f"response.{kind}", **members))
    decoder.receive_eof()
    decoder = new_decoder()
    decoder.receive_data(event(f"response.{kind}", **(members | {"item": item})))
    decoder.receive_data(end(output=[item, item], usage=usage))
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
