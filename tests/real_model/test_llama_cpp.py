"""Goal: with a real model behind it, streams run, a cancel frees the model, the bill is the provider's.

The model is a small one on a llama.cpp server, whose `/slots` tells whether it still works and whose
`usage` is the figure that the charge is held against. Nothing here is simulated.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.chat_streams import ChatStream, body, credits_of, stream
from tests.support.instance import Instance, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.real_model]

STORY = [{"role": "user", "content": "Tell me a very long story about a lake and its village."}]


def busy_slots(llama: str) -> int:
    slots = httpx.get(f"{llama}/slots", trust_env=False, timeout=30).raise_for_status().json()
    return sum(slot["is_processing"] for slot in slots)


def ask_directly(llama: str, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the server itself; what it reports is the truth about this prompt."""
    answer = httpx.post(
        f"{llama}/v1/chat/completions",
        json={**request, "model": "gemma"},
        trust_env=False,
        timeout=60,
    )
    return dict(answer.raise_for_status().json())


def story(model: str, **members: Any) -> dict[str, Any]:
    """A request that does not end by itself before its limit, and is the same every time."""
    return body(model, messages=STORY, temperature=0, ignore_eos=True, **members)


def cancel_in_mid_stream(midstream: Instance, llama: str, model: str) -> ChatStream:
    """Open a long stream, cancel it from another connection, see the model fall silent."""
    wait_until(lambda: busy_slots(llama) == 0, "the model is idle")
    members = story(model, max_tokens=3_000)
    reader = stream(midstream, **members).wait_for_tokens(10)
    assert busy_slots(llama) == 1
    with midstream.client() as client:
        answer = client.post(f"/v1/chat/completions/{reader.completion_id}/cancel")
    assert answer.status_code == 200
    wait_until(lambda: busy_slots(llama) == 0, "the cancel frees the slot", 10)
    reader.join()
    assert reader.has_done
    assert reader.last["choices"][0]["finish_reason"] == "cancelled"
    assert reader.last["usage"] == answer.json()["usage"]
    return reader


def record_of(midstream: Instance, reader: ChatStream) -> dict[str, Any]:
    with midstream.client() as client:
        return dict(client.get(f"/v1/chat/completions/{reader.completion_id}").json())


BOTH = {"prompt": "provider_usage", "output": "provider_usage"}


@pytest.mark.parametrize("model", ["gemma", "gemma-running"])
def test_a_completed_stream_is_charged_as_the_provider_reported(
    midstream: Instance, llama: str, model: str
) -> None:
    request = body(model, messages=STORY, temperature=0, max_tokens=400, stop=["."])
    truth = ask_directly(llama, request)["usage"]
    reader = stream(midstream, **request).join()
    assert reader.has_done, reader.raw[-500:]
    assert reader.last["choices"][0]["finish_reason"] == "stop"
    usage = reader.last["usage"]
    assert usage["prompt_tokens"] == truth["prompt_tokens"]
    assert usage["completion_tokens"] == truth["completion_tokens"]
    assert usage["credits_charged"] == credits_of(
        truth["prompt_tokens"], truth["completion_tokens"]
    )
    record = record_of(midstream, reader)
    assert record["midstream"]["charge_basis"] == BOTH
    assert record["choices"][0]["message"]["content"] == "".join(reader.tokens)


@pytest.mark.parametrize("model", ["gemma", "gemma-running"])
def test_an_answer_has_all_the_tokens_that_were_asked_for(
    midstream: Instance, llama: str, model: str
) -> None:
    """The model's own template makes the prompt longer than was held: that is absorbed."""
    truth = ask_directly(llama, story(model, max_tokens=40))["usage"]
    reader = stream(midstream, **story(model, max_tokens=40)).join()
    assert reader.last["choices"][0]["finish_reason"] == "length"
    usage = reader.last["usage"]
    assert usage["prompt_tokens"] == truth["prompt_tokens"]
    assert usage["completion_tokens"] == truth["completion_tokens"] == 40
    money = record_of(midstream, reader)["midstream"]
    assert money["charge_basis"] == BOTH
    hold = money["hold"]
    assert usage["credits_charged"] == hold["charged_credits"] == hold["placed_credits"]
    actual = credits_of(truth["prompt_tokens"], 40)
    assert hold["charged_credits"] + hold["absorbed_credits"] == pytest.approx(actual, abs=1e-9)


def test_a_collected_answer_is_the_models_own(midstream: Instance, llama: str) -> None:
    request = story("gemma", max_tokens=24, seed=7)
    ask_directly(llama, request)  # A prompt that is cached may round differently from a new one.
    truth = ask_directly(llama, request)
    with midstream.client() as client:
        answer = client.post("/v1/chat/completions", json=request).json()
    assert answer["choices"][0]["message"]["content"] == truth["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens"] == truth["usage"]["prompt_tokens"]
    assert answer["usage"]["completion_tokens"] == truth["usage"]["completion_tokens"]


def test_a_cancel_frees_the_slot_and_says_that_it_estimates(
    midstream: Instance, llama: str
) -> None:
    """The provider reports nothing before its end, so both figures are our own, and called so."""
    reader = cancel_in_mid_stream(midstream, llama, "gemma")
    record = record_of(midstream, reader)
    usage = record["usage"]
    assert record["midstream"]["charge_basis"] == {"prompt": "estimated", "output": "estimated"}
    assert usage["completion_tokens"] > 0
    assert usage["credits_charged"] == credits_of(
        usage["prompt_tokens"], usage["completion_tokens"]
    )


def test_a_cancel_is_charged_by_the_providers_running_usage(
    midstream: Instance, llama: str
) -> None:
    ask_directly(llama, story("gemma", max_tokens=1))
    again = ask_directly(llama, story("gemma", max_tokens=1))
    assert again["timings"]["cache_n"] > 0, "the prompt is cached by now, and stays one prompt"
    truth = again["usage"]
    reader = cancel_in_mid_stream(midstream, llama, "gemma-running")
    record = record_of(midstream, reader)
    usage = record["usage"]
    assert record["midstream"]["charge_basis"] == BOTH
    assert usage["prompt_tokens"] == truth["prompt_tokens"]
    # Deltas of this server are one token each, but for characters that take several.
    assert usage["completion_tokens"] >= len(reader.tokens)
    assert usage["credits_charged"] == credits_of(
        usage["prompt_tokens"], usage["completion_tokens"]
    )


def test_hanging_up_frees_the_slot(midstream: Instance, llama: str) -> None:
    wait_until(lambda: busy_slots(llama) == 0, "the model is idle")
    reader = stream(midstream, **story("gemma", max_tokens=3_000)).wait_for_tokens(5)
    assert busy_slots(llama) == 1
    reader.close()
    wait_until(lambda: busy_slots(llama) == 0, "the slot is free", 10)
    record = wait_until(
        lambda: (r := record_of(midstream, reader))["status"] != "in_progress" and r,
        "it is settled",
    )
    assert record["error"]["code"] == "cancelled_client_disconnect"
