"""litellm as a client: by its OpenAI and Anthropic providers, plain, async and streamed."""

from __future__ import annotations

import asyncio
import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
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

litellm.telemetry = False


class City(BaseModel):
    name: str
    population: int


WAYS = {
    "openai": lambda: {"model": f"openai/{MODEL}", "api_base": f"{URL}/v1", "api_key": KEY},
    "anthropic": lambda: {"model": f"anthropic/{MODEL}", "api_base": URL, "api_key": KEY},
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


def user(text: str) -> dict:
    return {"role": "user", "content": text}


@for_each(WAYS)
async def hello(ask, way) -> None:
    answer = litellm.completion(**ask, messages=[user(HELLO)])
    has(answer.choices[0].message.content, "Hello")
    answer = await litellm.acompletion(**ask, messages=[user(HELLO)], stream=True)
    has("".join([chunk.choices[0].delta.content or "" async for chunk in answer]), "Hello")


@for_each(WAYS)
def tools(ask, way) -> None:
    messages: list = [user(WEATHER)]
    chunks = list(litellm.completion(**ask, messages=messages, tools=[TOOL], stream=True))
    message = litellm.stream_chunk_builder(chunks).choices[0].message
    call = message.tool_calls[0]
    result = weather(**json.loads(call.function.arguments))
    messages += [message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": result}]
    answer = litellm.completion(**ask, messages=messages, tools=[TOOL])
    has(answer.choices[0].message.content, SUNNY)
    messages += [answer.choices[0].message.model_dump(), user(FIRST)]
    answer = litellm.completion(**ask, messages=messages, tools=[TOOL])
    has(answer.choices[0].message.content, WEATHER)


@for_each(WAYS)
def required(ask, way) -> None:
    answer = litellm.completion(**ask, messages=[user(HELLO)], tools=[TOOL], tool_choice="required")
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"


@for_each(WAYS)
def structured(ask, way) -> None:
    answer = litellm.completion(**ask, messages=[user("Describe a city.")], response_format=City)
    City.model_validate_json(answer.choices[0].message.content)


@for_each({"responses": WAYS["openai"]})
def responses(ask, way) -> None:
    has(litellm.responses(**ask, input=HELLO).output_text, "Hello")


@for_each(WAYS)
async def cancel(ask, way) -> None:
    prompt = slowly(way)
    stream = await litellm.acompletion(**ask, messages=[user(prompt)], stream=True)
    count = 0
    async for _ in stream:
        count += 1
        if count == COUNTED:
            break
    await stream.aclose() if hasattr(stream, "aclose") else None
    await asyncio.to_thread(closed_by_client, prompt)


main()
