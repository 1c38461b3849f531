"""The simulator on a real socket: its wire, its ground truth, its faults, and the official SDK."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from actors.core.errors import FailureCode
from actors.core.events import Delta, FinishReason, ReasoningDelta, TextDelta, UsageReported
from actors.core.request import (
    CompletionRequest,
    Dialect,
    ImagePart,
    Message,
    ReasoningPart,
    RefusalPart,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    VideoPart,
)
from actors.core.upstream import UpstreamBatch
from actors.core.wire.openai_chat import ChatStreamDecoder, request_body
from actors.ports.ledger import Principal
from actors.settings import Settings
from actors.simulator.answers import compose, text_of
from actors.simulator.app import Simulator
from actors.simulator.models import MODELS
from actors.simulator.wires.chat import CHAT
from actors.upstream.catalogue import Catalogue
from actors.upstream.config import Config
from actors.upstream.tokenizer import count_prompt, count_text
from tests.support.running_simulator import GroundTruth, running_simulator

MESSAGES = [{"role": "user", "content": "Count to ten."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
FRAME_BYTES_MAX = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_simulator() as address:
        yield address


@pytest.fixture(scope="module")
def truth(url: str) -> GroundTruth:
    return GroundTruth(url)


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=20) as client:
        yield client


@pytest.fixture
def sdk(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


def body(model: str, **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "stream": True, **members}


def complete(
    client: httpx.Client, content: dict[str, Any], completion_id: str = ""
) -> httpx.Response:
    headers = {"x-request-id": completion_id} if completion_id else {}
    return client.post("/v1/chat/completions", json=content, headers=headers)


def decode(data: bytes) -> UpstreamBatch:
    """Read a whole stream with our own decoder; the last batch's end or failure counts."""
    decoder = ChatStreamDecoder(count_text, frame_bytes_max=FRAME_BYTES_MAX)
    batch = decoder.receive_data(data)
    return batch if batch.is_end or batch.failure else decoder.receive_eof()


def deltas(batch: UpstreamBatch) -> list[Delta]:
    return [event for event in batch.events if isinstance(event, Delta)]


def usage(batch: UpstreamBatch) -> UsageReported | None:
    return next((event for event in batch.events if isinstance(event, UsageReported)), None)


