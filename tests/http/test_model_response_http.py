"""The model-response routes on the whole application: create, read, follow, and the decision table.

Goal: each row of the contract's cancel table answers as it says, in its order; a background response
needs no connection; status and stream say the same. Method: the application in memory, a scripted provider.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import Failure, FailureCode
from actors.core.events import TextDelta
from actors.core.upstream import UpstreamBatch
from tests.http.rig import ADMIN_KEY, DEADLINE_S, Asgi, Rig, finish, rig, say, until

PATH = "/v1/model/response"
ORGANIZATION = "organizationId=org"
GONE = {"x-api-key": "al_live_" + "0" * 64}


def tell(folder: Path, story: Callable[[Rig], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        async with rig(folder, **options) as made:
            await story(made)

    asyncio.run(whole())


def body(**members: Any) -> dict[str, Any]:
    return {
        "organization_id": "org",
        "model": "sim-instant",
        "inputs": [{"role": "user", "texts": [{"text": "Name a lake."}]}],
        "maxOutputSynapses": 2,
        **members,
    }


def create(made: Rig, headers: dict[str, str] | None = None, **members: Any) -> Asgi:
    return made.call("POST", PATH, body(**members), headers=headers).start()


def frames(call: Asgi) -> list[tuple[int, str, dict[str, Any]]]:
    found = re.findall(rb"^id: (\d+)\nevent: (\S+)\ndata: (.*)$", call.body, re.M)
    return [(int(number), name.decode(), json.loads(data)) for number, name, data in found]


async def answered(made: Rig, *texts: str, **members: Any) -> Asgi:
    """Create a response that says so, and wait for its end."""
    before = len(made.provider.upstreams)
    call = create(made, **members)
    upstream = await made.upstream(count=before + 1)
    upstream.open()
    say(upstream, *(TextDelta(0, text, 1) for text in texts))
    finish(upstream, len(texts))
    return await call.done()


async def begun(made: Rig, **members: Any) -> str:
    """Create a response in the background that has said one word; return its path."""
    before = len(made.provider.upstreams)
    created = await create(made, background=True, **members).done()
    assert created.status == 200, created.body
    upstream = await made.upstream(count=before + 1)
    upstream.open()
    say(upstream, TextDelta(0, "Ta", 1))
    path = f"{PATH}/{created.json['id']}"
    await status(made, path, output_tokens=1)
    return path


async def status(made: Rig, path: str, *, output_tokens: int) -> dict[str, Any]:
    """Return how a response stands that has said so much."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            shown = (await made.ask("GET", f"{path}?{ORGANIZATION}")).json
            if shown["usage"]["output_tokens"] >= output_tokens:
                return dict(shown)
            await asyncio.sleep(0.005)


async def fails(made: Rig) -> str:
    path = await begun(made)
    failure = Failure(FailureCode.UPSTREAM_UNAVAILABLE, "It went away.", 503)
    (await made.upstream()).send(UpstreamBatch((), failure=failure))
    await made.settled()
    return path


def test_a_response_that_is_waited_for_has_choices(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        created = await answered(made, "Ta", "hoe")
        assert created.status == 200
        value = created.json
        assert value["id"].startswith("resp_")
        assert created.headers["midstream-completion-id"] == value["id"]
        assert created.headers["aitronos-organization"] == "org"
        assert created.headers["x-request-id"].startswith("req_")
        assert value["choices"] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Tahoe"},
                "finishReason": "stop",
            }
        ]
        assert value["usage"] == {
            "input_tokens": 8,
            "output_tokens": 2,
            "total_tokens": 10,
            "inputNeurons": 1,
            "outputSynapses": 1,
        }
        command = made.provider.upstreams[0].command
        assert command.max_output_tokens == 20
        shown = await made.ask("GET", f"{PATH}/{value['id']}?{ORGANIZATION}")
        assert shown.json["status"] == "completed"
        assert shown.json["output"][0]["content"] == [{"type": "output_text", "text": "Tahoe"}]
        assert shown.json["createdAt"] <= shown.json["startedAt"] <= shown.json["completedAt"]
        assert shown.json["usage"] == value["usage"]

    tell(tmp_path, story)


