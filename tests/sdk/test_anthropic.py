"""Goal: the official Anthropic SDK works unmodified: only its base URL and its key are Midstream's.

What both understand is run against Midstream over an upstream of either wire format, OpenAI's and
Anthropic's, and straight against the simulator, which must be as good an upstream as a real one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk.clients import Asked, anthropic_client, place
from tests.support.chat_streams import credits_of
from tests.support.instance import DEMO_KEY, Instance, wait_until

anthropic = pytest.importorskip("anthropic", reason="the Anthropic SDK is not installed")
pydantic = pytest.importorskip("pydantic")

pytestmark = [pytest.mark.ray, pytest.mark.sdk]

MESSAGES = [{"role": "user", "content": "Name a lake."}]

WEATHER = {
    "name": "weather",
    "description": "The weather of a place.",
    "input_schema": {
        "type": "object",
        "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["place", "days"],
        "additionalProperties": False,
    },
}


class Lake(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    name: str
    depth_m: int
    rivers: list[str]


@pytest.fixture(params=["midstream", "midstream@messages", "simulator"])
def asked(
    request: pytest.FixtureRequest, midstream: Instance
) -> Iterator[Asked[anthropic.Anthropic]]:
    url, suffix = place(midstream, request.param)
    with anthropic_client(url) as client:
        yield Asked(client, suffix)


@pytest.fixture
def mine(midstream: Instance) -> Iterator[anthropic.Anthropic]:
    """The SDK, pointed at Midstream."""
    with anthropic_client(midstream.url) as client:
        yield client


def simulated(midstream: Instance, message: anthropic.types.Message) -> dict[str, object]:
    """What the simulator saw of a message."""
    return midstream.simulated(message.to_dict()["midstream"]["completion_id"])


def test_a_message_streams_token_by_token(asked: Asked[anthropic.Anthropic]) -> None:
    events = list(
        asked.client.messages.create(
            model="sim-instant" + asked.suffix, messages=MESSAGES, max_tokens=12, stream=True
        )
    )
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 12,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    end = events[-2]
    assert end.delta.stop_reason == "max_tokens"
    assert end.usage.output_tokens == 12
    assert events[0].message.content == []
    assert events[0].message.usage.input_tokens > 0


def test_the_stream_helper_accumulates_what_is_collected(
    asked: Asked[anthropic.Anthropic],
) -> None:
    options = {
        "model": "sim-instant" + asked.suffix,
        "system": "Be brief.",
        "messages": MESSAGES,
        "max_tokens": 12,
    }
    with asked.client.messages.stream(**options) as stream:
        texts = list(stream.text_stream)
        streamed = stream.get_final_message()
    collected = asked.client.messages.create(**options)
    assert len(texts) == 12
    for message in (streamed, collected):
        assert message.content[0].text == "".join(texts)
        assert message.stop_reason == "max_tokens"
        assert message.usage.output_tokens == 12
        assert message.usage.input_tokens == collected.usage.input_tokens
        assert message.role == "assistant"


def test_a_tool_is_called_and_told_its_result(asked: Asked[anthropic.Anthropic]) -> None:
    options = {
        "model": "sim-tools" + asked.suffix,
        "messages": MESSAGES,
        "tools": [WEATHER],
        "max_tokens": 200,
    }
    with asked.client.messages.stream(**options) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        streamed = stream.get_final_message()
    first = asked.client.messages.create(**options)
    assert len(pieces) > 1
    for message in (streamed, first):
        (call,) = message.content
        assert message.stop_reason == "tool_use"
        assert call.type == "tool_use"
        assert call.id
        assert call.name == "weather"
        assert call.input == first.content[0].input
    assert set(call.input) == {"place", "days"}
    assert isinstance(call.input["days"], int)

    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain."}
    second = asked.client.messages.create(
        model="sim-instant" + asked.suffix,
        messages=[
            *MESSAGES,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ],
        tools=[WEATHER],
        max_tokens=5,
    )
    assert second.usage.output_tokens == 5
    assert second.usage.input_tokens > first.usage.input_tokens


def test_thinking_is_a_block_of_its_own(asked: Asked[anthropic.Anthropic]) -> None:
    options = {
        "model": "sim-reasoning" + asked.suffix,
        "messages": MESSAGES,
        "thinking": {"type": "adaptive"},
        "max_tokens": 10,
    }
    with asked.client.messages.stream(**options) as stream:
        thoughts = [event.thinking for event in stream if event.type == "thinking"]
        streamed = stream.get_final_message()
    collected = asked.client.messages.create(**options)
    assert len(thoughts) == 5
    for message in (streamed, collected):
        thought, text = message.content
        assert thought.type == "thinking"
        assert thought.thinking == "".join(thoughts)
        assert isinstance(thought.signature, str)
        assert text.text
        assert message.usage.output_tokens == 10
        assert thought == streamed.content[0]

    second = asked.client.messages.create(
        model="sim-instant" + asked.suffix,
        messages=[*MESSAGES, {"role": "assistant", "content": streamed.content}, *MESSAGES],
        max_tokens=3,
    )
    assert second.usage.output_tokens == 3


def test_a_budget_of_thinking_is_taken(asked: Asked[anthropic.Anthropic]) -> None:
    with asked.client.messages.stream(
        model="sim-reasoning" + asked.suffix,
        messages=MESSAGES,
        thinking={"type": "enabled", "budget_tokens": 1_024},
        max_tokens=2_048,
    ) as stream:
        assert next(event for event in stream if event.type == "thinking").thinking


def test_an_answer_is_parsed_into_a_model_of_its_schema(
    asked: Asked[anthropic.Anthropic],
) -> None:
    options = {
        "model": "sim-instant" + asked.suffix,
        "messages": MESSAGES,
        "max_tokens": 400,
        "output_format": Lake,
    }
    parsed = asked.client.messages.parse(**options)
    with asked.client.messages.stream(**options) as stream:
        streamed = stream.get_final_message()
    assert isinstance(parsed.parsed_output, Lake)
    assert streamed.parsed_output == parsed.parsed_output
    assert parsed.stop_reason == "end_turn"


def test_tokens_are_counted(asked: Asked[anthropic.Anthropic]) -> None:
    options = {
        "model": "sim-instant" + asked.suffix,
        "system": "Be brief.",
        "messages": MESSAGES,
        "tools": [WEATHER],
    }
    counted = asked.client.messages.count_tokens(**options)
    message = asked.client.messages.create(**options, max_tokens=1)
    assert counted.input_tokens == message.usage.input_tokens > 0


def test_an_unknown_model_is_not_found(asked: Asked[anthropic.Anthropic]) -> None:
    with pytest.raises(anthropic.NotFoundError) as raised:
        asked.client.messages.create(model="nobody", messages=MESSAGES, max_tokens=1)
    assert raised.value.body["error"]["type"] == "not_found_error"


def test_an_error_in_mid_stream_is_raised(asked: Asked[anthropic.Anthropic]) -> None:
    texts = []
    with (
        pytest.raises(anthropic.APIError) as raised,
        asked.client.messages.stream(
            model="sim-error" + asked.suffix, messages=MESSAGES, max_tokens=9
        ) as stream,
    ):
        for text in stream.text_stream:
            texts.append(text)
    assert len(texts) == 5
    assert raised.value.body["error"]["type"] == "api_error"


def test_members_reach_the_upstream(midstream: Instance, mine: anthropic.Anthropic) -> None:
    message = mine.messages.create(
        model="sim-tools@messages",
        messages=MESSAGES,
        system=[{"type": "text", "text": "Be brief."}],
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        stop_sequences=["###"],
        max_tokens=100,
        metadata={"user_id": "nobody"},
        extra_body={"temperature": 0.5, "top_k": 3, "of_the_vendor": 1},
    )
    members = set(simulated(midstream, message)["members"])
    assert members >= {
        "system",
        "tools",
        "tool_choice",
        "temperature",
        "top_k",
        "stop_sequences",
        "max_tokens",
        "metadata",
        "of_the_vendor",
    }


@pytest.mark.parametrize("model", ["sim-long", "sim-long@messages"])
def test_a_stream_that_is_cancelled_elsewhere_ends_for_the_sdk(
    midstream: Instance, mine: anthropic.Anthropic, model: str
) -> None:
    texts = []
    with mine.messages.stream(model=model, messages=MESSAGES, max_tokens=2_000) as stream:
        for text in stream.text_stream:
            texts.append(text)
            if len(texts) == 5:
                name = stream.current_message_snapshot.id
                with midstream.client() as second:
                    answer = second.post(f"/v1/messages/async/{name}/cancel", json={})
                assert answer.status_code == 200
        message = stream.get_final_message()
    assert message.stop_reason == "cancelled"
    assert message.content[0].text == "".join(texts)
    assert message.usage.output_tokens == len(texts)
    with midstream.client() as second:
        status = second.get(f"/v1/messages/async/{message.id}/status").json()
    assert status["status"] == "cancelled"
    seen = midstream.simulated(status["midstream"]["completion_id"])
    assert seen["closed_by"] == "client"
    assert seen["text_sent"].startswith("".join(texts))
    charged = status["midstream"]["hold"]["charged_credits"]
    assert charged == credits_of(seen["prompt_tokens"], len(texts))


def test_leaving_the_sdks_stream_cancels(midstream: Instance, mine: anthropic.Anthropic) -> None:
    with mine.messages.stream(model="sim-long", messages=MESSAGES, max_tokens=2_000) as stream:
        next(iter(stream.text_stream))
        name = stream.current_message_snapshot.id

    def status() -> dict[str, object]:
        with midstream.client() as second:
            return dict(second.get(f"/v1/messages/async/{name}/status").json())

    wait_until(lambda: status()["status"] == "cancelled", "the message is cancelled")
    seen = midstream.simulated(status()["midstream"]["completion_id"])
    assert seen["closed_by"] == "client"


ERRORS = {
    "AuthenticationError": ({"model": "sim"}, "al_live_" + "0" * 64, "authentication_error"),
    "NotFoundError": ({"model": "nobody"}, DEMO_KEY, "not_found_error"),
    "BadRequestError": (
        {"model": "sim", "stop_sequences": "none"},
        DEMO_KEY,
        "invalid_request_error",
    ),
    "RateLimitError": ({"model": "sim-status-429"}, DEMO_KEY, "rate_limit_error"),
    "InternalServerError": ({"model": "down"}, DEMO_KEY, "api_error"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_the_sdks_own_class(midstream: Instance, name: str) -> None:
    request, key, kind = ERRORS[name]
    with (
        anthropic_client(midstream.url, key) as client,
        pytest.raises(getattr(anthropic, name)) as raised,
    ):
        client.messages.create(messages=MESSAGES, max_tokens=9, **request)
    assert raised.value.body["type"] == "error"
    assert raised.value.body["error"]["type"] == kind
    assert raised.value.body["request_id"] == raised.value.request_id


def test_a_team_without_credits_has_to_pay(midstream: Instance) -> None:
    key = midstream.new_team("anthropic-sdk-broke", credits=0.0)
    with (
        anthropic_client(midstream.url, key) as client,
        pytest.raises(anthropic.APIStatusError) as raised,
    ):
        client.messages.create(model="sim", messages=MESSAGES, max_tokens=9)
    assert raised.value.status_code == 402
    assert raised.value.body["error"]["type"] == "billing_error"
