"""smolagents: the agent that calls tools and the one that writes code, plain and streamed."""

from __future__ import annotations

from asked import (
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
)
from smolagents import CodeAgent, OpenAIServerModel, ToolCallingAgent, tool


@tool
def weather(city: str) -> str:
    """Tell the weather of a city.

    Args:
        city: the city's name.
    """
    return f"{SUNNY} in {city}"


def model() -> OpenAIServerModel:
    return OpenAIServerModel(MODEL, api_base=f"{URL}/v1", api_key=KEY)


def asked_twice(agent) -> None:
    has(agent.run(WEATHER), SUNNY)
    has(agent.run(FIRST, reset=False), WEATHER)


@scenario
def tool_calling_agent() -> None:
    asked_twice(ToolCallingAgent(tools=[weather], model=model(), max_steps=4, verbosity_level=0))


@scenario
def tool_calling_agent_streams() -> None:
    agent = ToolCallingAgent(
        tools=[weather], model=model(), max_steps=4, verbosity_level=0, stream_outputs=True
    )
    asked_twice(agent)


@scenario
def code_agent() -> None:
    asked_twice(CodeAgent(tools=[weather], model=model(), max_steps=4, verbosity_level=0))


@scenario
def hello() -> None:
    message = [{"role": "user", "content": HELLO}]
    has(model().generate(message).content, "Hello")


@scenario
def cancel() -> None:
    prompt = slowly()
    asking = model()
    stream = asking.generate_stream([{"role": "user", "content": prompt}])
    for _ in range(3):
        next(stream)
    stream.close()
    asking.client.close()  # The generator leaves its connection to the model's client.
    closed_by_client(prompt)


main()
