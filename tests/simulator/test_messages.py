"""The simulator's Messages wire on a real socket: its frames, its errors, and the official SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

from actors.core.errors import FailureCode
from actors.core.events import (
    BlockFinished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    Usage,
    UsageReported,
)
from actors.core.upstream import UpstreamBatch
from actors.core.wire.anthropic import MessagesStreamDecoder
from actors.simulator.answers import compose, text_of
from actors.simulator.models import MODELS
from actors.simulator.wires.messages import MESSAGES as WIRE
from actors.upstream.tokenizer import count_text
from tests.support.running_simulator import running_simulator

MESSAGES: Any = [{"role": "user", "content": "Count to ten."}]
TOOL: Any = {
    "name": "get_weather",
    "description": "Weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_simulator() as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=20) as client:
        yield client


@pytest.fixture
def sdk(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as sdk:
        yield sdk


def body(model: str, **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "max_tokens": 12, "stream": True, **members}


def decode(data: bytes) -> UpstreamBatch:
    decoder = MessagesStreamDecoder(count_text, frame_bytes_max=1 << 20)
    batch = decoder.receive_data(data)
    return batch if batch.is_end or batch.failure else decoder.receive_eof()


def expected_text(content: dict[str, Any]) -> str:
    answer = compose(MODELS[content["model"]], WIRE.parse(json.dumps(content).encode()))
    return "".join(text_of(delta) for delta in answer)


# Streams.


def test_each_delta_is_one_token_and_the_answer_ends_with_length(client: httpx.Client) -> None:
    asked = body("sim-instant")
    answer = client.post("/v1/messages", json=asked)
    assert answer.headers["content-type"].startswith("text/event-stream")
    batch = decode(answer.content)
    start, *deltas, end, usage = batch.events
    assert isinstance(start, UsageReported) and isinstance(usage, UsageReported)
    assert [delta.tokens for delta in deltas if isinstance(delta, TextDelta)] == [1] * 12
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == expected_text(
        asked
    )
    assert end == BlockFinished(0, True)
    assert start.usage == Usage(usage.usage.prompt_tokens)
    assert usage.usage.completion_tokens == 12
    assert (batch.finish_reason, batch.is_end) == (FinishReason.LENGTH, True)


def test_thinking_is_a_block_of_its_own_with_a_signature(client: httpx.Client) -> None:
    batch = decode(client.post("/v1/messages", json=body("sim-reasoning")).content)
    thoughts = [event for event in batch.events if isinstance(event, ReasoningDelta)]
    ends = [event for event in batch.events if isinstance(event, BlockFinished)]
    assert len(thoughts) == 6
    assert [(end.block, bool(end.signature)) for end in ends] == [(0, True), (1, False)]
    assert batch.events[-1] == UsageReported(Usage(batch.events[0].usage.prompt_tokens, 6, 6))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("model", "code"),
    [("sim-error", FailureCode.UPSTREAM_UNAVAILABLE), ("sim-half-frame", None)],
)
def test_an_answer_that_breaks(client: httpx.Client, model: str, code: FailureCode | None) -> None:
    data = b""
    try:
        with client.stream("POST", "/v1/messages", json=body(model)) as answer:
            for piece in answer.iter_bytes():
                data += piece
    except httpx.RemoteProtocolError:
        assert code is None, "only a reset may cut the body"
    failure = decode(data).failure
    assert failure is not None
    assert failure.code is (code or FailureCode.UPSTREAM_UNAVAILABLE)


def test_a_model_without_usage_reports_none_of_its_output(client: httpx.Client) -> None:
    data = client.post("/v1/messages", json=body("sim-no-usage")).content
    assert b'"usage":{}' in data


def test_a_refusal_is_text_with_its_own_stop_reason(client: httpx.Client) -> None:
    batch = decode(client.post("/v1/messages", json=body("sim-refusal")).content)
    assert batch.finish_reason is FinishReason.CONTENT_FILTER


# Errors.


def refused(**members: Any) -> bytes:
    return json.dumps(body("sim") | members).encode()


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"{", 400, "invalid_request_error"),
        (b"[]", 400, "invalid_request_error"),
        (refused(messages=[]), 400, "invalid_request_error"),
        (refused(max_tokens=None), 400, "invalid_request_error"),
        (refused(messages=[{"role": "tool"}]), 400, "invalid_request_error"),
        (refused(model="nope"), 404, "not_found_error"),
        (refused(model="sim-status-529"), 529, "overloaded_error"),
    ],
)
def test_errors_have_anthropics_envelope(
    client: httpx.Client, content: bytes, status: int, kind: str
) -> None:
    answer = client.post("/v1/messages", content=content)
    assert answer.status_code == status
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == kind


# The official SDK.


@pytest.mark.sdk
def test_the_sdk_collects(sdk: anthropic.Anthropic) -> None:
    message = sdk.messages.create(model="sim-instant", max_tokens=12, messages=MESSAGES)
    (block,) = message.content
    assert block.type == "text" and len(block.text.split()) == 12
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 12)
    assert message.usage.input_tokens > 0


@pytest.mark.sdk
def test_the_sdk_streams_what_it_collects(sdk: anthropic.Anthropic) -> None:
    whole = sdk.messages.create(model="sim-instant", max_tokens=12, messages=MESSAGES)
    with sdk.messages.stream(model="sim-instant", max_tokens=12, messages=MESSAGES) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert final.to_dict()["content"] == whole.to_dict()["content"]
    assert final.usage == whole.usage
    assert (text, final.stop_reason) == (whole.content[0].text, "max_tokens")  # type: ignore[union-attr]


@pytest.mark.sdk
def test_the_sdk_shows_thinking(sdk: anthropic.Anthropic) -> None:
    with sdk.messages.stream(model="sim-reasoning", max_tokens=8, messages=MESSAGES) as stream:
        thinking, text = stream.get_final_message().content
    assert thinking.type == "thinking" and thinking.thinking and thinking.signature
    assert text.type == "text" and text.text


@pytest.mark.sdk
def test_the_sdk_calls_a_tool_and_sends_its_result(sdk: anthropic.Anthropic) -> None:
    asked: Any = {"model": "sim-tools", "max_tokens": 200, "tools": [TOOL]}
    whole = sdk.messages.create(messages=MESSAGES, **asked)
    with sdk.messages.stream(messages=MESSAGES, **asked) as stream:
        message = stream.get_final_message()
    (call,) = message.content
    assert call.type == "tool_use" and call.name == "get_weather" and set(call.input) == {"city"}
    assert (message.stop_reason, whole.content) == ("tool_use", message.content)
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny."}
    again = sdk.messages.create(
        messages=[*MESSAGES, message.to_param(), {"role": "user", "content": [result]}], **asked
    )
    assert again.usage.input_tokens > message.usage.input_tokens


@pytest.mark.sdk
def test_the_sdk_gets_json_of_a_schema(sdk: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    message = sdk.messages.create(
        model="sim-long-instant",
        max_tokens=200,
        messages=MESSAGES,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert isinstance(json.loads(message.content[0].text)["n"], int)  # type: ignore[union-attr]


@pytest.mark.sdk
def test_the_sdk_counts_tokens(sdk: anthropic.Anthropic) -> None:
    count = sdk.messages.count_tokens(model="sim", messages=MESSAGES, system="Be brief.")
    message = sdk.messages.create(
        model="sim-instant", max_tokens=1, messages=MESSAGES, system="Be brief."
    )
    assert count.input_tokens == message.usage.input_tokens
    with pytest.raises(anthropic.BadRequestError):
        sdk.messages.count_tokens(model="sim", messages=[])


@pytest.mark.sdk
def test_the_sdk_raises_what_the_simulator_refuses(sdk: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        sdk.messages.create(model="nope", max_tokens=1, messages=MESSAGES)
    with (
        pytest.raises(anthropic.APIStatusError),
        sdk.messages.stream(model="sim-error", max_tokens=9, messages=MESSAGES) as stream,
    ):
        stream.until_done()
