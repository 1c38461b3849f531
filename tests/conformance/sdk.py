"""The official SDKs as a case of the table; what they can do beyond it is `tests/sdk`'s to show."""

from __future__ import annotations

import httpx

from tests.conformance.cases import Case, NotApplicable
from tests.sdk.clients import anthropic_client, openai_client
from tests.support.dialect_clients import PROMPT, DialectClient
from tests.support.instance import DEMO_KEY, Instance

__all__ = ["SDK_CASES"]


def works_with_its_sdk(instance: Instance, client: DialectClient) -> None:
    """Stream through the dialect's official SDK, base URL and key changed and nothing else."""
    speak = _SPEAK.get(client.name)
    if speak is None:
        raise NotApplicable("no SDK")
    with httpx.Client(trust_env=False) as http:
        whole = client.text(
            instance_answer := http.post(
                f"{instance.url}{client.path}",
                json=client.body("sim-instant", 20),
                headers={"Authorization": f"Bearer {DEMO_KEY}"},
                timeout=60,
            ).json()
        )
        assert whole, instance_answer
        assert speak(instance) == whole


def _chat(instance: Instance) -> str:
    with openai_client(instance.url) as client:
        chunks = client.chat.completions.create(
            model="sim-instant",
            max_tokens=20,
            stream=True,
            messages=[{"role": "user", "content": PROMPT}],
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def _responses(instance: Instance) -> str:
    with (
        openai_client(instance.url) as client,
        client.responses.stream(model="sim-instant", max_output_tokens=20, input=PROMPT) as stream,
    ):
        # Its final response is for answers that end by themselves; this one ends at its limit.
        return "".join(
            event.delta for event in stream if event.type == "response.output_text.delta"
        )


def _messages(instance: Instance) -> str:
    messages = [{"role": "user", "content": PROMPT}]
    with (
        anthropic_client(instance.url) as client,
        client.messages.stream(model="sim-instant", max_tokens=20, messages=messages) as stream,
    ):
        return stream.get_final_text()


_SPEAK = {"chat": _chat, "responses": _responses, "messages": _messages}

SDK_CASES: dict[str, Case] = {"SDK": works_with_its_sdk}
