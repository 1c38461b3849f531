"""Cancelling and deleting responses in each state, responses of other teams, and those of providers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.core.errors import Failure, FailureCode
from actors.core.events import TextDelta, ToolCallDelta, ToolCallStarted
from actors.core.upstream import UpstreamBatch
from actors.ports.ledger import LIMITS_UNCHANGED, LimitsChange, PolicyChange
from actors.settings import Settings, SettingsError
from tests.http.responses_rig import PATH, answered, body, create, events, talking
from tests.http.rig import Rig, finish, rig, say, until

Body = Callable[[Rig], Awaitable[None]]


def run_in(folder: Path, test: Body, **options: Any) -> None:
    async def main() -> None:
        async with rig(folder, **options) as made:
            await test(made)

    asyncio.run(main())


async def other_team(run: Rig, limits: LimitsChange | None = None, **policy: bool) -> str:
    await run.ledger.create_team(
        "other",
        "org",
        credits_microcredits=1_000_000,
        limits=limits or LIMITS_UNCHANGED,
        policy=PolicyChange(**policy),
    )
    return (await run.ledger.create_key("other", "")).secret


# Cancelling.


def test_a_stream_that_is_cancelled_ends_as_incomplete(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call, upstream, path = await talking(run)
        answer = await run.ask("POST", f"{path}/cancel")
        await call.done()
        assert answer.status == 200 and upstream.is_closed
        response = answer.json
        assert (response["status"], response["error"]) == ("cancelled", None)
        assert response["output"][0]["status"] == "incomplete"
        assert response["midstream"]["source"] == "client_request"
        assert response["midstream"]["receipt"]["source"] == "client_request"
        last = events(call)[-1]
        assert last["type"] == "response.incomplete" and call.body.endswith(b"[DONE]\n\n")
        shown = dict(response, midstream=dict(response["midstream"]))
        shown["midstream"].pop("receipt")
        assert last["response"] == shown
        assert (await run.ask("POST", f"{path}/cancel")).json == response
        assert (await run.ask("GET", path)).json == response

    run_in(tmp_path, test)


def test_who_waits_for_a_body_is_told_that_it_was_cancelled(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call = create(run, headers={"Midstream-Completion-Id": "mine"})
        upstream = await run.upstream()
        upstream.open()
        say(upstream, TextDelta(0, "Lake", 1))
        await until(lambda: run.runtime.carrier.running, "it runs")
        answer = await run.ask("POST", f"{PATH}/mine/cancel", b"null")
        await call.done()
        assert (answer.status, call.status) == (200, 200)
        assert call.json["status"] == answer.json["status"] == "cancelled"

    run_in(tmp_path, test)


def test_a_background_response_is_cancelled(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        made = (await create(run, background=True).done()).json
        await run.upstream()
        answer = await run.ask("POST", f"{PATH}/{made['id']}/cancel", {})
        assert answer.json["status"] == "cancelled"
        assert answer.json["output"] == [] and answer.json["background"] is True

    run_in(tmp_path, test)


def test_a_call_that_was_cut_is_not_complete(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call = create(run, stream=True)
        upstream = await run.upstream()
        upstream.open()
        say(upstream, ToolCallStarted(0, "c", "pay", 1), ToolCallDelta(0, '{"a', 1))
        await until(lambda: len(events(call)) == 4, "the call")
        path = f"{PATH}/{upstream.command.wire_id}"
        (item,) = (await run.ask("POST", f"{path}/cancel")).json["output"]
        await call.done()
        assert item["status"] == "incomplete"
        assert not any(event["type"].endswith("arguments.done") for event in events(call))

    run_in(tmp_path, test)


def test_a_cancel_of_what_has_ended_changes_nothing(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        response = await answered(run)
        answer = await run.ask("POST", f"{PATH}/{response['id']}/cancel")
        assert (answer.status, answer.json) == (200, response)
        call, upstream, path = await talking(run)
        upstream.send(UpstreamBatch(failure=Failure(FailureCode.UPSTREAM_UNAVAILABLE, "Away.")))
        await call.done()
        answer = await run.ask("POST", f"{path}/cancel")
        assert (answer.status, answer.json["status"]) == (200, "failed")

    run_in(tmp_path, test)


def test_strictly_only_background_responses_are_cancelled(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call, upstream, path = await talking(run)
        answer = await run.ask("POST", f"{path}/cancel")
        assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")
        finish(upstream, 1)
        await call.done()
        assert events(call)[-1]["type"] == "response.completed"
        assert (await run.ask("POST", f"{path}/cancel")).status == 400
        made = (await create(run, background=True).done()).json
        answer = await run.ask("POST", f"{PATH}/{made['id']}/cancel")
        assert (answer.status, answer.json["status"]) == (200, "cancelled")

    run_in(tmp_path, test, strict_openai_cancel=True)


def test_the_setting_is_true_or_false() -> None:
    name = "MIDSTREAM_STRICT_OPENAI_CANCEL"
    assert Settings.from_environment({}).strict_openai_cancel is False
    assert Settings.from_environment({name: "true"}).strict_openai_cancel is True
    assert Settings.from_environment({name: "0"}).strict_openai_cancel is False
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: "yes"})


def test_a_cancel_can_come_first(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        remember = {"Midstream-If-Absent": "remember"}
        for query in ("", "?provider=simulator"):
            answer = await run.ask("POST", f"{PATH}/mine/cancel{query}", headers=remember)
            assert (answer.status, answer.json["status"]) == (202, "remembered")
        call = await create(run, headers={"Midstream-Completion-Id": "mine"}).done()
        assert call.json["status"] == "cancelled" and call.json["usage"]["total_tokens"] == 0
        assert run.provider.upstreams == []

    run_in(tmp_path, test)


def test_who_hangs_up_cancels(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        call, upstream, path = await talking(run)
        call.hang_up()
        await call.done()
        await run.settled()
        got = (await run.ask("GET", path)).json
        assert got["status"] == "cancelled" and upstream.is_closed
        assert got["midstream"]["source"] == "client_disconnect"

    run_in(tmp_path, test)


# Deleting, and what is not there.


def test_a_deleted_response_is_gone(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        response = await answered(run)
        path = f"{PATH}/{response['id']}"
        answer = await run.ask("DELETE", path)
        assert answer.json == {"id": response["id"], "object": "response", "deleted": True}
        call, upstream, running = await talking(run)
        assert (await run.ask("DELETE", running)).status == 200
        await call.done()
        assert upstream.is_closed
        for gone in (path, running):
            await unknown(run, gone)

    run_in(tmp_path, test)


async def unknown(run: Rig, path: str, **options: Any) -> bytes:
    """Hold every route to the same 404; return its bytes."""
    answers = [
        await run.ask("GET", path, **options),
        await run.ask("GET", f"{path}?stream=true", **options),
        await run.ask("GET", f"{path}?provider=simulator-background", **options),
        await run.ask("POST", f"{path}/cancel", **options),
        await run.ask("POST", f"{path}/cancel?provider=nobody", **options),
        await run.ask("GET", f"{path}/input_items", **options),
        await run.ask("DELETE", path, **options),
        await run.ask("DELETE", f"{path}?provider=simulator-background", **options),
    ]
    assert {answer.status for answer in answers} == {404}
    (said,) = {answer.body for answer in answers}
    assert answers[0].json["error"] == {
        "message": "No response with that id.",
        "type": "not_found_error",
        "param": None,
        "code": "response_not_found",
    }
    return said


def test_another_team_s_is_as_unknown_as_an_unknown_one(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        response = await answered(run)
        chat = run.create()
        upstream = await run.upstream(count=2)
        upstream.open()
        finish(upstream, 0)
        of_chat = (await chat.done()).json["id"]
        key = await other_team(run)
        theirs = await unknown(run, f"{PATH}/{response['id']}", key=key)
        assert theirs == await unknown(run, f"{PATH}/resp_none")
        assert theirs == await unknown(run, f"{PATH}/{of_chat}")
        assert theirs == await unknown(run, f"{PATH}/{'x' * 300}")

    run_in(tmp_path, test)


def test_a_hint_that_says_otherwise_is_ignored(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        response = await answered(run)
        path = f"{PATH}/{response['id']}"
        for query, named in (("provider=simulator", None), ("provider=other", "provider")):
            for method, at in (("GET", path), ("POST", f"{path}/cancel")):
                answer = await run.ask(method, f"{at}?{query}")
                assert (answer.status, answer.json) == (200, response)
                assert answer.headers.get("midstream-ignored") == named

    run_in(tmp_path, test)


def test_methods_and_paths(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        assert (await run.ask("GET", PATH)).status == 405
        assert (await run.ask("POST", f"{PATH}/resp_x")).status == 405
        answer = await run.ask("GET", f"{PATH}/resp_x", key=None)
        assert answer.status == 401
        assert answer.json["error"]["code"] == "invalid_api_key"

    run_in(tmp_path, test)


# Responses that a provider keeps.


def test_only_a_team_that_may_reaches_a_provider_s_own_responses(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        url = f"{run.simulator_url}{PATH}"
        async with httpx.AsyncClient(timeout=10) as upstream:
            made = (await upstream.post(url, json=body(model="sim-slow", background=True))).json()
            foreign = f"{PATH}/{made['id']}"
            await unknown(run, foreign)
            key = await other_team(run, native_passthrough=True)

            async def ask(method: str, path: str, provider: str = "simulator-background") -> Any:
                return await run.ask(method, f"{path}?provider={provider}", key=key)

            got = await ask("GET", foreign)
            assert (got.status, got.json["provider"]) == (200, "simulator-background")
            assert got.json["id"] == made["id"]
            items = await ask("GET", f"{foreign}/input_items")
            assert items.json["data"][0]["role"] == "user"
            assert (await run.ask("GET", foreign, key=key)).status == 404
            streamed = f"{foreign}?stream=true&provider=simulator-background"
            assert (await run.ask("GET", streamed, key=key)).status == 501
            answer = await ask("POST", f"{foreign}/cancel", "nobody")
            assert (answer.status, answer.json["error"]["param"]) == (400, "provider")
            answer = await ask("POST", f"{foreign}/cancel", "simulator")
            assert answer.status == 501
            assert answer.json["error"]["code"] == "unsupported_response_operation"
            answer = await ask("POST", f"{foreign}/cancel")
            assert (answer.status, answer.json["status"]) == (200, "cancelled")
            assert (await upstream.get(f"{url}/{made['id']}")).json()["status"] == "cancelled"
            assert (await ask("DELETE", foreign)).json["deleted"] is True
            assert (await ask("GET", foreign)).status == 404

    run_in(tmp_path, test, simulator=True)


def test_what_a_provider_is_asked_natively_draws_from_the_team_s_bucket(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        url = f"{run.simulator_url}{PATH}"
        async with httpx.AsyncClient(timeout=10) as upstream:
            made = (await upstream.post(url, json=body(model="sim-slow", background=True))).json()
        foreign = f"{PATH}/{made['id']}?provider=simulator-background"
        key = await other_team(run, LimitsChange(requests_per_minute=2), native_passthrough=True)
        assert (await run.ask("GET", foreign, key=key)).status == 200
        native = body(model="sim@responses")
        assert (await run.ask("POST", f"{PATH}/compact", native, key=key)).status == 200
        limited = await run.ask("POST", f"{PATH}/compact", native, key=key)
        assert limited.status == 429 and int(limited.headers["retry-after"]) > 0
        assert (await run.ask("GET", foreign, key=key)).status == 429
        cancel = foreign.replace("?", "/cancel?")
        assert (await run.ask("POST", cancel, key=key)).status == 200, "no limit refuses a cancel"

    run_in(tmp_path, test, simulator=True)


def test_a_compaction_lifts_no_limit(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        key = await other_team(run, native_passthrough=True)
        asked = body(model="sim@responses", service_tier="priority", previous_response_id=None)
        answer = await run.ask("POST", f"{PATH}/compact", asked, key=key)
        assert answer.status == 200
        assert "service_tier" in answer.headers["midstream-ignored"].split(", ")

    run_in(tmp_path, test, simulator=True)


def test_compaction_is_a_provider_s(tmp_path: Path) -> None:
    async def test(run: Rig) -> None:
        path = f"{PATH}/compact"
        native = body(model="sim@responses")
        refused = await run.ask("POST", path, native)
        assert refused.status == 501
        assert refused.json["error"]["code"] == "unsupported_response_operation"
        key = await other_team(run, native_passthrough=True)
        answer = await run.ask("POST", path, native, key=key)
        assert (answer.status, answer.json["object"]) == (200, "response.compaction")
        assert (await run.ask("POST", path, body(model="sim"), key=key)).status == 501
        for members, status in (({"model": None}, 400), ({"model": "none"}, 404)):
            assert (await run.ask("POST", path, body(**members), key=key)).status == status
        following = body(model="sim@responses", previous_response_id="resp_x")
        assert (await run.ask("POST", path, following, key=key)).status == 400

    run_in(tmp_path, test, simulator=True)
