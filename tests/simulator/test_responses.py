"""The simulator's Responses wire, and the official SDK pointed straight at it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from actors.core.events import FinishReason, TextDelta, Usage, UsageReported
from actors.core.request import (
    CompletionRequest,
    Dialect,
    Message,
    ReasoningPart,
    Role,
    TextPart,
    Tool,
)
from actors.core.request import ToolCallPart as Call
from actors.core.request import ToolResultPart as Result
from actors.core.wire.responses import ResponsesStreamDecoder, request_body
from actors.simulator.wires.responses_ask import ask_of
from actors.upstream.tokenizer import count_prompt, count_text
from tests.core.wires import command
from tests.support.running_simulator import GroundTruth, running_simulator

openai = pytest.importorskip("openai", reason="the OpenAI SDK is not installed")

PATH = "/v1/responses"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_simulator() as address:
        yield address


@pytest.fixture(scope="module")
def sdk(url: str) -> Iterator[Any]:
    # The SDK's own HTTP client would take a proxy from the environment.
    with (
        httpx.Client(trust_env=False) as http,
        openai.OpenAI(
            base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=20, http_client=http
        ) as client,
    ):
        yield client


def ask(model: str = "sim-instant", **members: Any) -> dict[str, Any]:
    return {"model": model, "input": "hi", "max_output_tokens": 8, **members}


def post(url: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(url + PATH, json=body, headers=headers, timeout=20)


WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    "strict": True,
}


def test_a_body_and_a_stream_say_the_same(url: str) -> None:
    whole = post(url, ask()).json()
    decoder = ResponsesStreamDecoder(count_text, frame_bytes_max=1 << 20)
    batch = decoder.receive_data(post(url, ask(stream=True)).content)
    text = "".join(event.text for event in batch.events if isinstance(event, TextDelta))
    assert (whole["status"], batch.finish_reason) == ("incomplete", FinishReason.LENGTH)
    assert whole["incomplete_details"] == {"reason": "max_output_tokens"}
    (item,) = whole["output"]
    assert item["content"][0]["text"] == text and item["status"] == "completed"
    assert whole["usage"]["output_tokens"] == 8
    figures = Usage(whole["usage"]["input_tokens"], 8)
    assert batch.events[-1] == UsageReported(figures)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": ""}, "model"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference"}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"tools": [{"name": "x"}]}, "tools[0].type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"background": True, "store": False}, "store"),
    ],
)
def test_what_is_wrong_is_named(url: str, members: dict[str, Any], param: str) -> None:
    answer = post(url, ask(**members))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_prompt_is_counted_as_it_was_estimated() -> None:
    messages = (
        Message(Role.SYSTEM, (TextPart("be brief"),)),
        Message(Role.USER, (TextPart("how is the lake?"),)),
        Message(
            Role.ASSISTANT,
            (ReasoningPart("hm"), TextPart("let me see"), Call("c1", "weather", '{"place":"x"}')),
        ),
        Message(Role.TOOL, (Result("c1", "cold"),)),
    )
    tools = (Tool("weather", "of a place", {"type": "object", "properties": {}}),)
    request = CompletionRequest("sim", messages, tools=tools)
    read = ask_of(request_body(command(request, Dialect.RESPONSES)))
    assert count_prompt(read.messages, read.tools) == count_prompt(messages, tools)


def test_a_native_cancel_stops_the_tokens(url: str) -> None:
    created = post(url, ask("sim-slow", background=True), **{"X-Request-Id": "cmp_native"}).json()
    assert created["status"] == "in_progress" and created["background"] is True
    answer = httpx.post(f"{url}{PATH}/{created['id']}/cancel")
    assert answer.json()["status"] == "cancelled"
    entry = GroundTruth(url).closed("cmp_native")
    assert entry["closed_by"] == "cancel"
    assert httpx.get(f"{url}{PATH}/{created['id']}").json() == answer.json()


def test_numbers_are_dense_and_a_stream_can_be_resumed(url: str) -> None:
    with httpx.stream(
        "POST", url + PATH, json=ask("sim", background=True, stream=True), timeout=20
    ) as stream:
        frames = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data:")]
    assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
    assert [frame["type"] for frame in frames[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    made = frames[0]["response"]["id"]
    query = {"stream": "true", "starting_after": "4"}
    again = httpx.get(f"{url}{PATH}/{made}", params=query, timeout=20)
    assert [
        json.loads(line[6:]) for line in again.text.split("\n") if line.startswith("data:")
    ] == frames[5:]


def test_input_tokens_items_and_compact(url: str) -> None:
    counted = httpx.post(f"{url}{PATH}/input_tokens", json=ask()).json()
    assert counted == {
        "object": "response.input_tokens",
        "input_tokens": post(url, ask()).json()["usage"]["input_tokens"],
    }
    compacted = httpx.post(f"{url}{PATH}/compact", json=ask()).json()
    assert compacted["object"] == "response.compaction"
    assert post(url, ask(input=compacted["output"])).status_code == 200
    made = post(url, ask(background=True)).json()["id"]
    page = httpx.get(f"{url}{PATH}/{made}/input_items").json()
    assert [item["content"][0]["text"] for item in page["data"]] == ["hi"]
    for path in (f"{PATH}/resp_none/input_items", f"{PATH}/{made[5:]}/input_items"):
        assert httpx.get(url + path).status_code == 404


# The official SDK.


def test_the_sdk_creates(sdk: Any) -> None:
    response = sdk.responses.create(**ask(metadata={"a": "b"}))
    assert response.output_text and response.usage.output_tokens == 8
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.metadata == {"a": "b"}


def test_the_sdk_s_stream_helper_accumulates(sdk: Any) -> None:
    with sdk.responses.stream(
        model="sim-tools", input="hi", tools=[WEATHER], max_output_tokens=64
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    (call,) = [item for item in final.output if item.type == "function_call"]
    assert (call.name, call.status) == ("weather", "completed")
    assert "place" in json.loads(call.arguments)


@pytest.mark.parametrize("model", ["sim-instant", "sim-reasoning", "sim-refusal", "sim-utf8"])
def test_the_sdk_s_stream_helper_takes_every_kind_of_block(sdk: Any, model: str) -> None:
    with sdk.responses.stream(**ask(model)) as stream:
        last = list(stream)[-1]
    assert last.type == "response.incomplete"
    whole = sdk.responses.create(**ask(model))
    assert [item.type for item in last.response.output] == [item.type for item in whole.output]
    assert last.response.output_text == whole.output_text


def test_the_sdk_runs_in_the_background(sdk: Any) -> None:
    created = sdk.responses.create(**ask("sim-slow", background=True))
    assert created.status == "in_progress"
    assert sdk.responses.retrieve(created.id).id == created.id
    cancelled = sdk.responses.cancel(created.id)
    assert cancelled.status == "cancelled" and sdk.responses.cancel(created.id) == cancelled
    with sdk.responses.retrieve(created.id, stream=True, starting_after=1) as events:
        assert next(event.sequence_number for event in events) == 2
    items = sdk.responses.input_items.list(created.id)
    assert [item.type for item in items] == ["message"]
    sdk.responses.delete(created.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(created.id)


def test_the_sdk_raises_what_the_simulator_refuses(sdk: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        sdk.responses.create(**ask("no-such-model"))
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(**ask(input=[]))
    assert caught.value.param == "input"
    assert sdk.responses.input_tokens.count(model="sim", input="hi").input_tokens > 0
    failed = list(sdk.responses.create(**ask("sim-error"), stream=True))[-1]
    assert failed.type == "response.failed"
    assert failed.response.error.code == "simulated_failure"
