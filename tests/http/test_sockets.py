"""The application over real sockets, the simulator behind it: what a client sees, and the ground truth."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.http.rig import DEADLINE_S, Rig, chat_body, rig, until

PATH = "/v1/chat/completions"


def client(run: Rig, url: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {run.key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=DEADLINE_S, trust_env=False)


async def ground_truth(run: Rig, completion_id: str) -> dict[str, Any]:
    """Return what the simulator says of the completion's request, once it is closed."""
    rows: list[dict[str, Any]] = []
    async with httpx.AsyncClient(trust_env=False) as http:

        async def closed() -> bool:
            answer = await http.get(
                f"{run.simulator_url}/_simulator/requests", params={"completion_id": completion_id}
            )
            rows[:] = answer.json()["data"]
            return bool(rows) and rows[-1]["closed_by"] is not None

        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while not await closed():
            assert asyncio.get_running_loop().time() < deadline, rows
            await asyncio.sleep(0.01)
    return rows[-1]


async def read_until(response: httpx.Response, tokens: int) -> bytes:
    got = b""
    async for piece in response.aiter_raw():
        got += piece
        if got.count(b'"content":"') >= tokens + 1:  # the role frame has one, too
            break
    return got


def test_a_client_that_hangs_up_stops_the_model(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            rig(tmp_path, simulator=True) as run,
            run.serve() as url,
            client(run, url) as http,
        ):
            request = chat_body(model="sim-long", max_tokens=5_000, stream=True)
            async with http.stream("POST", PATH, json=request) as response:
                completion_id = response.headers["midstream-completion-id"]
                await read_until(response, 3)
            truth = await ground_truth(run, completion_id)
            assert truth["closed_by"] == "client"
            assert truth["tokens_sent"] < 5_000
            got = (await http.get(f"{PATH}/{completion_id}")).json()
            assert got["error"]["code"] == "cancelled_client_disconnect"
            assert got["usage"]["completion_tokens"] <= truth["tokens_sent"]
            assert (await http.get("/v1/balance")).json()["held_credits"] == 0

    asyncio.run(body())


def test_a_whole_callers_hanging_up_stops_the_model_too(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            rig(tmp_path, simulator=True) as run,
            run.serve() as url,
            client(run, url) as http,
        ):
            headers = {"midstream-completion-id": "job-7"}
            request = chat_body(model="sim-long", max_tokens=5_000)
            waiting = asyncio.ensure_future(http.post(PATH, json=request, headers=headers))
            await until(
                # Not before the model was asked: there would be nothing to stop.
                lambda: any(d.completion.meter.tokens_output for d in run.runtime.carrier.running),
                "it streams",
            )
            waiting.cancel()
            await run.settled()
            got = (await http.get(f"{PATH}/job-7")).json()
            truth = await ground_truth(run, got["midstream"]["completion_id"])
            assert truth["closed_by"] == "client"
            assert got["error"]["code"] == "cancelled_client_disconnect"

    asyncio.run(body())


def test_a_cancel_from_a_second_connection(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            rig(tmp_path, simulator=True) as run,
            run.serve() as url,
            client(run, url) as http,
        ):
            request = chat_body(model="sim-long", max_tokens=5_000, stream=True)
            async with http.stream("POST", PATH, json=request) as response:
                completion_id = response.headers["midstream-completion-id"]
                pieces = response.aiter_raw()
                got = b""
                while got.count(b'"content":"') < 4:
                    got += await anext(pieces)
                cancel = await http.post(f"{PATH}/{completion_id}/cancel")
                async for piece in pieces:
                    got += piece
            truth = await ground_truth(run, completion_id)
            assert truth["closed_by"] == "client"
            assert cancel.status_code == 200
            frames = [line[6:] for line in got.decode().splitlines() if line.startswith("data: ")]
            assert frames[-1] == "[DONE]"
            chunks = [json.loads(frame) for frame in frames[:-1]]
            words = [c["choices"][0]["delta"].get("content") for c in chunks]
            tokens = len([word for word in words if word])
            assert chunks[-1]["choices"][0]["finish_reason"] == "cancelled"
            # Each word of the simulator is one token; the charge is what this client received.
            assert cancel.json()["usage"]["completion_tokens"] == tokens
            prompt = chunks[-1]["usage"]["prompt_tokens"]
            charged = round(cancel.json()["usage"]["credits_charged"] * 1e6)
            assert charged == 75 * prompt + 450 * tokens
            assert tokens <= truth["tokens_sent"]

    asyncio.run(body())


def test_a_body_that_is_too_large_is_answered(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run, run.serve() as url, client(run, url) as http:
            raw = b" " * (10 * 1024 * 1024 + 1)
            for content in (raw, _pieces(raw)):
                answer = await http.post(PATH, content=content)
                assert answer.status_code == 413
                assert answer.json()["error"]["code"] == "request_too_large"
            # The connection is fit for the next request.
            assert (await http.get("/v1/balance")).status_code == 200

    asyncio.run(body())


async def _pieces(raw: bytes) -> Any:
    for start in range(0, len(raw), 1 << 18):
        yield raw[start : start + (1 << 18)]


@pytest.mark.parametrize("model", ["sim-error", "sim-stall"])
def test_a_provider_that_breaks_in_mid_stream(tmp_path: Path, model: str) -> None:
    async def body() -> None:
        settings: dict[str, Any] = {"simulator": True, "idle_timeout_s": 0.3}
        async with rig(tmp_path, **settings) as run, run.serve() as url, client(run, url) as http:
            answer = await http.post(PATH, json=chat_body(model=model, stream=True))
            assert answer.status_code == 200
            assert "[DONE]" not in answer.text
            last = json.loads(answer.text.strip().rsplit("data: ", 1)[1])
            assert last["error"]["code"] == "chat_provider_unavailable"
            assert (await http.get("/v1/balance")).json()["credits"] == 1000.0

    asyncio.run(body())


@pytest.mark.sdk
def test_the_official_sdk(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            rig(tmp_path, simulator=True) as run,
            run.serve() as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=run.key, max_retries=0) as sdk,
        ):
            await _use(sdk)

    asyncio.run(body())


async def _use(sdk: openai.AsyncOpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Name a lake."}]
    models = await sdk.models.list()
    assert "sim" in [model.id for model in models.data]
    whole = await sdk.chat.completions.create(
        model="sim-instant", messages=messages, max_tokens=8, seed=1
    )
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 8
    stream = await sdk.chat.completions.create(
        model="sim-instant", messages=messages, max_tokens=8, seed=1, stream=True
    )
    text, reasons = "", []
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        reasons.append(chunk.choices[0].finish_reason)
    assert text == whole.choices[0].message.content
    assert reasons[-1] == "length"
    called = await sdk.chat.completions.create(
        model="sim-tools",
        messages=messages,
        max_tokens=64,
        tools=[{"type": "function", "function": {"name": "lookup", "parameters": {}}}],
        tool_choice="required",
    )
    calls = called.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert calls[0].function.name == "lookup"
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model="sim", messages=messages, n=2)
    assert caught.value.code == "value_out_of_range"
    # The same key again would be given the same stream: nobody is warned of a second charge.
    keyed = await sdk.chat.completions.create(
        model="sim-instant",
        messages=messages,
        max_tokens=2,
        stream=True,
        extra_headers={"Idempotency-Key": "k"},
    )
    chunks = [chunk async for chunk in keyed]
    assert chunks[-1].choices[0].finish_reason == "length"
