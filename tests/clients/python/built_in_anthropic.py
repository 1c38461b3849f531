"""The Anthropic SDK's `.messages.stream` on every built-in model."""

from __future__ import annotations

import anthropic
from asked import HELLO, KEY, URL, for_each, main

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)

OTHERS = ("sim-error", "sim-stall", "sim-slow", "sim-long")
MODELS = [one.id for one in client.models.list(limit=100) if one.id.startswith("sim")]
MODELS = [one for one in MODELS if not one.startswith(OTHERS)]


@for_each({model: lambda model=model: model for model in MODELS})
def messages(model, way) -> None:
    ask = [{"role": "user", "content": HELLO}]
    with client.messages.stream(model=model, max_tokens=4_000, messages=ask) as stream:
        for _ in stream:
            pass
        final = stream.get_final_message()
    assert final.stop_reason in ("end_turn", "tool_use", "refusal"), final


main()
