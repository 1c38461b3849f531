"""pydantic-ai: chat, responses and Anthropic models, with its default and a structured output type."""

from __future__ import annotations

import asyncio

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
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


class City(BaseModel):
    name: str
    population: int


def _openai() -> OpenAIProvider:
    return OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY)


WAYS = {
    "chat": lambda: OpenAIChatModel(MODEL, provider=_openai()),
    "responses": lambda: OpenAIResponsesModel(MODEL, provider=_openai()),
    "anthropic": lambda: AnthropicModel(
        MODEL, provider=AnthropicProvider(base_url=URL, api_key=KEY)
    ),
}


@for_each(WAYS)
async def hello(model, way) -> None:
    agent = Agent(model)
    has((await agent.run(HELLO)).output, "Hello")
    async with agent.run_stream(HELLO) as result:
        has("".join([text async for text in result.stream_text(delta=True)]), "Hello")


@for_each(WAYS)
async def tools(model, way) -> None:
    agent = Agent(model, tools=[weather])
    first = await agent.run(WEATHER)
    has(first.output, SUNNY)
    second = await agent.run(FIRST, message_history=first.all_messages())
    has(second.output, WEATHER)


@for_each(WAYS)
async def structured(model, way) -> None:
    """The default way of an output type: a tool that must be called."""
    agent = Agent(model, output_type=City, tools=[weather])
    first = await agent.run(WEATHER)
    assert isinstance(first.output, City)
    assert any(
        "weather" in repr(message) and SUNNY in repr(message) for message in first.all_messages()
    )
    second = await agent.run("Another one.", message_history=first.all_messages())
    assert isinstance(second.output, City)
    async with agent.run_stream("One more.", message_history=second.all_messages()) as result:
        assert isinstance(await result.get_output(), City)


@for_each(WAYS)
async def structured_natively(model, way) -> None:
    if way != "anthropic":
        result = await Agent(model, output_type=NativeOutput(City)).run("Describe a city.")
        assert result.output == City(name="Ada", population=42)
    result = await Agent(model, output_type=[City, str]).run(HELLO)
    assert isinstance(result.output, City | str)


@for_each(WAYS)
async def cancel(model, way) -> None:
    prompt = slowly(way)
    async with Agent(model).run_stream(prompt) as result:
        count = 0
        async for _ in result.stream_text(delta=True, debounce_by=None):
            count += 1
            if count == COUNTED:
                break
    await asyncio.to_thread(closed_by_client, prompt)


main()
