"""The Responses dialect's frames and bodies of every recording, byte for byte.

Golden files are written by hand, or by `python -m tests.dialects.test_responses_golden` and then read.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.core.request import Dialect
from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.base import Snapshot
from serve_app.dialects.responses import RESPONSES
from tests.dialects.recordings import HEADER as CHAT_HEADER
from tests.dialects.recordings import RECEIPT, RECORDINGS

GOLDEN = Path(__file__).parent / "golden" / "responses"

ECHO = {
    "background": True,
    "instructions": "Be brief.",
    "metadata": {"lake": "Geneva"},
    "temperature": 0.5,
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Name a lake."}],
        }
    ],
}
HEADER = replace(
    CHAT_HEADER,
    dialect=Dialect.RESPONSES,
    wire_id=RESPONSES.wire_id(CHAT_HEADER.completion_id),
    echo=ECHO,
)


def frames_of(name: str) -> bytes:
    encoder = RESPONSES.encoder(HEADER, request_id="req_1")
    return b"".join(frame for event in RECORDINGS[name] for frame in encoder.encode(event))


def body_of(name: str) -> str:
    answer = FoldedAnswer.of(RECORDINGS[name])
    assert answer.finished is not None
    source = answer.finished.source
    receipt = None if source is None else replace(RECEIPT, source=source)
    body = RESPONSES.body(Snapshot(HEADER, answer, receipt=receipt))
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def values_of(name: str) -> list[dict[str, Any]]:
    data = re.findall(r"^data: (.*)$", frames_of(name).decode(), re.M)
    values = [json.loads(one) for one in data if one != "[DONE]"]
    is_proper = values[-1]["type"] != "response.failed"
    assert data[len(values) :] == ["[DONE]"] * is_proper
    return values


@pytest.mark.parametrize("name", RECORDINGS)
def test_frames_are_the_golden_ones(name: str) -> None:
    assert frames_of(name) == (GOLDEN / f"{name}.sse").read_bytes()


@pytest.mark.parametrize("name", RECORDINGS)
def test_bodies_are_the_golden_ones(name: str) -> None:
    assert body_of(name) == (GOLDEN / f"{name}.json").read_text("utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(RECORDINGS)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_frame_s_number_is_its_sequence_number(name: str) -> None:
    numbers = [int(n) for n in re.findall(rb"^id: (\d+)$", frames_of(name), re.M)]
    assert numbers == list(range(len(numbers)))
    values = values_of(name)
    assert [value["sequence_number"] for value in values] == numbers[: len(values)]


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_last_event_says_what_the_body_says(name: str) -> None:
    shown, body = values_of(name)[-1]["response"], json.loads(body_of(name))
    body["midstream"].pop("receipt", None)
    assert shown == body


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_item_that_is_added_is_done_once(name: str) -> None:
    values = values_of(name)
    added = [v["item"]["id"] for v in values if v["type"] == "response.output_item.added"]
    done = [v["item"] for v in values if v["type"] == "response.output_item.done"]
    assert added == [item["id"] for item in done]
    assert values[-1]["response"]["output"] == done


if __name__ == "__main__":
    for recording in RECORDINGS:
        (GOLDEN / f"{recording}.sse").write_bytes(frames_of(recording))
        (GOLDEN / f"{recording}.json").write_text(body_of(recording), "utf-8")