def chunks(data: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in data.split(b"\n\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def expected_text(content: dict[str, Any]) -> str:
    answer = compose(MODELS[content["model"]], CHAT.parse(json.dumps(content).encode()))
    return "".join(text_of(delta) for delta in answer)


# Streams.


@pytest.mark.parametrize("tokens", [1, 31, 500])
def test_each_frame_is_one_token_and_the_answer_ends_with_length(
    client: httpx.Client, tokens: int
) -> None:
    content = body("sim-long-instant", max_tokens=tokens, stream_options={"include_usage": True})
    answer = complete(client, content)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content.endswith(b"data: [DONE]\n\n")
    batch = decode(answer.content)
    assert [delta.tokens for delta in deltas(batch)] == [1] * tokens
    assert batch.finish_reason is FinishReason.LENGTH and batch.is_end
    assert "".join(text_of(delta) for delta in deltas(batch)) == expected_text(content)
    reported = usage(batch)
    assert reported is not None
    assert reported.usage.prompt_tokens == count_prompt(
        (Message(Role.USER, (TextPart("Count to ten."),)),)
    )
    assert reported.usage.completion_tokens == tokens


def test_the_first_frame_has_the_role(client: httpx.Client) -> None:
    first = chunks(complete(client, body("sim-instant")).content)[0]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_without_a_limit_there_are_64_tokens_and_usage_only_where_it_was_asked_for(
    client: httpx.Client,
) -> None:
    batch = decode(complete(client, body("sim-instant")).content)
    assert len(deltas(batch)) == 64
    assert usage(batch) is None


def test_running_usage_comes_with_every_frame(client: httpx.Client) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    answer = complete(client, body("sim-instant", max_tokens=3, stream_options=options))
    figures = [chunk.get("usage", {}).get("completion_tokens") for chunk in chunks(answer.content)]
    assert figures == [None, 1, 2, 3, 3, 3]


def test_a_paced_stream_keeps_its_schedule_and_its_log(
    client: httpx.Client, truth: GroundTruth
) -> None:
    content = body("sim", max_tokens=10)
    complete(client, content, "cmp_paced")
    row = truth.closed("cmp_paced")
    assert row["first_token_at"] - row["opened_at"] >= 0.049
    assert row["closed_at"] - row["opened_at"] >= 0.049 + 9 / 50
    assert (row["closed_by"], row["tokens_sent"]) == ("server", 10)
    assert row["text_sent"] == expected_text(content)
    assert row["members"] == list(content)
    assert row["model"] == "sim"
    assert row["peer_port"] > 0


def test_frames_of_several_tokens_count_as_such(client: httpx.Client) -> None:
    batch = decode(complete(client, body("sim-multi", max_tokens=6)).content)
    assert [delta.tokens for delta in deltas(batch)] == [4, 2]


def test_utf8_is_cut_within_characters(url: str) -> None:
    content = body("sim-utf8", max_tokens=5)
    data, cuts = b"", 0
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=content) as answer:
        for segment in answer.iter_raw():
            cuts += segment[-1:] >= b"\xc0"
            data += segment
    assert cuts >= 5
    batch = decode(data)
    assert "".join(text_of(delta) for delta in deltas(batch)) == expected_text(content)
    assert sum(delta.tokens for delta in deltas(batch)) == 5


def test_a_model_without_usage_reports_none(client: httpx.Client) -> None:
    content = body("sim-no-usage", max_tokens=2, stream_options={"include_usage": True})
    batch = decode(complete(client, content).content)
    assert usage(batch) is None and batch.is_end


def test_reasoning_is_half_and_is_reported_apart(client: httpx.Client) -> None:
    content = body("sim-reasoning", max_tokens=8, stream_options={"include_usage": True})
    batch = decode(complete(client, content).content)
    kinds = [type(delta) for delta in deltas(batch)]
    assert kinds == [ReasoningDelta] * 4 + [TextDelta] * 4
    reported = usage(batch)
    assert reported is not None
    assert (reported.usage.reasoning_tokens, reported.usage.completion_tokens) == (4, 4)


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_reported_is_what_the_frames_hold(client: httpx.Client, stream: bool) -> None:
    content = body("sim-tools", tools=[TOOL], stream_options={"include_usage": True})
    answer = complete(client, {**content, "stream": stream})
    if not stream:
        assert answer.json()["usage"]["completion_tokens"] > 3
        return
    batch = decode(answer.content)
    reported = usage(batch)
    assert reported is not None
    assert reported.usage.completion_tokens == sum(delta.tokens for delta in deltas(batch))
    assert batch.finish_reason is FinishReason.TOOL_CALLS


# One body.


def test_an_answer_in_one_body_has_the_streams_text_and_figures(client: httpx.Client) -> None:
    content = body("sim-instant", max_tokens=12, stream=False)
    answer = complete(client, content, "cmp_whole").json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == expected_text(content)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 12


# The prompt is counted as it was estimated.

EVERY_KIND = CompletionRequest(
    model="sim-instant",
    messages=(
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        Message(Role.USER, (TextPart("What is"), TextPart(" this? é"))),
        Message(
            Role.USER,
            (
                ImagePart("https://example.com/a.png", "low"),
                ImagePart("https://example.com/b.png"),
                VideoPart("https://example.com/c.mp4"),
                TextPart("Look."),
            ),
            name="bob",
        ),
        Message(Role.ASSISTANT, (ReasoningPart("Well."), TextPart("It is a test."))),
        Message(Role.ASSISTANT, (ToolCallPart("call_1", "get_weather", '{"city": "Oslo"}'),)),
        Message(Role.TOOL, (ToolResultPart("call_1", "Rain, 4 degrees."),)),
        Message(Role.USER, (ToolResultPart("call_2", "Sun."), TextPart("And?"))),
        Message(Role.ASSISTANT, (RefusalPart("I would rather not."),)),
        Message(Role.ASSISTANT, ()),
    ),
    tools=(
        Tool("get_weather", "Weather.", {"type": "object", "properties": {"city": {}}}, True),
        Tool("now"),
    ),
    sampling=Sampling(seed=7, temperature=0.5, stop=("x",)),
)


def test_the_reported_prompt_is_the_estimated_one(client: httpx.Client) -> None:
    command = Catalogue(Config(), simulator_url=None).resolve(
        EVERY_KIND,
        completion_id="cmp_1",
        wire_id="cmp_1",
        principal=Principal("demo", "org_demo", "key_1"),
        dialect=Dialect.CHAT,
        created_at_s=1.0,
        settings=Settings(),
    )
    reported = usage(decode(complete(client, request_body(command)).content))
    assert reported is not None
    assert reported.usage.prompt_tokens == command.prompt_tokens_estimated


# The ground truth of a client that leaves.


def open_stream(url: str, content: dict[str, Any], completion_id: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    data = json.dumps(content).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nx-request-id: {completion_id}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(head.encode() + data)
    return connection


def read_until(connection: socket.socket, needle: bytes, times: int = 1) -> bytes:
    data = b""
    while data.count(needle) < times:
        segment = connection.recv(65536)
        assert segment, f"the stream ended before {needle!r}: {data!r}"
        data += segment
    return data


@pytest.mark.parametrize("model", ["sim", "sim-slow", "sim-stall"])
def test_a_client_that_leaves_is_seen_at_once(url: str, truth: GroundTruth, model: str) -> None:
    completion_id = f"cmp_left_{model}"
    with open_stream(url, body(model, max_tokens=5000), completion_id) as connection:
        data = read_until(connection, b'"content":" ', times=2)
        row = truth.of(completion_id)[0]
        assert (row["closed_at"], row["closed_by"]) == (None, None)
        assert row["peer_port"] == connection.getsockname()[1]
    row = truth.closed(completion_id)
    assert row["closed_by"] == "client"
    assert row["first_token_at"] <= row["closed_at"]
    assert data.count(b'"content":" ') <= row["tokens_sent"] < 5000


def test_a_client_that_leaves_before_the_first_token_gets_none_counted(
    url: str, truth: GroundTruth
) -> None:
    with open_stream(url, body("sim-silent"), "cmp_left_early") as connection:
        read_until(connection, b"\r\n\r\n")
    row = truth.closed("cmp_left_early")
    assert (row["closed_by"], row["tokens_sent"]) == ("client", 0)
    assert row["first_token_at"] is None


def test_a_client_that_leaves_in_the_body_of_its_request_is_logged(
    url: str, truth: GroundTruth
) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-request-id: cmp_half\r\n"
            b"content-length: 100\r\n\r\n{"
        )
    assert truth.closed("cmp_half")["closed_by"] == "client"


def test_a_stalled_stream_stays_open_after_five_tokens(url: str, truth: GroundTruth) -> None:
    with open_stream(url, body("sim-stall"), "cmp_stall") as connection:
        data = read_until(connection, b'"content":" ', times=5)
        assert b'finish_reason":"' not in data
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    row = truth.closed("cmp_stall")
    assert (row["closed_by"], row["tokens_sent"]) == ("client", 5)


def test_a_client_that_reads_nothing_holds_up_its_own_stream_alone(
    url: str, client: httpx.Client, truth: GroundTruth
) -> None:
    with open_stream(url, body("sim-long-instant", max_tokens=65_536), "cmp_slow_reader"):
        assert complete(client, body("sim-instant", max_tokens=5)).status_code == 200
        row = truth.of("cmp_slow_reader")[0]
        assert row["tokens_sent"] < 65_536
    assert truth.closed("cmp_slow_reader")["closed_by"] == "client"


def test_many_streams_on_one_connection_are_each_logged(
    client: httpx.Client, truth: GroundTruth
) -> None:
    for i in range(3):
        complete(client, body("sim-instant", max_tokens=2), f"cmp_kept_{i}")
    ports = {truth.closed(f"cmp_kept_{i}")["peer_port"] for i in range(3)}
    assert len(ports) == 1


def test_the_newest_requests_come_without_an_id(client: httpx.Client) -> None:
    complete(client, body("sim-instant", max_tokens=1), "cmp_newest")
    rows = client.get("/_simulator/requests", params={"limit": 1}).json()["data"]
    assert [row["completion_id"] for row in rows] == ["cmp_newest"]
    assert client.get("/_simulator/requests", params={"limit": "x"}).status_code == 400


def test_the_log_wants_the_admin_key_where_there_is_one() -> None:
    async def story() -> None:
        app = Simulator(admin_key_digest=hashlib.sha256(b"admin").hexdigest())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            for key, status in (("", 401), ("Bearer al_live_1", 401), ("Bearer admin", 200)):
                headers = {"Authorization": key} if key else {}
                answer = await client.get("/_simulator/requests", headers=headers)
                assert answer.status_code == status, key

    asyncio.run(story())


def test_the_hook_is_awaited_before_the_answer() -> None:
    seen: list[str] = []

    async def on_request(completion_id: str) -> None:
        await asyncio.sleep(0)
        seen.append(completion_id)

    with running_simulator(on_request) as address, httpx.Client(base_url=address) as client:
        for completion_id in ("cmp_a", ""):
            complete(client, body("sim-instant", max_tokens=1), completion_id)
            assert seen[-1] == completion_id
    assert seen == ["cmp_a", ""]


# Faults.


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("sim-error", FailureCode.UPSTREAM_UNAVAILABLE),
        ("sim-garbage", FailureCode.UPSTREAM_UNAVAILABLE),
        ("sim-huge-frame", FailureCode.UPSTREAM_UNAVAILABLE),
        ("sim-empty", FailureCode.UPSTREAM_UNAVAILABLE),
        ("sim-truncated", FailureCode.UPSTREAM_UNAVAILABLE),
    ],
)
def test_a_broken_stream_is_a_failure_to_our_decoder(
    client: httpx.Client, model: str, code: FailureCode
) -> None:
    answer = complete(client, body(model))
    assert answer.status_code == 200
    failure = decode(answer.content).failure
    assert failure is not None and failure.code is code


