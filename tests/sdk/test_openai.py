"""Goal: the official OpenAI SDK works unmodified: only its base URL and its key are Midstream's.

What both understand is run twice: against Midstream, and straight against the simulator, which must
be as good an upstream as a real one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk.clients import openai_client
from tests.support.chat_streams import credits_of
from tests.support.instance import DEMO_KEY, Instance, wait_until

openai = pytest.importorskip("openai", reason="the OpenAI SDK is not installed")
pydantic = pytest.importorskip("pydantic")

pytestmark = [pytest.mark.ray, pytest.mark.sdk]

MESSAGES = [{"role": "user", "content": "Name a lake."}]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["place", "days"],
            "additionalProperties": False,
        },
    },
}


class Lake(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    name: str
    depth_m: int
    rivers: list[str]


@pytest.fixture(params=["midstream", "simulator"])
def client(request: pytest.FixtureRequest, midstream: Instance) -> Iterator[openai.OpenAI]:
    """The SDK, pointed at each of the two."""
    url = midstream.url if request.param == "midstream" else midstream.simulator_url()
    with openai_client(url) as client:
        yield client


@pytest.fixture
def mine(midstream: Instance) -> Iterator[openai.OpenAI]:
    """The SDK, pointed at Midstream."""
    with openai_client(midstream.url) as client:
        yield client


def test_a_completion_streams_token_by_token(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="sim-instant",
            messages=MESSAGES,
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    usage = next(chunk.usage for chunk in reversed(chunks) if chunk.usage)
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert len(texts) == usage.completion_tokens == 12
    assert reasons[-1] == "length"
    assert set(reasons[:-1]) == {None}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_a_completion_is_collected(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="sim-instant", messages=MESSAGES, max_completion_tokens=12, seed=3
    )
    again = client.chat.completions.create(
        model="sim-instant", messages=MESSAGES, max_completion_tokens=12, seed=3
    )
    assert completion.choices[0].finish_reason == "length"
    assert completion.choices[0].message.content == again.choices[0].message.content
    assert completion.usage.completion_tokens == 12
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 12


def test_the_stream_helper_folds_the_same_answer(client: openai.OpenAI) -> None:
    options = {"model": "sim-instant", "messages": MESSAGES, "max_tokens": 400, "seed": 3}
    with client.chat.completions.stream(response_format=Lake, **options) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        streamed = stream.get_final_completion().choices[0].message
    parsed = client.chat.completions.parse(response_format=Lake, **options).choices[0].message
    assert len(deltas) > 1
    assert streamed.content == parsed.content == "".join(deltas)
    assert streamed.parsed == parsed.parsed


def test_models_are_listed(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"sim", "sim-instant", "sim-slow"} <= names


def test_one_model_is_retrieved(mine: openai.OpenAI) -> None:
    assert mine.models.retrieve("aurous-grow-2.0-pro").id == "aurous-grow-2.0-pro"


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_tool_is_called(client: openai.OpenAI, is_stream: bool) -> None:
    options = {"model": "sim-tools", "messages": MESSAGES, "tools": [WEATHER], "max_tokens": 200}
    if is_stream:
        with client.chat.completions.stream(**options) as stream:
            completion = stream.get_final_completion()
    else:
        completion = client.chat.completions.create(**options)
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert call.id
    assert call.function.name == "weather"
    arguments = pydantic.TypeAdapter(dict[str, str | int]).validate_json(call.function.arguments)
    assert set(arguments) == {"place", "days"}
    assert isinstance(arguments["days"], int)


def test_an_answer_is_parsed_into_a_model_of_its_schema(client: openai.OpenAI) -> None:
    completion = client.chat.completions.parse(
        model="sim-instant", messages=MESSAGES, response_format=Lake, max_tokens=400
    )
    assert isinstance(completion.choices[0].message.parsed, Lake)
    assert completion.choices[0].finish_reason == "stop"


def test_tools_and_formats_reach_the_upstream(midstream: Instance, mine: openai.OpenAI) -> None:
    """The upstream's own log tells which members it was asked with."""
    tools = mine.chat.completions.create(
        model="sim-tools",
        messages=MESSAGES,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        temperature=0.5,
        max_tokens=100,
        extra_body={"of_the_vendor": 1},
    )
    members = set(midstream.simulated(tools.id)["members"])
    assert members >= {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "temperature",
        "max_tokens",
        "of_the_vendor",
    }
    parsed = mine.chat.completions.create(
        model="sim-instant",
        messages=MESSAGES,
        response_format={"type": "json_object"},
        max_tokens=100,
    )
    assert "response_format" in midstream.simulated(parsed.id)["members"]
    assert parsed.choices[0].message.content.startswith("{")


