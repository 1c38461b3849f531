"""The OpenAI SDK: both its APIs, plain, by `.stream()` and by `.parse()`."""

from __future__ import annotations

import json

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
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)


class City(BaseModel):
    name: str
    population: int


class Weather(BaseModel):
    """Tell the weather of a city."""

    city: str


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
TOOL = {"type": "function", "name": "weather", "parameters": SCHEMA}


def user(text: str) -> dict:
    return {"role": "user", "content": text}


@scenario
def chat_hello() -> None:
    answer = client.chat.completions.create(model=MODEL, messages=[user(HELLO)])
    has(answer.choices[0].message.content, "Hello")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens > 0


@scenario
def chat_stream() -> None:
    with client.chat.completions.stream(model=MODEL, messages=[user(HELLO)]) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"content.delta", "content.done"} <= kinds
    has(final.choices[0].message.content, "Hello")


@scenario
def chat_tools() -> None:
    messages: list = [user(WEATHER)]
    for streamed in (False, True):
        if streamed:
            messages.append(user("And now, the weather again?"))
            with client.chat.completions.stream(
                model=MODEL, messages=messages, tools=[CHAT_TOOL]
            ) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            answer = client.chat.completions.create(
                model=MODEL, messages=messages, tools=[CHAT_TOOL]
            )
            assert answer.choices[0].finish_reason == "tool_calls"
            message = answer.choices[0].message
        call = message.tool_calls[0]
        messages.append(message.to_dict())
        for stale in ("parsed",):
            messages[-1].pop(stale, None)
        result = weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[CHAT_TOOL])
        has(answer.choices[0].message.content, SUNNY)
        messages.append(answer.choices[0].message.to_dict())
    messages.append(user(FIRST))
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[CHAT_TOOL])
    has(answer.choices[0].message.content, WEATHER)


@scenario
def chat_parse() -> None:
    answer = client.chat.completions.parse(
        model=MODEL, messages=[user("Describe a city.")], response_format=City
    )
    assert answer.choices[0].message.parsed == City(name="Ada", population=42)
    answer = client.chat.completions.parse(
        model=MODEL,
        messages=[user(WEATHER)],
        tools=[pydantic_function_tool(Weather)],
        tool_choice="required",
    )
    assert answer.choices[0].message.tool_calls[0].function.parsed_arguments == Weather(
        city="Paris"
    )


@scenario
def chat_required() -> None:
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        answer = client.chat.completions.create(
            model=MODEL, messages=[user(HELLO)], tools=[CHAT_TOOL], tool_choice=choice
        )
        assert answer.choices[0].message.tool_calls[0].function.name == "weather"


@scenario
def chat_many_turns() -> None:
    messages: list = []
    for _ in range(220):
        messages += [user("one more"), {"role": "assistant", "content": "yes"}]
    messages[0] = user("the very first")
    answer = client.chat.completions.create(model=MODEL, messages=[*messages, user(FIRST)])
    has(answer.choices[0].message.content, "the very first")


@scenario
def chat_cancel() -> None:
    prompt = slowly("chat")
    stream = client.chat.completions.create(model=MODEL, messages=[user(prompt)], stream=True)
    for count, _ in enumerate(stream):
        if count == COUNTED:
            stream.close()
            break
    closed_by_client(prompt)


@scenario
def responses_hello() -> None:
    answer = client.responses.create(model=MODEL, input=HELLO)
    has(answer.output_text, "Hello")
    assert answer.status == "completed"


@scenario
def responses_stream() -> None:
    with client.responses.stream(model=MODEL, input=HELLO) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    has(final.output_text, "Hello")


@scenario
def responses_tools() -> None:
    items: list = [user(WEATHER)]
    answer = client.responses.create(model=MODEL, input=items, tools=[TOOL])
    call = next(item for item in answer.output if item.type == "function_call")
    items += [item.to_dict() for item in answer.output]
    result = {"type": "function_call_output", "call_id": call.call_id}
    result["output"] = weather(**json.loads(call.arguments))
    items.append(result)
    with client.responses.stream(model=MODEL, input=items, tools=[TOOL]) as stream:
        answer = stream.get_final_response()
    has(answer.output_text, SUNNY)
    items += [*(item.to_dict() for item in answer.output), user(FIRST)]
    items = [{k: v for k, v in item.items() if k != "parsed_arguments"} for item in items]
    answer = client.responses.create(model=MODEL, input=items, tools=[TOOL])
    has(answer.output_text, WEATHER)


@scenario
def responses_tools_by_previous_id() -> None:
    answer = client.responses.create(model=MODEL, input=WEATHER, tools=[TOOL])
    call = next(item for item in answer.output if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": SUNNY}
    answer = client.responses.create(
        model=MODEL, input=[result], previous_response_id=answer.id, tools=[TOOL]
    )
    has(answer.output_text, SUNNY)
    answer = client.responses.create(model=MODEL, input=FIRST, previous_response_id=answer.id)
    has(answer.output_text, WEATHER)


@scenario
def responses_parse() -> None:
    answer = client.responses.parse(model=MODEL, input="Describe a city.", text_format=City)
    assert answer.output_parsed == City(name="Ada", population=42)


@scenario
def responses_required() -> None:
    for choice in ("required", {"type": "function", "name": "weather"}):
        answer = client.responses.create(model=MODEL, input=HELLO, tools=[TOOL], tool_choice=choice)
        assert [i.name for i in answer.output if i.type == "function_call"] == ["weather"]


@scenario
def responses_reasoning() -> None:
    answer = client.responses.create(
        model=MODEL,
        input=HELLO,
        store=False,
        reasoning={"effort": "low", "summary": "auto"},
        include=["reasoning.encrypted_content"],
    )
    has(answer.output_text, "Hello")
    items = [user(HELLO), *(item.to_dict() for item in answer.output), user(FIRST)]
    answer = client.responses.create(
        model=MODEL, input=items, store=False, reasoning={"effort": "low"}
    )
    has(answer.output_text, HELLO)


@scenario
def responses_cancel() -> None:
    prompt = slowly("responses")
    stream = client.responses.create(model=MODEL, input=prompt, stream=True)
    for count, _ in enumerate(stream):
        if count == COUNTED + 4:
            stream.close()
            break
    closed_by_client(prompt)


main()
