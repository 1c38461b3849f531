"""Answers that the simulator makes in the background, in a wire format of the test's own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx

from actors.core.events import Delta, FinishReason, Usage
from actors.simulator.answers import compose, text_of
from actors.simulator.app import Simulator
from actors.simulator.background import KEPT_S, BackgroundAnswer, BackgroundAnswers, Progress
from actors.simulator.log import ClosedBy, RequestEntry
from actors.simulator.models import MODELS
from actors.simulator.request import Ask, Fault
from actors.simulator.server import SimulatorServer
from actors.simulator.wires.base import Heading
from actors.simulator.wires.chat import CHAT

PATH = "/v1/answers"


def frame(**members: Any) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\n\n"


class Writer:
    def start(self, usage: Usage) -> bytes:
        return frame(start=usage.prompt_tokens) + frame(state="running")

    def delta(self, delta: Delta, usage: Usage | None) -> bytes:
        return frame(text=text_of(delta))

    def finish(self, reason: FinishReason, usage: Usage | None) -> bytes:
        return frame(end=reason.value)

    def failure(self, fault: Fault) -> bytes:
        return frame(error=fault.message)

    def cancelled(self, usage: Usage | None) -> bytes:
        return frame(end="cancelled", tokens=usage.completion_tokens if usage else None)


class Wire:
    """Takes the chat format's bodies; every answer is a background one."""

    path = PATH
    id_prefix = "ans_"

    def parse(self, body: bytes) -> Ask:
        return replace(CHAT.parse(body), is_background=True)

    def writer(self, heading: Heading) -> Writer:
        return Writer()

    def body(
        self, heading: Heading, deltas: Sequence[Delta], reason: FinishReason, usage: Usage
    ) -> Mapping[str, Any]:
        raise AssertionError("every answer is a background one")

    def error_body(self, fault: Fault) -> Mapping[str, Any]:
        return {"wrong": fault.message}

    def answer_body(self, answer: BackgroundAnswer) -> Mapping[str, Any]:
        return {
            "id": self.id_prefix + answer.heading.answer_id,
            "progress": answer.progress,
            "text": "".join(map(text_of, answer.deltas())),
        }

    def deleted_body(self, answer_id: str) -> Mapping[str, Any]:
        return {"id": answer_id, "deleted": True}


class Client:
    def __init__(self, http: httpx.AsyncClient, simulator: Simulator) -> None:
        self.http = http
        self.simulator = simulator

    async def create(self, model: str, tokens: int, **members: Any) -> str:
        answer = await self.http.post(PATH, json=body(model, tokens, **members), headers=NAMED)
        assert answer.status_code == 200
        made: str = answer.json()["id"]
        return f"{PATH}/{made}"

    @property
    def entry(self) -> RequestEntry:
        (entry,) = self.simulator.log.find("cmp_1")
        return entry

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():  # noqa: ASYNC110 - the simulator says nothing when it goes on
                await asyncio.sleep(0.005)


NAMED = {"x-request-id": "cmp_1"}


