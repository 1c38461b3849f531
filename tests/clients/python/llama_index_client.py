"""LlamaIndex: FunctionAgent and ReActAgent on OpenAILike, and its model by itself."""

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
    has,
    main,
    scenario,
    slowly,
    weather,
)
from llama_index.core import set_global_tokenizer
from llama_index.core.agent.workflow import FunctionAgent, ReActAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import Memory
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

# Its own counting of tokens would fetch a vocabulary.
set_global_tokenizer(str.split)


class City(BaseModel):
    """A city."""

    name: str
    population: int


def model(functions: bool = True) -> OpenAILike:
    return OpenAILike(
        model=MODEL,
        api_base=f"{URL}/v1",
        api_key=KEY,
        is_chat_model=True,
        is_function_calling_model=functions,
        max_retries=0,
    )


async def asked_twice(agent) -> None:
    memory = Memory.from_defaults(session_id="asked", token_limit=40_000)
    has(await agent.run(WEATHER, memory=memory), SUNNY)
    has(await agent.run(FIRST, memory=memory), WEATHER)


@scenario
def hello() -> None:
    has(model().chat([ChatMessage(role="user", content=HELLO)]).message.content, "Hello")
    pieces = list(model().stream_chat([ChatMessage(role="user", content=HELLO)]))
    has("".join(piece.delta or "" for piece in pieces), "Hello")


@scenario
async def function_agent() -> None:
    await asked_twice(FunctionAgent(tools=[weather], llm=model(), system_prompt="Be brief."))


@scenario
async def react_agent() -> None:
    await asked_twice(ReActAgent(tools=[weather], llm=model(functions=False)))


@scenario
def structured() -> None:
    answer = model().structured_predict(City, _prompt())
    assert answer == City(name="Ada", population=42)


def _prompt():
    from llama_index.core.prompts import PromptTemplate

    return PromptTemplate("Describe a city.")


@scenario
async def cancel() -> None:
    prompt = slowly()
    begun = asyncio.Event()

    async def counts() -> None:
        count = 0
        async for _ in await model().astream_chat([ChatMessage(role="user", content=prompt)]):
            count += 1
            if count == COUNTED:
                begun.set()

    counting = asyncio.create_task(counts())
    await begun.wait()
    counting.cancel()
    await asyncio.gather(counting, return_exceptions=True)
    await asyncio.to_thread(closed_by_client, prompt)


main()
