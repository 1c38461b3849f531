"""Goal: a real model behind every kind of provider, in every dialect: it runs, and a cancel frees it.

A llama.cpp server speaks all three wire formats; its `/slots` tells whether it still works.
"""

from __future__ import annotations

import pytest

from tests.conformance.calls import Streaming, cancel, create, new_name, state
from tests.conformance.cases import admin_record
from tests.real_model.test_llama_cpp import busy_slots
from tests.support.dialect_clients import CLIENTS
from tests.support.instance import Instance, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.real_model]

MODELS = ("gemma", "gemma-messages", "gemma-responses")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dialect", CLIENTS)
def test_a_stream_runs_and_a_cancel_frees_the_slot(
    midstream: Instance, llama: str, dialect: str, model: str
) -> None:
    client = CLIENTS[dialect]
    wait_until(lambda: busy_slots(llama) == 0, "the model is idle")
    name = new_name()
    # A small model that is told to be random does not end before its limit.
    body = client.body(model, 3_000, temperature=1.0)
    with Streaming(midstream, client, name, body) as stream:
        stream.wait_for_text()
        assert busy_slots(llama) == 1
        assert cancel(midstream, client, name).status_code == 200
        wait_until(lambda: busy_slots(llama) == 0, "the cancel frees the slot", 10)
        stream.join()
    assert state(midstream, client, name) == "cancelled"
    record = admin_record(midstream, client, name)
    assert record["tokens_output"] > 0
    assert record["credits"] > 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dialect", CLIENTS)
def test_a_whole_answer_is_charged_as_the_provider_reported(
    midstream: Instance, dialect: str, model: str
) -> None:
    client = CLIENTS[dialect]
    name = new_name()
    answer = create(midstream, client, name, client.body(model, 20))
    assert answer.status_code == 200, answer.text
    assert client.text(answer.json())
    basis = admin_record(midstream, client, name)["record"]["midstream"]["charge_basis"]
    assert basis == {"prompt": "provider_usage", "output": "provider_usage"}