def test_a_stream_says_what_its_status_says_afterwards(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        created = await answered(made, "Ta", "hoe", stream=True)
        assert created.headers["content-type"].startswith("text/event-stream")
        assert b"[DONE]" not in created.body
        names = [name for _, name, _ in frames(created)]
        assert names == [
            "response.created",
            "response.output_item.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.completed",
        ]
        path = f"{PATH}/{created.headers['midstream-completion-id']}"
        last = frames(created)[-1][2]
        shown = (await made.ask("GET", f"{path}?{ORGANIZATION}")).json
        assert last["usage"] == shown["usage"]
        for after in range(-1, len(names)):
            query = f"{ORGANIZATION}&stream=true&starting_after={after}"
            again = await made.ask("GET", f"{path}?{query}".replace("&starting_after=-1", ""))
            assert frames(again) == frames(created)[after + 1 :]

    tell(tmp_path, story)


def test_a_background_response_goes_on_and_tells_how_far_it_is(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        created = await create(made, background=True).done()
        assert set(created.json) == {"id", "status", "created_at"}
        assert created.json["status"] == "queued"
        path = f"{PATH}/{created.json['id']}"
        upstream = await made.upstream()
        upstream.open()
        say(upstream, *(TextDelta(0, word, 1) for word in ("Lake", " Ta", "hoe", ".", "!")))
        shown = await status(made, path, output_tokens=5)
        assert shown["status"] == "processing"
        assert shown["completedAt"] is None
        assert "output" not in shown
        assert shown["midstream"]["output_text"] == "Lake Tahoe.!"
        # 5 of 20 tokens.
        assert shown["progress"] == {
            "percentage": 25,
            "stage": "generating_output",
            "stepsCompleted": 2,
            "totalSteps": 3,
        }
        finish(upstream, 5)
        await made.settled()
        ended = (await made.ask("GET", f"{path}?{ORGANIZATION}")).json
        assert ended["status"] == "completed"
        assert "progress" not in ended

    tell(tmp_path, story)


# The decision table, in its order: each call is wrong in all that comes after its row, too.


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_row_1_the_key_comes_first(tmp_path: Path, method: str) -> None:
    async def story(made: Rig) -> None:
        for options in ({"key": None}, {"key": None, "headers": GONE}, {"key": ADMIN_KEY}):
            refused = await made.ask(method, f"{PATH}/resp_none?stream=x", **options)
            assert refused.status == 401
            assert refused.json == {
                "error": {
                    "message": "Invalid API key provided",
                    "type": "authentication_error",
                    "code": "invalid_api_key",
                }
            }

    tell(tmp_path, story)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_row_2_an_organization_has_to_be_named(tmp_path: Path, method: str) -> None:
    async def story(made: Rig) -> None:
        for query in ("", "?organizationId=", "?stream=x"):
            refused = await made.ask(method, f"{PATH}/resp_none{query}")
            assert refused.status == 400
            error = refused.json["error"]
            assert (error["code"], error["param"]) == (
                "missing_required_parameter",
                "organizationId",
            )

    tell(tmp_path, story)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_row_3_another_organization_is_denied_whether_it_exists_or_not(
    tmp_path: Path, method: str
) -> None:
    async def story(made: Rig) -> None:
        await made.ledger.create_team("other", "org_b", credits_microcredits=1)
        path = await begun(made)
        answers = [
            await made.ask(method, f"{target}?{name}={organization}")
            for target in (path, f"{PATH}/resp_none")
            for organization in ("org_b", "org_nowhere")
            for name in ("organizationId", "organization_id")
        ]
        assert {answer.status for answer in answers} == {403}
        assert {answer.body for answer in answers} == {answers[0].body}
        assert answers[0].json["error"]["message"] == "Organization access denied"
        assert len(made.runtime.carrier.running) == 1

    tell(tmp_path, story)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_row_4_what_is_not_there_and_what_is_anothers_are_the_same(
    tmp_path: Path, method: str
) -> None:
    async def story(made: Rig) -> None:
        await made.ledger.create_team("other", "org_b", credits_microcredits=1)
        key = (await made.ledger.create_key("other", "")).secret
        path = await begun(made)
        chat = await made.call("POST", "/v1/chat/completions", {}).start().done()
        assert chat.status == 400
        unknown = await made.ask(method, f"{PATH}/resp_none?{ORGANIZATION}")
        others = await made.ask(method, f"{path}?organizationId=org_b", key=key)
        assert unknown.status == others.status == 404
        assert unknown.body == others.body
        assert unknown.json["error"]["message"] == "Response not found"

    tell(tmp_path, story)


def test_row_5_what_completed_or_was_cancelled_is_final(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        completed = await answered(made, "Tahoe")
        path = await begun(made)
        assert (await made.ask("DELETE", f"{path}?{ORGANIZATION}")).status == 200
        for target in (f"{PATH}/{completed.json['id']}", path):
            refused = await made.ask("DELETE", f"{target}?{ORGANIZATION}")
            assert refused.status == 409
            assert refused.json == {
                "error": {
                    "message": "Response already completed or cancelled",
                    "type": "invalid_request_error",
                    "code": "response_already_finalized",
                }
            }

    tell(tmp_path, story)


def test_row_6_what_failed_cannot_be_cancelled(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        path = await fails(made)
        refused = await made.ask("DELETE", f"{path}?{ORGANIZATION}")
        assert refused.status == 400
        assert refused.json == {
            "error": {
                "message": "Response cannot be cancelled. Only responses with status "
                "'processing' can be cancelled.",
                "type": "invalid_request_error",
                "code": "invalid_status",
                "param": "response_id",
            }
        }
        shown = (await made.ask("GET", f"{path}?{ORGANIZATION}")).json
        assert shown["status"] == "failed"
        assert set(shown["error"]) == {"message", "code", "type"}
        assert "output" not in shown

    tell(tmp_path, story)


def test_row_7_a_processing_response_is_cancelled(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        path = await begun(made)
        reader = made.call("GET", f"{path}?{ORGANIZATION}&stream=true").start()
        await until(lambda: b"Ta" in reader.body, "the reader has the word")
        cancelled = await made.ask("DELETE", f"{path}?{ORGANIZATION}")
        assert cancelled.status == 200
        value = cancelled.json
        assert {**value, "cancelledAt": 0} == {
            "id": path.rpartition("/")[2],
            "object": "response",
            "status": "cancelled",
            "cancelledAt": 0,
            "message": "Response cancelled successfully",
        }
        _, name, data = frames(await reader.done())[-1]
        assert (name, data["status"], data["cancelledAt"]) == (
            "response.cancelled",
            "cancelled",
            value["cancelledAt"],
        )
        shown = (await made.ask("GET", f"{path}?{ORGANIZATION}")).json
        assert (shown["status"], shown["completedAt"]) == ("cancelled", None)
        assert shown["cancelledAt"] == value["cancelledAt"]
        assert "output" not in shown
        assert shown["usage"]["output_tokens"] == 1
        assert shown["midstream"]["receipt"]["source"] == "client_request"
        assert await made.held() == 0

    tell(tmp_path, story)


def test_a_response_that_was_cancelled_before_its_start_is_born_cancelled(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        remember = {"midstream-if-absent": "remember"}
        path = f"{PATH}/mine?{ORGANIZATION}"
        assert (await made.ask("DELETE", path, headers=remember)).status == 202
        created = await create(made, headers={"midstream-completion-id": "mine"}).done()
        assert created.status == 200
        assert (created.json["status"], created.json["choices"][0]["message"]["content"]) == (
            "cancelled",
            "",
        )
        assert (await made.ask("DELETE", path)).status == 409

    tell(tmp_path, story)


# Creating.


@pytest.mark.parametrize(
    ("members", "status", "code"),
    [
        ({"organization_id": None}, 400, "missing_required_parameter"),
        ({"organization_id": "org_nowhere"}, 403, "insufficient_permissions"),
        ({"organization_id": "org_nowhere", "model": "none"}, 403, "insufficient_permissions"),
        ({"model": "none"}, 404, "model_not_found"),
        ({"assistant_id": "asst_1"}, 400, "unsupported_parameter"),
    ],
)
def test_a_create_that_is_refused_holds_nothing(
    tmp_path: Path, members: dict[str, Any], status: int, code: str
) -> None:
    async def story(made: Rig) -> None:
        refused = await create(made, **members).done()
        assert (refused.status, refused.json["error"]["code"]) == (status, code)
        assert await made.held() == 0
        assert not made.provider.upstreams

    tell(tmp_path, story)


def test_without_credit_nothing_starts(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        refused = await create(made).done()
        assert (refused.status, refused.json["error"]["code"]) == (402, "insufficient_credits")

    tell(tmp_path, story, credits=1)


def test_what_was_ignored_is_named(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        created = await answered(made, "Tahoe", temperature=0.5)
        assert created.headers["midstream-ignored"] == "temperature"

    tell(tmp_path, story)


def test_a_method_that_is_not_there_is_refused_in_this_apis_words(tmp_path: Path) -> None:
    async def story(made: Rig) -> None:
        refused = await made.ask("PUT", f"{PATH}/resp_1")
        assert (refused.status, refused.json["error"]["code"]) == (405, "method_not_allowed")

    tell(tmp_path, story)
