"""Goal: a stream is stopped from another connection, the upstream really stops, the charge is exact.

Every figure is held against the simulator's own log and the bytes the client received, never against
the log of the completion under test.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.chat_streams import body, credits_of, stream
from tests.support.instance import Instance, wait_until

pytestmark = pytest.mark.ray


def cancel(instance: Instance, completion_id: str, **options: object) -> httpx.Response:
    key = str(options.pop("key", "")) or None
    with instance.client(*([key] if key else [])) as client:
        return client.post(f"/v1/chat/completions/{completion_id}/cancel", **options)  # type: ignore[arg-type]


def held(instance: Instance) -> float:
    with instance.client() as client:
        return float(client.get("/v1/balance").json()["held_credits"])


def without_request_id(data: bytes) -> bytes:
    return re.sub(rb"req_[0-9A-Z]{26}", b"req_", data)


def test_a_cancel_stops_the_stream_and_charges_exactly_what_was_produced(
    midstream: Instance,
) -> None:
    reader = stream(midstream, "sim-long", max_tokens=2_000).wait_for_tokens(5)
    answer = cancel(midstream, reader.completion_id)
    reader.join()
    seen = midstream.simulated(reader.completion_id)

    assert answer.status_code == 200
    record = answer.json()
    assert record["status"] == "cancelled"
    assert seen["closed_by"] == "client"
    assert reader.last["choices"][0]["finish_reason"] == "cancelled"
    assert reader.has_done
    assert reader.last["usage"] == record["usage"]

    tokens = len(reader.tokens)
    assert record["usage"]["completion_tokens"] == tokens, "charged - delivered = 0"
    assert tokens <= seen["tokens_sent"]
    assert record["usage"]["credits_charged"] == credits_of(seen["prompt_tokens"], tokens)
    with midstream.client() as client:
        stored = client.get(f"/v1/chat/completions/{reader.completion_id}").json()
    assert stored == record
    assert stored["choices"][0]["message"]["content"] == "".join(reader.tokens)
    wait_until(lambda: held(midstream) == 0, "the hold is resolved")


def test_a_second_cancel_is_refused(midstream: Instance) -> None:
    reader = stream(midstream, "sim-long", max_tokens=500).wait_for_tokens(1)
    assert cancel(midstream, reader.completion_id).status_code == 200
    again = cancel(midstream, reader.completion_id)
    reader.join()
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "chat_cancel_target_already_terminal"


def test_another_teams_id_is_as_unknown_as_one_that_never_was(midstream: Instance) -> None:
    key = midstream.new_team("strangers")
    reader = stream(midstream, "sim-long", max_tokens=500).wait_for_tokens(1)
    foreign = cancel(midstream, reader.completion_id, key=key)
    unknown = cancel(midstream, "cmp_01JB3T9K5N6P7Q8R9S0T1V2W3X", key=key)
    assert foreign.status_code == unknown.status_code == 404
    assert without_request_id(foreign.content) == without_request_id(unknown.content)
    with midstream.client(key) as client:
        answers = [
            client.get(f"/v1/chat/completions/{name}")
            for name in (reader.completion_id, "cmp_01JB3T9K5N6P7Q8R9S0T1V2W3X")
        ]
    assert [a.status_code for a in answers] == [404, 404]
    assert without_request_id(answers[0].content) == without_request_id(answers[1].content)
    assert cancel(midstream, reader.completion_id).status_code == 200
    reader.join()


def test_a_waiting_caller_is_told_of_the_cancel(midstream: Instance) -> None:
    with ThreadPoolExecutor(1) as pool, midstream.client() as client:
        waiting = pool.submit(
            client.post,
            "/v1/chat/completions",
            json=body("sim-long", max_tokens=2_000),
            headers={"Midstream-Completion-Id": "waiting-caller"},
        )
        wait_until(
            lambda: cancel(midstream, "waiting-caller").status_code == 200, "the cancel is accepted"
        )
        answer = waiting.result(30)
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    assert answer.json()["id"] == "waiting-caller"


def test_a_cancel_that_came_first_is_remembered_when_asked(midstream: Instance) -> None:
    assert cancel(midstream, "comes-later").status_code == 404
    remembered = cancel(midstream, "comes-later", headers={"Midstream-If-Absent": "remember"})
    assert remembered.status_code == 202
    assert remembered.json()["status"] == "remembered"
    reader = stream(midstream, headers={"Midstream-Completion-Id": "comes-later"}).join()
    assert reader.last["choices"][0]["finish_reason"] == "cancelled"
    assert reader.last["usage"]["credits_charged"] == 0
    assert reader.tokens == []


def test_sixteen_cancels_at_once_beside_the_natural_end_agree(midstream: Instance) -> None:
    """One terminal state, one charge, equal bodies; the only other answer is the terminal 409."""
    with ThreadPoolExecutor(16) as pool:
        for round_number in range(4):
            before = _credits(midstream)
            reader = stream(midstream, "sim", max_tokens=20).wait_for_tokens(17 + round_number % 3)
            name = reader.completion_id
            answers = list(pool.map(lambda _, n=name: cancel(midstream, n), range(16)))
            reader.join()
            ok = [a.json() for a in answers if a.status_code == 200]
            refused = [a for a in answers if a.status_code != 200]
            assert all(a.status_code == 409 for a in refused), [a.text for a in refused]
            codes = {a.json()["error"]["code"] for a in refused}
            assert codes <= {"chat_cancel_target_already_terminal"}
            with midstream.client() as client:
                stored = client.get(f"/v1/chat/completions/{name}").json()
            assert all(record == stored for record in ok)
            assert reader.last["usage"] == stored["usage"]
            assert _credits(midstream) == pytest.approx(
                before - stored["usage"]["credits_charged"], abs=1e-9
            )


def _credits(instance: Instance) -> float:
    with instance.client() as client:
        return float(client.get("/v1/balance").json()["credits"])


def test_hanging_up_cancels_and_continue_does_not(midstream: Instance) -> None:
    leaver = stream(midstream, "sim-long", max_tokens=2_000).wait_for_tokens(3)
    leaver.close()
    wait_until(
        lambda: midstream.simulated(leaver.completion_id)["closed_by"] == "client",
        "the upstream is closed",
    )
    with midstream.client() as client:
        record = wait_until(
            lambda: _terminal(client, leaver.completion_id), "the record is terminal"
        )
    assert record["error"]["code"] == "cancelled_client_disconnect"

    keeper = stream(
        midstream, "sim", max_tokens=60, headers={"Midstream-On-Disconnect": "continue"}
    ).wait_for_tokens(3)
    keeper.close()
    with midstream.client() as client:
        record = wait_until(
            lambda: _terminal(client, keeper.completion_id), "the record is terminal"
        )
    assert record["status"] == "completed"
    assert record["usage"]["completion_tokens"] == 60


def _terminal(client: httpx.Client, completion_id: str) -> dict[str, object] | None:
    record = client.get(f"/v1/chat/completions/{completion_id}").json()
    return record if record["status"] != "in_progress" else None