def test_a_failing_model_fails_after_five_tokens(client: httpx.Client, truth: GroundTruth) -> None:
    answer = complete(client, body("sim-error"), "cmp_error")
    assert answer.content.count(b'"content":" ') == 5
    assert b'data: {"error":{' in answer.content and b"[DONE]" not in answer.content
    row = truth.closed("cmp_error")
    assert (row["closed_by"], row["tokens_sent"]) == ("server", 5)
    assert complete(client, body("sim-error", stream=False)).status_code == 500


@pytest.mark.parametrize("model", ["sim-reset", "sim-half-frame"])
def test_a_connection_that_closes_in_mid_body(url: str, truth: GroundTruth, model: str) -> None:
    completion_id = f"cmp_{model}"
    with open_stream(url, body(model), completion_id) as connection:
        data = b""
        while segment := connection.recv(65536):
            data += segment
    assert data.count(b'"content":" ') == 5
    assert not data.endswith(b"0\r\n\r\n")
    assert data.endswith(b"\n\n\r\n") is (model == "sim-reset")
    assert truth.closed(completion_id)["closed_by"] == "server"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_a_status_is_answered_with_openais_envelope(client: httpx.Client, status: int) -> None:
    answer = complete(client, body(f"sim-status-{status}"))
    assert answer.status_code == status
    assert "message" in answer.json()["error"]
    assert ("retry-after" in answer.headers) is (status in (429, 503))


