"""What holds of every dialect, over every recording: a new dialect adds one line to `DIALECTS`.

Those that answer otherwise under strict contracts are there in both modes.

Frames are a deterministic fold over the log: numbered densely, the same however the log was batched,
and resumable after any of them. What a client puts together from the frames is what the body says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from actors.core.errors import IllegalTransition, Overloaded
from actors.core.events import Event, Finished, Status, TextDelta
from serve_app.dialects.answer import BlockKind, FoldedAnswer
from serve_app.dialects.base import DialectRules, Snapshot
from serve_app.dialects.chat import CHAT, ChatDialect
from serve_app.dialects.messages import MESSAGES, MessagesDialect
from serve_app.dialects.model_response import MODEL_RESPONSE
from serve_app.dialects.responses import RESPONSES
from tests.dialects.recordings import HEADER, RECORDINGS


@dataclass(frozen=True)
class Client:
    """A dialect, and how a client of it reads: the text of some frames, and of a body."""

    dialect: DialectRules
    text_of_frames: Callable[[list[bytes]], str]
    text_of_body: Callable[[dict[str, Any]], str]
    kinds: tuple[BlockKind, ...] = (BlockKind.TEXT,)  # What the dialect shows as text.

    def text_of(self, answer: FoldedAnswer) -> str:
        return "".join(answer.text_of(kind) for kind in self.kinds)


def chat_text(frames: list[bytes]) -> str:
    text = ""
    for frame in frames:
        data = frame.split(b"data: ", 1)[1]
        if not data.startswith(b"[DONE]"):
            for choice in json.loads(data).get("choices", []):
                text += choice["delta"].get("content") or ""
    return text


def chat_body_text(body: dict[str, Any]) -> str:
    return body["choices"][0]["message"]["content"] or ""


def model_response_text(frames: list[bytes]) -> str:
    deltas = (frame for frame in frames if b"event: response.output_text.delta\n" in frame)
    return "".join(json.loads(frame.split(b"data: ", 1)[1])["delta"] for frame in deltas)


def messages_text(frames: list[bytes]) -> str:
    datas = [json.loads(frame.split(b"data: ", 1)[1]) for frame in frames]
    deltas = [data["delta"] for data in datas if data["type"] == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas if delta["type"] == "text_delta")


def messages_body_text(body: dict[str, Any]) -> str:
    return "".join(block["text"] for block in body["content"] if block["type"] == "text")


def responses_text(frames: list[bytes]) -> str:
    deltas = (frame for frame in frames if b"event: response.output_text.delta\n" in frame)
    return "".join(json.loads(frame.split(b"data: ", 1)[1])["delta"] for frame in deltas)


def responses_body_text(body: dict[str, Any]) -> str:
    parts = (part for item in body["output"] for part in item.get("content", ()))
    return "".join(part["text"] for part in parts if part["type"] == "output_text")


TEXT_AND_REFUSAL = (BlockKind.TEXT, BlockKind.REFUSAL)

DIALECTS = {
    "messages": Client(MESSAGES, messages_text, messages_body_text, TEXT_AND_REFUSAL),
    "messages strict": Client(
        MessagesDialect(is_strict=True), messages_text, messages_body_text, TEXT_AND_REFUSAL
    ),
    "chat": Client(CHAT, chat_text, chat_body_text),
    "chat strict": Client(ChatDialect(is_strict=True), chat_text, chat_body_text),
    "model_response": Client(
        MODEL_RESPONSE,
        model_response_text,
        lambda body: body["choices"][0]["message"]["content"] or "",
    ),
    "responses": Client(RESPONSES, responses_text, responses_body_text),
}

every_dialect = pytest.mark.parametrize("client", DIALECTS.values(), ids=DIALECTS)
every_recording = pytest.mark.parametrize("name", RECORDINGS)


def frames_of(client: Client, name: str) -> list[bytes]:
    encoder = client.dialect.encoder(HEADER, request_id="req_1")
    return [frame for event in RECORDINGS[name] for frame in encoder.encode(event)]


@every_dialect
@every_recording
def test_frames_are_numbered_densely_from_0(client: Client, name: str) -> None:
    frames = frames_of(client, name)
    numbers = [int(re.search(rb"^id: (\d+)$", frame, re.M).group(1)) for frame in frames]  # type: ignore[union-attr]
    assert numbers == list(range(len(frames)))


@every_dialect
@every_recording
def test_each_frame_is_one_whole_server_sent_event(client: Client, name: str) -> None:
    for frame in frames_of(client, name):
        assert frame.endswith(b"\n\n")
        assert b"\n\n" not in frame[:-2]
        assert frame.count(b"data: ") == 1


@every_dialect
@every_recording
def test_the_same_log_gives_the_same_frames_in_another_process(client: Client, name: str) -> None:
    encoder = client.dialect.encoder(HEADER, request_id="req_1")
    stored = msgspec.json.decode(msgspec.json.encode(RECORDINGS[name]), type=list[Event])
    again = [frame for event in stored for frame in encoder.encode(event)]
    assert again == frames_of(client, name)


@every_dialect
@every_recording
def test_frames_and_body_say_the_same_text(client: Client, name: str) -> None:
    answer = FoldedAnswer.of(RECORDINGS[name])
    text = client.text_of(answer)
    assert client.text_of_frames(frames_of(client, name)) == text
    assert client.text_of_body(client.dialect.body(Snapshot(HEADER, answer))) == text


@every_dialect
@every_recording
def test_every_prefix_has_a_body_that_is_not_terminal(client: Client, name: str) -> None:
    for length in range(len(RECORDINGS[name])):
        answer = FoldedAnswer.of(RECORDINGS[name][:length])
        body = client.dialect.body(Snapshot(HEADER, answer))
        assert client.text_of_body(body) == client.text_of(answer)
        assert body.get("error") is None


@every_dialect
@every_recording
def test_nothing_comes_after_the_end(client: Client, name: str) -> None:
    encoder = client.dialect.encoder(HEADER, request_id="req_1")
    for event in RECORDINGS[name]:
        encoder.encode(event)
    with pytest.raises(IllegalTransition):
        encoder.encode(TextDelta(0, "late", 1))


@every_dialect
def test_an_interruption_takes_no_number(client: Client) -> None:
    encoder = client.dialect.encoder(HEADER, request_id="req_1")
    before = encoder.encode(TextDelta(0, "a", 1))
    interruption = encoder.interrupted(Overloaded("Away."))
    after = encoder.encode(TextDelta(0, "b", 1))
    assert b"id: " not in interruption
    assert interruption.endswith(b"\n\n")
    assert f"id: {len(before)}\n".encode() in after[0]


def test_the_recordings_are_legal_logs() -> None:
    for name, events in RECORDINGS.items():
        assert isinstance(events[-1], Finished), name
        assert not any(isinstance(event, Finished) for event in events[:-1]), name
        if events[-1].status is Status.FAILED:
            assert events[-1].charge.total_microcredits == 0, name
        assert events[-1].charge.total_microcredits <= HEADER.hold_microcredits, name
