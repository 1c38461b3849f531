"""The Anthropic SDK: plain, by `.messages.stream`, by `.parse` and by its tool runner."""

from __future__ import annotations

import anthropic
from asked import (
    COUNTED,
    FIRST,
    HELLO,
    KEY,
    MODEL,
    SUNNY,
    URL,
    WEATHER,
    closed_by_client,
    has,
    main,
    scenario,
    slowly,
    weather,
)
from pydantic import BaseModel

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "weather", "description": "Tell the weather.", "input_schema": SCHEMA}
ASK = {"model": MODEL, "max_tokens": 32_000}


class City(BaseModel):
    name: str
    population: int


def user(text: str) -> dict:
    return {"role": "user", "content": text}


@scenario
def hello() -> None:
    with client.messages.stream(**ASK, messages=[user(HELLO)]) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    has(text, "Hello")
    assert final.stop_reason == "end_turn"
    answer = client.messages.create(model=MODEL, max_tokens=1_000, messages=[user(HELLO)])
    has(answer.content[0].text, "Hello")


@scenario
def tools() -> None:
    messages: list = [user(WEATHER)]
    for _ in range(2):
        with client.messages.stream(**ASK, messages=messages, tools=[TOOL]) as stream:
            answer = stream.get_final_message()
        call = next(block for block in answer.content if block.type == "tool_use")
        assert answer.stop_reason == "tool_use"
        result = {"type": "tool_result", "tool_use_id": call.id, "content": weather(**call.input)}
        messages += [{"role": "assistant", "content": answer.content}]
        messages += [{"role": "user", "content": [result]}]
        with client.messages.stream(**ASK, messages=messages, tools=[TOOL]) as stream:
            answer = stream.get_final_message()
        has(answer.content[0].text, SUNNY)
        messages += [{"role": "assistant", "content": answer.content}]
        messages += [user("And the weather again?")]
    messages[-1] = user(FIRST)
    answer = client.messages.create(**{**ASK, "max_tokens": 2_000}, messages=messages, tools=[TOOL])
    has(answer.content[0].text, WEATHER)


@scenario
def tool_runner() -> None:
    tool = anthropic.beta_tool(weather)
    runner = client.beta.messages.tool_runner(
        model=MODEL, max_tokens=2_000, messages=[user(WEATHER)], tools=[tool]
    )
    has(runner.until_done().content[0].text, SUNNY)


@scenario
def thinking() -> None:
    """Each way of asking for it; the thoughts go back as they came, signatures included."""
    for kind in ({"type": "enabled", "budget_tokens": 1_024}, {"type": "adaptive"}):
        messages: list = [user(WEATHER)]
        ask = {**ASK, "messages": messages, "tools": [TOOL], "thinking": kind}
        with client.messages.stream(**ask) as stream:
            answer = stream.get_final_message()
        call = next(block for block in answer.content if block.type == "tool_use")
        assert any(block.type == "thinking" for block in answer.content), answer.content
        result = {"type": "tool_result", "tool_use_id": call.id, "content": weather(**call.input)}
        messages += [{"role": "assistant", "content": answer.content}]
        messages += [{"role": "user", "content": [result]}]
        with client.messages.stream(**ask) as stream:
            answer = stream.get_final_message()
        has(answer.content[-1].text, SUNNY)
        messages += [{"role": "assistant", "content": answer.content}, user(FIRST)]
        with client.messages.stream(**ask) as stream:
            answer = stream.get_final_message()
        has(answer.content[-1].text, WEATHER)


@scenario
def parse() -> None:
    answer = client.messages.parse(
        model=MODEL, max_tokens=1_000, messages=[user("Describe a city.")], output_format=City
    )
    assert answer.parsed_output == City(name="Ada", population=42)


@scenario
def required() -> None:
    for choice in ({"type": "any"}, {"type": "tool", "name": "weather"}):
        answer = client.messages.create(
            model=MODEL,
            max_tokens=1_000,
            messages=[user(HELLO)],
            tools=[TOOL],
            tool_choice=choice,
        )
        assert [b.name for b in answer.content if b.type == "tool_use"] == ["weather"]


@scenario
def cached() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    answer = client.messages.create(
        model=MODEL,
        max_tokens=1_000,
        system=[{"type": "text", "text": "Be brief.", **mark}],
        messages=[{"role": "user", "content": [{"type": "text", "text": HELLO, **mark}]}],
    )
    has(answer.content[0].text, "Hello")
    assert answer.usage.cache_read_input_tokens == 0


@scenario
def many_turns() -> None:
    messages = [user("the very first"), {"role": "assistant", "content": "yes"}]
    messages += [user("one more"), {"role": "assistant", "content": "yes"}] * 150
    answer = client.messages.create(model=MODEL, max_tokens=900, messages=[*messages, user(FIRST)])
    has(answer.content[0].text, "the very first")


@scenario
def counted_and_listed() -> None:
    assert client.messages.count_tokens(model=MODEL, messages=[user(HELLO)]).input_tokens > 0
    assert MODEL in [model.id for model in client.models.list()]


@scenario
def cancel() -> None:
    prompt = slowly()
    with client.messages.stream(**ASK, messages=[user(prompt)]) as stream:
        for count, _ in enumerate(stream.text_stream):
            if count == COUNTED:
                break
    closed_by_client(prompt)


main()