def test_a_tools_result_goes_back(mine: openai.OpenAI) -> None:
    """The usual second turn: the SDK's own message object is sent back, with the result."""
    first = mine.chat.completions.create(
        model="sim-tools", messages=MESSAGES, tools=[WEATHER], max_tokens=100
    )
    message = first.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Rain."}
    second = mine.chat.completions.create(
        model="sim-instant", messages=[*MESSAGES, message, result], tools=[WEATHER], max_tokens=5
    )
    assert second.usage.completion_tokens == 5
    assert second.usage.prompt_tokens > first.usage.prompt_tokens


def test_a_stream_that_is_cancelled_elsewhere_ends_for_the_sdk(
    midstream: Instance, mine: openai.OpenAI
) -> None:
    texts, reasons, last = [], [], None
    with mine.chat.completions.create(
        model="sim-long", messages=MESSAGES, max_tokens=2_000, stream=True
    ) as stream:
        for chunk in stream:
            last = chunk
            choice = chunk.choices[0]
            if choice.delta.content:
                texts.append(choice.delta.content)
            reasons.append(choice.finish_reason)
            if len(texts) == 5:
                with midstream.client() as second:
                    answer = second.post(f"/v1/chat/completions/{chunk.id}/cancel")
                assert answer.status_code == 200
    assert last is not None
    assert reasons[-1] == "cancelled"
    seen = midstream.simulated(last.id)
    assert seen["closed_by"] == "client"
    assert seen["text_sent"].startswith("".join(texts))
    assert last.usage.completion_tokens == len(texts)
    charged = last.usage.model_dump()["credits_charged"]
    assert charged == credits_of(seen["prompt_tokens"], len(texts))


def test_leaving_the_sdks_stream_cancels(midstream: Instance, mine: openai.OpenAI) -> None:
    with mine.chat.completions.create(
        model="sim-long", messages=MESSAGES, max_tokens=2_000, stream=True
    ) as stream:
        name = next(iter(stream)).id
    seen = wait_until(
        lambda: (row := midstream.simulated(name))["closed_by"] and row, "the upstream is closed"
    )
    assert seen["closed_by"] == "client"


def test_an_error_in_mid_stream_is_raised(mine: openai.OpenAI) -> None:
    texts = []
    with pytest.raises(openai.APIError) as raised:
        for chunk in mine.chat.completions.create(
            model="sim-error", messages=MESSAGES, stream=True
        ):
            texts.append(chunk.choices[0].delta.content)
    assert raised.value.code == "chat_provider_unavailable"
    assert len([text for text in texts if text]) == 5


ERRORS = {
    "AuthenticationError": ({"model": "sim"}, "al_live_" + "0" * 64, "invalid_api_key"),
    "NotFoundError": ({"model": "nobody"}, DEMO_KEY, "resource_not_found"),
    "BadRequestError": ({"model": "sim", "n": 2}, DEMO_KEY, "value_out_of_range"),
    "RateLimitError": ({"model": "sim-status-429"}, DEMO_KEY, "too_many_requests"),
    "InternalServerError": ({"model": "down"}, DEMO_KEY, "chat_provider_unavailable"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_the_sdks_own_class(midstream: Instance, name: str) -> None:
    request, key, code = ERRORS[name]
    with (
        openai_client(midstream.url, key) as client,
        pytest.raises(getattr(openai, name)) as raised,
    ):
        client.chat.completions.create(messages=MESSAGES, **request)
    assert raised.value.code == code
    assert raised.value.body["request_id"] == raised.value.response.headers["aurous-request-id"]


def test_a_teams_own_limit_is_a_rate_limit_error(midstream: Instance) -> None:
    body = {
        "team": "sdk-limited",
        "organization": "org_tests",
        "credits": 1.0,
        "limits": {"requests_per_minute": 1},
    }
    midstream.admin("POST", "/admin/v1/teams", json=body)
    key = midstream.admin("POST", "/admin/v1/teams/sdk-limited/keys", json={})["key"]
    with openai_client(midstream.url, key) as client:
        client.chat.completions.create(model="sim-instant", messages=MESSAGES, max_tokens=2)
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model="sim-instant", messages=MESSAGES, max_tokens=2)
    assert raised.value.code == "too_many_requests"
    assert int(raised.value.response.headers["retry-after"]) > 0
