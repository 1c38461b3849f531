"""Goal: an answer in the background outlives everything but its owner, and a native one is stopped natively.

The provider's own log is the truth: it says how many tokens it made, and who ended the answer.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.conformance.calls import Streaming, ask, cancel, new_name, read, settled, state
from tests.conformance.cases import admin_record, seen_by_simulator
from tests.support.chat_streams import stream
from tests.support.dialect_clients import CLIENTS, frames_of
from tests.support.instance import Instance, is_alive, wait_until
from tests.support.redeploy import redeploy

pytestmark = pytest.mark.ray

IN_BACKGROUND = [name for name, client in CLIENTS.items() if client.background]
RESPONSES = CLIENTS["responses"]
TOKENS = 300


def start(instance: Instance, dialect: str, model: str, tokens: int) -> tuple[str, int]:
    """Create in the background on a connection that is closed at once; return name and replica."""
    client = CLIENTS[dialect]
    assert client.background is not None
    name = new_name()
    answer = ask(
        instance,
        ("POST", client.background),
        json=client.body(model, tokens, **client.background_members),
        headers=client.named(name),
    )
    assert answer.status_code == 200, answer.text
    return name, int(answer.headers["midstream-replica"].split("/")[1])


def test_it_outlives_the_replica_that_created_it_and_a_redeploy(midstream: Instance) -> None:
    """One per dialect, all at once: their replica is killed, then every replica is replaced."""
    started = {
        dialect: start(midstream, dialect, "sim-long", TOKENS * 3) for dialect in IN_BACKGROUND
    }
    for _, pid in started.values():
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    killed = {pid for _, pid in started.values()}
    redeploy(midstream)

    def is_served() -> bool:
        answer = ask(midstream, ("GET", "/healthz"))
        replica = answer.headers.get("midstream-replica", "/0")
        return answer.status_code == 200 and int(replica.split("/")[1]) not in killed

    wait_until(is_served, "a new replica answers", 120)
    for dialect, (name, _) in started.items():
        client = CLIENTS[dialect]
        ended = wait_until(
            lambda c=client, n=name: (
                (s := ask(midstream, c.read(n))).status_code == 200
                and c.state(s.json()) != "running"
                and c.state(s.json())
            ),
            f"{dialect} has ended",
            90,
        )
        assert ended == "completed"
        seen = seen_by_simulator(midstream, client, name)
        assert seen["closed_by"] == "server", "the upstream saw nobody leave"
        text = client.text_of(frames_of(ask(midstream, client.attach(name, -1)).content))
        assert text == seen["text_sent"]


def test_a_native_cancel_stops_the_provider_itself(midstream: Instance) -> None:
    """Its answer runs in the background over there: closing the connection would stop nothing."""
    name, _ = start(midstream, "responses", "sim-long@background", 2_000)
    wait_until(lambda: RESPONSES.text(read(midstream, RESPONSES, name)), "text comes")
    answer = cancel(midstream, RESPONSES, name)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "cancelled"
    seen = seen_by_simulator(midstream, RESPONSES, name)
    assert seen["closed_by"] == "cancel"
    wait_for_tokens_of_another(midstream, 25)
    later = seen_by_simulator(midstream, RESPONSES, name)
    assert later["tokens_sent"] == seen["tokens_sent"]
    record = admin_record(midstream, RESPONSES, name)
    assert record["tokens_output"] <= seen["tokens_sent"]


def wait_for_tokens_of_another(instance: Instance, count: int) -> None:
    """Let the simulator make so many tokens more, of a completion that is as fast: that is the clock."""
    clock = stream(instance, "sim-long", max_tokens=2_000).wait_for_tokens(1)
    try:
        made = instance.simulated(clock.completion_id)["tokens_sent"]
        wait_until(
            lambda: instance.simulated(clock.completion_id)["tokens_sent"] >= made + count,
            f"the simulator has made {count} tokens more",
        )
    finally:
        cancel(instance, CLIENTS["chat"], clock.completion_id)
        clock.join()


def test_an_answer_of_a_native_provider_is_whole(midstream: Instance) -> None:
    name, _ = start(midstream, "responses", "sim@background", 40)
    assert settled(midstream, RESPONSES, name) == "completed"
    seen = seen_by_simulator(midstream, RESPONSES, name)
    assert RESPONSES.text(read(midstream, RESPONSES, name)) == seen["text_sent"]


def test_nobody_reaches_a_foreign_response_through_its_provider(midstream: Instance) -> None:
    """A team without the right gets the 404 of an unknown id, and no provider is asked."""
    name, _ = start(midstream, "responses", "sim-long@background", 2_000)
    try:
        key = midstream.new_team(f"stranger-{name}")
        for query in ("", "?provider=simulator-background"):
            for method, suffix in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
                answer = ask(midstream, (method, f"/v1/responses/{name}{suffix}{query}"), key=key)
                assert answer.status_code == 404, answer.text
        assert state(midstream, RESPONSES, name) == "running"
    finally:
        cancel(midstream, RESPONSES, name)


def test_all_dialects_leave_the_same_record_of_the_same_completion(midstream: Instance) -> None:
    """A model that falls silent after five tokens, cancelled then: the figures cannot differ."""
    records = {}
    for dialect, client in CLIENTS.items():
        name = new_name()
        with Streaming(midstream, client, name, client.body("sim-stall", 60)) as stream:
            stream.wait_for_text()
            wait_until(
                lambda n=name, c=client: seen_by_simulator(midstream, c, n)["tokens_sent"] == 5,
                "it has said all that it says",
            )
            wait_until(
                lambda s=stream, n=name, c=client: (
                    s.text == seen_by_simulator(midstream, c, n)["text_sent"]
                ),
                "it has come",
            )
            assert cancel(midstream, client, name).status_code == 200
        record = admin_record(midstream, client, name)
        figures = ("status", "source", "failure", "tokens_output", "credits", "hold_credits")
        records[dialect] = {
            **{figure: record[figure] for figure in figures},
            "receipt": sorted(record["receipt"]),
            "receipt_source": record["receipt"]["source"],
        }
    assert records["chat"]["tokens_output"] == 5
    assert all(record == records["chat"] for record in records.values()), records
