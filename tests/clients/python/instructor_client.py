"""instructor: by tools, by JSON schema, and partial answers while they stream."""

from __future__ import annotations

import instructor
from asked import KEY, MODEL, URL, closed_by_client, main, scenario, slowly
from openai import OpenAI
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    population: int


def plain() -> OpenAI:
    return OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)


def client(mode: str):
    return instructor.from_openai(plain(), mode=getattr(instructor.Mode, mode))


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def _structured(mode: str) -> None:
    messages = [user("Describe a city.")]
    answer = client(mode).chat.completions.create(
        model=MODEL, response_model=City, messages=messages, max_retries=0
    )
    assert (answer.name, answer.population) == ("Ada", 42)
    messages += [{"role": "assistant", "content": answer.model_dump_json()}, user("Another.")]
    answer = client(mode).chat.completions.create(
        model=MODEL, response_model=City, messages=messages, max_retries=0
    )
    assert isinstance(answer, City)


@scenario
def structured_by_tools() -> None:
    _structured("TOOLS")


@scenario
def structured_by_json_schema() -> None:
    _structured("JSON_SCHEMA")


@scenario
def partial() -> None:
    *_, answer = client("TOOLS").chat.completions.create_partial(
        model=MODEL, response_model=City, messages=[user("Describe a city.")], max_retries=0
    )
    assert (answer.name, answer.population) == ("Ada", 42)


@scenario
def iterable() -> None:
    found = client("TOOLS").chat.completions.create_iterable(
        model=MODEL, response_model=City, messages=[user("List cities.")], max_retries=0
    )
    assert [(city.name, city.population) for city in found] == [("Ada", 42)]


@scenario
def cancel() -> None:
    prompt = slowly()
    stream = plain().chat.completions.create(model=MODEL, messages=[user(prompt)], stream=True)
    next(stream)
    next(stream)
    next(stream)
    stream.close()
    closed_by_client(prompt)


main()