def test_a_flaky_model_fails_twice_per_completion(client: httpx.Client) -> None:
    for completion_id in ("cmp_flaky_1", "cmp_flaky_2"):
        answers = [complete(client, body("sim-flaky-503"), completion_id) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [503, 503, 200, 200]


def test_other_answers_that_are_no_stream(client: httpx.Client) -> None:
    assert complete(client, body("sim-redirect")).headers["location"] == "/elsewhere"
    assert complete(client, body("sim-html")).headers["content-type"] == "text/html"


def test_a_mute_model_answers_nothing(url: str, truth: GroundTruth) -> None:
    with open_stream(url, body("sim-mute"), "cmp_mute") as connection:
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert truth.closed("cmp_mute")["closed_by"] == "client"


# Bad requests.


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 20_000, 400),
        (b'{"model": "sim"}', 400),
        (json.dumps(body("sim", max_tokens=-1)).encode(), 400),
        (json.dumps(body("gpt-9")).encode(), 404),
        (b" " * (33 * 1024 * 1024), 400),
    ],
    ids=["cut", "bytes", "deep", "no-messages", "negative", "unknown-model", "large"],
)
def test_a_bad_request_gets_openais_error(url: str, content: bytes, status: int) -> None:
    answer = httpx.post(f"{url}/v1/chat/completions", content=content, timeout=20)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


