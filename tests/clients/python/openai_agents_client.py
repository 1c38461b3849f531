"""openai-agents: Runner over both of OpenAI's APIs, with a session and without."""

from __future__ import annotations

import asyncio

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)
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
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)


class City(BaseModel):
    name: str
    population: int


def _client() -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)


WAYS = {
    "responses": lambda: OpenAIResponsesModel(MODEL, openai_client=_client()),
    "chat": lambda: OpenAIChatCompletionsModel(MODEL, openai_client=_client()),
}


@for_each(WAYS)
async def hello(model, way) -> None:
    agent = Agent(name="greeter", model=model)
    has((await Runner.run(agent, HELLO)).final_output, "Hello")
    streamed = Runner.run_streamed(agent, HELLO)
    kinds = [event.type async for event in streamed.stream_events()]
    assert "raw_response_event" in kinds
    has(streamed.final_output, "Hello")


@for_each(WAYS)
async def tools(model, way) -> None:
    agent = Agent(name="weather agent", model=model, tools=[function_tool(weather)])
    first = await Runner.run(agent, WEATHER)
    has(first.final_output, SUNNY)
    second = await Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": FIRST}])
    has(second.final_output, WEATHER)


@for_each(WAYS)
async def tools_streamed(model, way) -> None:
    agent = Agent(name="weather agent", model=model, tools=[function_tool(weather)])
    session = SQLiteSession(way)
    for prompt, part in ((WEATHER, SUNNY), (FIRST, WEATHER)):
        streamed = Runner.run_streamed(agent, prompt, session=session)
        async for _ in streamed.stream_events():
            pass
        has(streamed.final_output, part)


@for_each({"responses": WAYS["responses"]})
async def by_previous_response(model, way) -> None:
    agent = Agent(name="weather agent", model=model, tools=[function_tool(weather)])
    first = await Runner.run(agent, WEATHER, auto_previous_response_id=True)
    has(first.final_output, SUNNY)
    second = await Runner.run(agent, FIRST, previous_response_id=first.last_response_id)
    has(second.final_output, WEATHER)


@for_each(WAYS)
async def structured(model, way) -> None:
    result = await Runner.run(Agent(name="a", model=model, output_type=City), "Describe a city.")
    assert result.final_output == City(name="Ada", population=42)


@for_each(WAYS)
async def handed_off(model, way) -> None:
    other = Agent(name="weather", model=model, tools=[function_tool(weather)])
    agent = Agent(name="first", model=model, handoffs=[other])
    result = await Runner.run(agent, WEATHER)
    assert result.last_agent.name == "weather"


@for_each(WAYS)
async def required(model, way) -> None:
    agent = Agent(
        name="forced",
        model=model,
        tools=[function_tool(weather)],
        model_settings=ModelSettings(tool_choice="required"),
    )
    has((await Runner.run(agent, WEATHER)).final_output, SUNNY)


@for_each(WAYS)
async def cancel(model, way) -> None:
    prompt = slowly(way)
    streamed = Runner.run_streamed(Agent(name="counter", model=model), prompt)
    count = 0
    async for event in streamed.stream_events():
        if "delta" in getattr(getattr(event, "data", None), "type", ""):
            count += 1
        if count == COUNTED:
            streamed.cancel()
            count += 1
    await asyncio.to_thread(closed_by_client, prompt)


main()
