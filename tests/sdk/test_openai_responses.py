"""Goal: the official OpenAI SDK's Responses API works unmodified: base URL and key are Midstream's.

What both understand is run against Midstream over both of OpenAI's wire formats, and straight against
the simulator, which must be as good an upstream as a real one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sdk.clients import Asked, openai_client, place
from tests.support.chat_streams import credits_of
from tests.support.instance import DEMO_KEY, Instance, wait_until

openai = pytest.importorskip("openai", reason="the OpenAI SDK is not installed")
pydantic = pytest.importorskip("pydantic")

pytestmark = [pytest.mark.ray, pytest.mark.sdk]

PROMPT = "Name a lake."
ENDED = ("completed", "incomplete", "failed", "cancelled")


class Lake(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    name: str
    depth_m: int
    rivers: list[str]


class Weather(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    """The weather of a place."""

    place: str
    days: int


TOOL = {
    "type": "function",
    "name": "Weather",
    "description": "The weather of a place.",
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["place", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture(params=["midstream", "midstream@responses", "simulator"])
def asked(request: pytest.FixtureRequest, midstream: Instance) -> Iterator[Asked[openai.OpenAI]]:
    url, suffix = place(midstream, request.param)
    with openai_client(url) as client:
        yield Asked(client, suffix)


@pytest.fixture
def mine(midstream: Instance) -> Iterator[openai.OpenAI]:
    """The SDK, pointed at Midstream."""
    with openai_client(midstream.url) as client:
        yield client


def completion_id(response: openai.types.responses.Response) -> str:
    return response.id.replace("resp_", "cmp_")


def test_a_response_streams_token_by_token(asked: Asked[openai.OpenAI]) -> None:
    options = {"model": "sim-instant" + asked.suffix, "input": PROMPT, "max_output_tokens": 12}
    events = list(asked.client.responses.create(**options, stream=True))
    collected = asked.client.responses.create(**options)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    streamed = events[-1].response
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.incomplete"
    assert len(deltas) == streamed.usage.output_tokens == 12
    for response in (streamed, collected):
        assert response.output_text == "".join(deltas)
        assert response.status == "incomplete"
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.usage == streamed.usage
        assert response.usage.total_tokens == response.usage.input_tokens + 12
        assert response.usage.output_tokens_details.reasoning_tokens == 0


def test_an_answer_is_parsed_into_a_model_of_its_schema(asked: Asked[openai.OpenAI]) -> None:
    options = {
        "model": "sim-instant" + asked.suffix,
        "input": PROMPT,
        "text_format": Lake,
        "max_output_tokens": 400,
    }
    with asked.client.responses.stream(**options) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        streamed = stream.get_final_response()
    parsed = asked.client.responses.parse(**options)
    assert len(deltas) > 1
    assert streamed.status == parsed.status == "completed"
    assert streamed.output_text == parsed.output_text == "".join(deltas)
    assert isinstance(parsed.output_parsed, Lake)
    assert streamed.output_parsed == parsed.output_parsed


def test_a_function_is_called(asked: Asked[openai.OpenAI]) -> None:
    options = {"model": "sim-tools" + asked.suffix, "input": PROMPT, "max_output_tokens": 200}
    with asked.client.responses.stream(
        **options, tools=[openai.pydantic_function_tool(Weather)]
    ) as stream:
        events = list(stream)
        (streamed,) = stream.get_final_response().output
    pieces = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    (done,) = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert len(pieces) > 1
    assert streamed.arguments == done.arguments == "".join(pieces)
    assert isinstance(streamed.parsed_arguments, Weather)
    assert streamed.name == "Weather"

    response = asked.client.responses.create(**options, tools=[TOOL])
    (call,) = response.output
    assert call.type == "function_call"
    assert call.status == "completed"
    assert call.call_id
    assert isinstance(Weather.model_validate_json(call.arguments), Weather)
    assert response.status == "completed"

    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    second = asked.client.responses.create(
        model="sim-instant" + asked.suffix,
        input=[{"role": "user", "content": PROMPT}, call, result],
        tools=[TOOL],
        max_output_tokens=5,
    )
    assert second.usage.output_tokens == 5
    assert second.usage.input_tokens > response.usage.input_tokens


def test_reasoning_is_an_item_of_its_own(asked: Asked[openai.OpenAI]) -> None:
    options = {
        "model": "sim-reasoning" + asked.suffix,
        "input": PROMPT,
        "reasoning": {"effort": "low"},
        "max_output_tokens": 10,
    }
    events = list(asked.client.responses.create(**options, stream=True))
    thoughts = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    response = asked.client.responses.create(**options)
    thought, message = response.output
    assert thought.type == "reasoning"
    assert thought.content[0].text == "".join(thoughts)
    assert message.content[0].text == response.output_text
    assert len(thoughts) == response.usage.output_tokens_details.reasoning_tokens == 5


def test_a_background_response_is_polled(asked: Asked[openai.OpenAI]) -> None:
    response = asked.client.responses.create(
        model="sim" + asked.suffix, input=PROMPT, max_output_tokens=10, background=True
    )
    assert response.status in ("queued", "in_progress")
    assert response.background is True
    ended = wait_until(
        lambda: (now := asked.client.responses.retrieve(response.id)).status in ENDED and now,
        "the response has ended",
    )
    assert ended.status == "incomplete"
    assert ended.usage.output_tokens == 10
    assert ended.output_text


def test_a_stream_is_taken_up_where_it_was_left(asked: Asked[openai.OpenAI]) -> None:
    client = asked.client
    first = []
    with client.responses.create(
        model="sim" + asked.suffix,
        input=PROMPT,
        max_output_tokens=30,
        background=True,
        stream=True,
    ) as stream:
        for event in stream:
            first.append(event)
            if event.type == "response.output_text.delta":
                break
    name, cursor = first[0].response.id, first[-1].sequence_number
    rest = list(client.responses.retrieve(name, stream=True, starting_after=cursor))
    whole = list(client.responses.retrieve(name, stream=True))
    ended = client.responses.retrieve(name)
    assert [e.sequence_number for e in first + rest] == list(range(len(whole)))
    assert [e.to_dict() for e in first + rest] == [e.to_dict() for e in whole]
    text = "".join(e.delta for e in whole if e.type == "response.output_text.delta")
    assert whole[-1].response.output_text == ended.output_text == text
    assert ended.usage.output_tokens == 30
    with client.responses.stream(response_id=name, starting_after=cursor) as helper:
        assert [e.sequence_number for e in helper] == [e.sequence_number for e in rest]


def test_a_background_response_is_cancelled(asked: Asked[openai.OpenAI]) -> None:
    response = asked.client.responses.create(
        model="sim-long" + asked.suffix, input=PROMPT, max_output_tokens=2_000, background=True
    )
    wait_until(lambda: asked.client.responses.retrieve(response.id).output_text, "its first token")
    cancelled = asked.client.responses.cancel(response.id)
    again = asked.client.responses.cancel(response.id)
    assert cancelled.status == "cancelled"
    assert cancelled.output_text
    assert cancelled.output[-1].status == "incomplete"
    assert again.output_text == cancelled.output_text
    assert asked.client.responses.retrieve(response.id).to_dict() == again.to_dict()


def test_a_deleted_response_is_not_found(asked: Asked[openai.OpenAI]) -> None:
    response = asked.client.responses.create(
        model="sim-instant" + asked.suffix, input=PROMPT, max_output_tokens=3, background=True
    )
    wait_until(lambda: asked.client.responses.retrieve(response.id).status in ENDED, "it has ended")
    assert asked.client.responses.delete(response.id) is None
    for call in (asked.client.responses.retrieve, asked.client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            call(response.id)


def test_a_failure_in_mid_stream_is_told(asked: Asked[openai.OpenAI]) -> None:
    events = list(
        asked.client.responses.create(
            model="sim-error" + asked.suffix, input=PROMPT, max_output_tokens=9, stream=True
        )
    )
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    assert events[-1].response.error.message
    assert len([e for e in events if e.type == "response.output_text.delta"]) == 5


def test_input_is_counted(asked: Asked[openai.OpenAI]) -> None:
    options = {"model": "sim-instant" + asked.suffix, "input": PROMPT, "instructions": "Be brief."}
    counted = asked.client.responses.input_tokens.count(**options)
    response = asked.client.responses.create(**options, max_output_tokens=1)
    assert counted.input_tokens == response.usage.input_tokens


@pytest.mark.parametrize("model", ["sim-long", "sim-long@responses", "sim-long@background"])
def test_a_stream_that_is_cancelled_elsewhere_ends_for_the_sdk(
    midstream: Instance, mine: openai.OpenAI, model: str
) -> None:
    deltas = []
    with mine.responses.create(
        model=model, input=PROMPT, max_output_tokens=2_000, stream=True
    ) as stream:
        for event in stream:
            if event.type == "response.created":
                created = event.response
            if event.type == "response.output_text.delta":
                deltas.append(event.delta)
                if len(deltas) == 5:
                    with openai_client(midstream.url) as second:
                        assert second.responses.cancel(created.id).status == "cancelled"
    response = event.response
    assert event.type == "response.incomplete"
    assert response.status == "cancelled"
    assert response.output_text == "".join(deltas)
    assert response.usage.output_tokens == len(deltas)
    seen = midstream.simulated(completion_id(response))
    assert seen["closed_by"] == ("cancel" if model == "sim-long@background" else "client")
    assert seen["text_sent"].startswith(response.output_text)
    charged = response.to_dict()["midstream"]["hold"]["charged_credits"]
    assert charged == credits_of(seen["prompt_tokens"], len(deltas))


def test_what_came_in_is_listed(mine: openai.OpenAI) -> None:
    said = ["Name a lake.", "A deep one.", "In one word."]
    response = mine.responses.create(
        model="sim-instant",
        input=[{"role": "user", "content": text} for text in said],
        max_output_tokens=2,
    )
    page = mine.responses.input_items.list(response.id, limit=2, order="asc")
    assert page.has_more is True
    assert [item.content[0].text for item in page.data] == said[:2]
    # The SDK turns the pages by itself.
    assert [item.content[0].text for item in page] == said
    assert [item.content[0].text for item in mine.responses.input_items.list(response.id)] == (
        said[::-1]
    )


def test_a_response_goes_on_with_an_earlier_one(midstream: Instance, mine: openai.OpenAI) -> None:
    first = mine.responses.create(
        model="sim-tools", input=PROMPT, tools=[TOOL], max_output_tokens=100
    )
    result = {
        "type": "function_call_output",
        "call_id": first.output[0].call_id,
        "output": "Rain.",
    }
    options = {"model": "sim-instant", "tools": [TOOL], "max_output_tokens": 5}
    second = mine.responses.create(previous_response_id=first.id, input=[result], **options)
    written = mine.responses.create(
        input=[{"role": "user", "content": PROMPT}, first.output[0], result], **options
    )
    assert second.previous_response_id == first.id
    assert second.output_text == written.output_text
    digests = [midstream.simulated(completion_id(r))["body_digest"] for r in (second, written)]
    assert digests[0] == digests[1]


def test_members_reach_the_upstream(midstream: Instance, mine: openai.OpenAI) -> None:
    response = mine.responses.create(
        model="sim-tools@responses",
        input=PROMPT,
        instructions="Be brief.",
        tools=[TOOL],
        tool_choice={"type": "function", "name": "Weather"},
        parallel_tool_calls=False,
        temperature=0.5,
        max_output_tokens=100,
        metadata={"lake": "deep"},
        extra_body={"of_the_vendor": 1},
    )
    members = set(midstream.simulated(completion_id(response))["members"])
    assert members >= {
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "temperature",
        "max_output_tokens",
        "of_the_vendor",
    }
    assert response.metadata == {"lake": "deep"}
    assert response.instructions == "Be brief."
    assert response.temperature == 0.5
    assert response.tools[0].name == "Weather"


ERRORS = {
    "AuthenticationError": ({"model": "sim"}, "al_live_" + "0" * 64, "invalid_api_key"),
    "NotFoundError": ({"model": "nobody"}, DEMO_KEY, "model_not_found"),
    "BadRequestError": ({"model": "sim", "top_logprobs": 2}, DEMO_KEY, None),
    "RateLimitError": ({"model": "sim-status-429"}, DEMO_KEY, "rate_limit_exceeded"),
    "InternalServerError": ({"model": "down"}, DEMO_KEY, None),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_the_sdks_own_class(midstream: Instance, name: str) -> None:
    request, key, code = ERRORS[name]
    with (
        openai_client(midstream.url, key) as client,
        pytest.raises(getattr(openai, name)) as raised,
    ):
        client.responses.create(input=PROMPT, **request)
    assert raised.value.code == code
    assert raised.value.request_id == raised.value.response.headers["x-request-id"]


def test_an_unknown_response_is_not_found(asked: Asked[openai.OpenAI]) -> None:
    responses = asked.client.responses
    for call in (responses.retrieve, responses.cancel, responses.delete):
        with pytest.raises(openai.NotFoundError):
            call("resp_of_nobody")
    with pytest.raises(openai.NotFoundError):
        list(responses.input_items.list("resp_of_nobody"))


def test_leaving_the_sdks_stream_cancels(midstream: Instance, mine: openai.OpenAI) -> None:
    with mine.responses.create(
        model="sim-long", input=PROMPT, max_output_tokens=2_000, stream=True
    ) as stream:
        name = completion_id(next(iter(stream)).response)
    seen = wait_until(
        lambda: (row := midstream.simulated(name))["closed_by"] and row, "the upstream is closed"
    )
    assert seen["closed_by"] == "client"