def test_other_paths_and_methods(client: httpx.Client) -> None:
    assert client.get("/v1/chat/completions").status_code == 405
    assert client.get("/nothing").status_code == 404


# The official SDK, pointed straight at the simulator.


@pytest.mark.sdk
def test_the_sdk_streams(sdk: openai.OpenAI) -> None:
    stream = sdk.chat.completions.create(
        model="sim-instant",
        messages=[{"role": "user", "content": "Count to ten."}],
        max_tokens=9,
        stream=True,
        stream_options={"include_usage": True},
    )
    parts = list(stream)
    texts = [part.choices[0].delta.content or "" for part in parts if part.choices]
    assert "".join(texts) == expected_text(body("sim-instant", max_tokens=9))
    assert parts[-1].usage is not None and parts[-1].usage.completion_tokens == 9
    assert [part.choices[0].finish_reason for part in parts if part.choices][-1] == "length"


@pytest.mark.sdk
def test_the_sdk_collects_and_lists_models(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model="sim-instant", messages=[{"role": "user", "content": "Count to ten."}], max_tokens=4
    )
    assert answer.usage is not None and answer.usage.completion_tokens == 4
    assert {model.id for model in sdk.models.list()} == set(MODELS)


@pytest.mark.sdk
def test_the_sdk_assembles_tool_calls_from_a_stream(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(
        model="sim-tools",
        messages=[{"role": "user", "content": "Weather?"}],
        tools=[TOOL],  # type: ignore[list-item]
    ) as stream:
        completion = stream.get_final_completion()
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.name == "get_weather"
    assert list(json.loads(calls[0].function.arguments)) == ["city"]


@pytest.mark.sdk
def test_the_sdk_parses_structured_output(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model="sim-instant",
        messages=[{"role": "user", "content": "A city."}],
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "city",
                "schema": {"type": "object", "properties": {"name": {"type": "string"}}},
            },
        },
    )
    assert isinstance(json.loads(answer.choices[0].message.content or "")["name"], str)


@pytest.mark.sdk
@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("gpt-9", openai.NotFoundError),
        ("sim-status-401", openai.AuthenticationError),
        ("sim-status-429", openai.RateLimitError),
        ("sim-status-500", openai.InternalServerError),
    ],
)
def test_the_sdk_raises_its_own_errors(
    sdk: openai.OpenAI, model: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])


@pytest.mark.sdk
def test_the_sdk_raises_on_an_error_frame(sdk: openai.OpenAI) -> None:
    stream = sdk.chat.completions.create(
        model="sim-error", messages=[{"role": "user", "content": "x"}], stream=True
    )
    with pytest.raises(openai.APIError):
        list(stream)


# Many streams, the server, and the actor's class.


def test_a_hundred_paced_streams_are_carried_whole(url: str, truth: GroundTruth) -> None:
    async def one(client: httpx.AsyncClient, i: int) -> bytes:
        content = body("sim", max_tokens=10, seed=i)
        headers = {"x-request-id": f"cmp_many_{i}"}
        answer = await client.post("/v1/chat/completions", json=content, headers=headers)
        return answer.content

    async def all_of_them() -> list[bytes]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
            return await asyncio.gather(*(one(client, i) for i in range(100)))

    for i, data in enumerate(asyncio.run(all_of_them())):
        text = "".join(text_of(delta) for delta in deltas(decode(data)))
        assert text == truth.of(f"cmp_many_{i}")[0]["text_sent"]
        assert text == expected_text(body("sim", max_tokens=10, seed=i))


def test_a_server_stops_with_streams_open_and_can_be_stopped_again() -> None:
    with running_simulator() as address:
        connection = open_stream(address, body("sim-stall"), "cmp_1")
        read_until(connection, b'"content":" ')
    with connection, pytest.raises(ConnectionError):
        while connection.recv(65536):
            pass
        raise ConnectionError
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/v1/models")


def test_a_taken_port_is_an_os_error() -> None:
    from actors.simulator.server import SimulatorServer

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = SimulatorServer(Simulator(), port=port)
        with pytest.raises(OSError):
            asyncio.run(server.start())
