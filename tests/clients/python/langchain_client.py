"""LangChain: `create_agent` on ChatOpenAI (both its APIs) and ChatAnthropic."""

from __future__ import annotations

import gc

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
    for_each,
    has,
    main,
    slowly,
    weather,
)
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    population: int


def _openai(**options) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, base_url=f"{URL}/v1", api_key=KEY, max_retries=0, **options)


WAYS = {
    "chat": _openai,
    "responses": lambda: _openai(use_responses_api=True),
    "anthropic": lambda: ChatAnthropic(model=MODEL, base_url=URL, api_key=KEY, max_retries=0),
}


def last(state) -> str:
    return state["messages"][-1].text


@for_each(WAYS)
def hello(model, way) -> None:
    has(model.invoke(HELLO).text, "Hello")
    chunks = list(model.stream(HELLO))
    has("".join(chunk.text for chunk in chunks), "Hello")


@for_each(WAYS)
def tools(model, way) -> None:
    agent = create_agent(model, tools=[weather], system_prompt="Be brief.")
    state = agent.invoke({"messages": [{"role": "user", "content": WEATHER}]})
    has(last(state), SUNNY)
    messages = [*state["messages"], {"role": "user", "content": FIRST}]
    *_, state = agent.stream({"messages": messages}, stream_mode="values")
    has(last(state), WEATHER)


@for_each(WAYS)
def structured(model, way) -> None:
    agent = create_agent(model, tools=[weather], response_format=ToolStrategy(City))
    state = agent.invoke({"messages": [{"role": "user", "content": WEATHER}]})
    assert isinstance(state["structured_response"], City)
    for method in ("function_calling", "json_schema"):
        answer = model.with_structured_output(City, method=method).invoke("Describe a city.")
        assert answer == City(name="Ada", population=42)


@for_each(WAYS)
def required(model, way) -> None:
    answer = model.bind_tools([weather], tool_choice="any").invoke(HELLO)
    assert [call["name"] for call in answer.tool_calls] == ["weather"]


@for_each(WAYS)
def cancel(model, way) -> None:
    prompt = slowly(way)
    stream = model.stream(prompt)
    for count, _ in enumerate(stream):
        if count == COUNTED:
            break
    stream.close()
    del stream
    gc.collect()
    closed_by_client(prompt)


main()