def body(model: str, tokens: int, **members: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {"model": model, "messages": messages, "max_tokens": tokens, **members}


def expected_text(model: str, tokens: int) -> str:
    ask = CHAT.parse(json.dumps(body(model, tokens)).encode())
    return "".join(map(text_of, compose(MODELS[model], ask)))


@asynccontextmanager
async def running() -> AsyncIterator[Client]:
    simulator = Simulator(wires=(Wire(),), background_wires=(Wire(),))
    server = SimulatorServer(simulator)
    url = await server.start()
    try:
        async with httpx.AsyncClient(base_url=url, timeout=20) as http:
            yield Client(http, simulator)
    finally:
        await server.stop()


def run(test: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running() as client:
            await test(client)

    asyncio.run(main())


def data(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in content.split(b"\n\n") if line]


def test_an_answer_goes_on_after_its_connection_and_is_whole_in_the_end() -> None:
    async def test(client: Client) -> None:
        path = await client.create("sim", 12)
        begun = (await client.http.get(path)).json()
        assert begun["progress"] == Progress.RUNNING
        await client.until(lambda: not client.entry.is_open)
        ended = (await client.http.get(path)).json()
        assert (ended["progress"], ended["text"]) == ("completed", expected_text("sim", 12))
        assert expected_text("sim", 12).startswith(begun["text"])
        assert (client.entry.tokens_sent, client.entry.closed_by) == (12, ClosedBy.SERVER)

    run(test)


def test_a_stream_that_breaks_off_does_not_end_the_answer() -> None:
    async def test(client: Client) -> None:
        asked = body("sim", 10, stream=True)
        async with client.http.stream("POST", PATH, json=asked, headers=NAMED) as stream:
            async for _ in stream.aiter_bytes():
                break
        await client.until(lambda: not client.entry.is_open)
        assert (client.entry.tokens_sent, client.entry.closed_by) == (10, ClosedBy.SERVER)

    run(test)


def test_a_stream_shows_its_start_before_the_first_token() -> None:
    async def test(client: Client) -> None:
        asked = body("sim-slow", 2, stream=True)
        async with client.http.stream("POST", PATH, json=asked, headers=NAMED) as stream:
            async for chunk in stream.aiter_bytes():
                assert data(chunk)[1] == {"state": "running"}
                assert client.entry.tokens_sent == 0
                break

    run(test)


def test_a_reader_gets_what_follows_its_cursor_during_the_answer_and_after_it() -> None:
    async def test(client: Client) -> None:
        path = await client.create("sim", 6)
        live = await client.http.get(path, params={"stream": "true"})
        frames = data(live.content)
        texts = [frame["text"] for frame in frames[2:-1]]
        assert "".join(texts) == expected_text("sim", 6)
        assert frames[-1] == {"end": "length"}
        for after in range(-1, len(frames) + 1):
            cursor = {"stream": "true", "starting_after": str(after)}
            replayed = await client.http.get(path, params=cursor)
            assert data(replayed.content) == frames[after + 1 :]
        wrong = await client.http.get(path, params={"stream": "true", "starting_after": "x"})
        assert (wrong.status_code, list(wrong.json())) == (400, ["wrong"])

    run(test)


def test_a_long_answer_without_pace_is_read_whole() -> None:
    async def test(client: Client) -> None:
        path = await client.create("sim-long-instant", 5000)
        cursor = {"stream": "true", "starting_after": "4000"}
        frames = data((await client.http.get(path, params=cursor)).content)
        assert len(frames) == 2 + 5000 + 1 - 4001
        assert frames[-1] == {"end": "length"}

    run(test)


def test_a_cancel_stops_the_tokens_tells_the_readers_and_stands() -> None:
    async def test(client: Client) -> None:
        path = await client.create("sim-long", 1000)
        reader = asyncio.ensure_future(client.http.get(path, params={"stream": "true"}))
        await client.until(lambda: client.entry.tokens_sent >= 3)
        first = await client.http.post(f"{path}/cancel")
        sent = client.entry.tokens_sent
        frames = data((await reader).content)
        assert frames[-1] == {"end": "cancelled", "tokens": sent}
        assert len(frames) == 2 + sent + 1
        assert client.entry.closed_by is ClosedBy.CANCEL
        # Two more tokens would be due by now.
        await asyncio.sleep(0.05)
        again = await client.http.post(f"{path}/cancel")
        assert first.json() == again.json()
        assert (again.json()["progress"], client.entry.tokens_sent) == ("cancelled", sent)
        rows = (await client.http.get("/_simulator/requests?completion_id=cmp_1")).json()["data"]
        assert (rows[0]["tokens_sent"], rows[0]["closed_by"]) == (sent, "cancel")

    run(test)


def test_an_answer_that_has_ended_cannot_be_cancelled_any_more() -> None:
    async def test(client: Client) -> None:
        path = await client.create("sim-instant", 3)
        await client.until(lambda: not client.entry.is_open)
        assert (await client.http.post(f"{path}/cancel")).json()["progress"] == "completed"
        assert client.entry.closed_by is ClosedBy.SERVER

    run(test)


def test_a_model_that_fails_ends_the_answer_and_its_stream() -> None:
    async def test(client: Client) -> None:
        path = await client.create("sim-error", 64)
        frames = data((await client.http.get(path, params={"stream": "true"})).content)
        assert "error" in frames[-1]
        assert (await client.http.get(path)).json()["progress"] == "failed"

    run(test)


def test_a_silent_model_can_be_cancelled() -> None:
    async def test(client: Client) -> None:
        path = await client.create("sim-stall", 64)
        await client.until(lambda: client.entry.tokens_sent == 5)
        reader = asyncio.ensure_future(client.http.get(path, params={"stream": "true"}))
        await client.until(lambda: bool(client.simulator.log.newest(1)))
        await client.http.post(f"{path}/cancel")
        assert data((await reader).content)[-1] == {"end": "cancelled", "tokens": 5}

    run(test)


def test_what_is_deleted_or_was_never_there_is_unknown() -> None:
    async def test(client: Client) -> None:
        path = await client.create("sim-long", 1000)
        shown = path.rpartition("/")[2]
        assert (await client.http.delete(path)).json() == {"id": shown, "deleted": True}
        assert client.entry.closed_by is ClosedBy.CANCEL
        for unknown in (path, f"{PATH}/{shown.removeprefix('ans_')}"):
            assert (await client.http.get(unknown)).status_code == 404
            assert (await client.http.post(f"{unknown}/cancel")).status_code == 404
            assert (await client.http.delete(unknown)).status_code == 404

    run(test)


SLOW = MODELS["sim-slow"]
ASK = CHAT.parse(json.dumps(body("sim-slow", 8)).encode())


def start(answers: BackgroundAnswers, opened_at: float) -> BackgroundAnswer:
    entry = RequestEntry("cmp_1", opened_at, None, answer=compose(SLOW, ASK))
    return answers.start(entry, SLOW, ASK)


def is_kept(answers: BackgroundAnswers, answer: BackgroundAnswer) -> bool:
    return answers.find(answer.heading.answer_id) is answer


def test_the_oldest_answer_is_dropped_first_and_ended() -> None:
    async def main() -> None:
        answers = BackgroundAnswers(answers_max=2)
        made = [start(answers, time.time()) for _ in range(3)]
        assert [is_kept(answers, answer) for answer in made] == [False, True, True]
        assert (made[0].progress, made[0].entry.closed_by) == (Progress.FAILED, ClosedBy.SERVER)
        assert made[1].is_running
        for answer in made:
            answer.cancel()

    asyncio.run(main())


def test_an_answer_is_not_kept_for_ever() -> None:
    async def main() -> None:
        answers = BackgroundAnswers()
        stale = start(answers, time.time() - KEPT_S - 1)
        assert not is_kept(answers, stale)
        assert stale.progress is Progress.FAILED

    asyncio.run(main())
