"""The OpenAI SDK's `.stream()` helpers on every built-in model: they raise where an answer is cut short."""

from __future__ import annotations

from asked import HELLO, KEY, URL, for_each, main, scenario
from openai import OpenAI

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)

# Those that fail or take minutes by design, and those that say as much as the limit allows.
OTHERS = ("sim-error", "sim-stall", "sim-slow", "sim-long")
MODELS = [one.id for one in client.models.list() if one.id.startswith("sim")]
MODELS = [one for one in MODELS if not one.startswith(OTHERS)]


@scenario
def listed() -> None:
    assert {"sim", "sim-instant", "sim-tools", "sim-reasoning"} <= set(MODELS), MODELS


@for_each({model: lambda model=model: model for model in MODELS})
def chat(model, way) -> None:
    messages = [{"role": "user", "content": HELLO}]
    with client.chat.completions.stream(model=model, messages=messages) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason in ("stop", "tool_calls"), final


@for_each({model: lambda model=model: model for model in MODELS})
def responses(model, way) -> None:
    with client.responses.stream(model=model, input=HELLO) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().status == "completed"


main()
